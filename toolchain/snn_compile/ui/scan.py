"""What lies in a folder: compiled networks, sweeps, traces, and records of progress."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from snn_compile.pipeline.progress_record import RECORD
from snn_compile.sealed import MODEL
from snn_compile.sweep.schema import SWEEP

MAX_DEPTH = 8
MAX_ENTRIES = 50_000
"""Names looked at; what comes after them is not shown."""
TRACE_SUFFIX = ".npz"
_WORK = ".work"


@dataclass
class Contents:
    """Absolute paths, in the order of their names.

    Attributes:
        networks: compiled folders.
        sweeps: folders of sweeps.
        archives: files that may be traces.
        works: folders with a record of progress.
        whole: false if there was more than is looked at.
    """

    networks: list[Path] = field(default_factory=list)
    sweeps: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    works: list[Path] = field(default_factory=list)
    whole: bool = True


def scan(root: Path) -> Contents:
    """Look through a folder. Links are not followed, so that nothing outside is seen.

    Hidden folders are left out, but for the records of running commands. Nothing inside a compiled
    folder is looked at.
    """
    found = Contents()
    waiting = deque([(root, 0)])
    n_seen = 0
    while waiting:
        folder, depth = waiting.popleft()
        folders, files = _entries(folder)
        n_seen += len(folders) + len(files)
        if n_seen > MAX_ENTRIES:
            found.whole = False
            break
        if MODEL in files:
            found.networks.append(folder)
            continue
        if SWEEP in files:
            found.sweeps.append(folder)
        found.archives += [folder / name for name in files if name.endswith(TRACE_SUFFIX)]
        for name in folders:
            if name.startswith("."):
                if name.endswith(_WORK) and os.path.isfile(folder / name / RECORD):
                    found.works.append(folder / name)
            elif depth < MAX_DEPTH:
                waiting.append((folder / name, depth + 1))
            else:
                found.whole = False
    for paths in (found.networks, found.sweeps, found.archives, found.works):
        paths.sort()
    return found


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the regular files in a folder; none if it cannot be read."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(folders) + len(files) > MAX_ENTRIES:
                    break
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
    except OSError:
        return [], []
    return sorted(folders), sorted(files)
