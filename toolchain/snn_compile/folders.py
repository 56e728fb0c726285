"""Folders that are written as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snn_compile.errors import UsageError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` to write into, which then takes its place.

    If anything fails on the way, what was there before stays and nothing else is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        beside.chmod(0o755)
        yield beside
        _replace(beside, target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _replace(new: Path, target: Path) -> None:
    """Put a finished folder in the place of an older one."""
    if not target.exists():
        os.replace(new, target)
        return
    old = target.with_name(f".{target.name}.old-{os.getpid()}")
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def require_empty(folder: Path) -> None:
    """See that a backend can write into a folder.

    Raises:
        UsageError: there is no such folder, or it holds something.
    """
    if not folder.is_dir() or any(folder.iterdir()):
        raise UsageError(f"{folder} is not an empty folder")
