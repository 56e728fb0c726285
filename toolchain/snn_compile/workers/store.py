"""Copies of files in a worker of a cluster, in a folder of its own and of bounded size."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snn_compile.errors import DeviceError
from snn_compile.memory import format_size
from snn_compile.workers.job import File

LIMIT = 32 << 30
"""Most bytes of all copies in one worker. Those that no job uses make room, the oldest first."""


class Store:
    """The copies of one worker: a folder for each file with those beside it.

    Args:
        folder: that nothing else writes to.
        limit: most bytes of all copies.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._arriving: dict[Path, Any] = {}
        self._sizes: dict[str, int] = {}
        self._in_use: list[str] = []

    def copy_of(self, file: File) -> Path:
        """The path of the copy of a file."""
        return self._folder / file.group / file.path.name

    def has(self, files: Iterable[File]) -> bool:
        """Whether copies of all of these files have arrived whole."""
        return all(
            (self._folder / file.group / name).is_file() for file in files for name in file.together
        )

    @contextmanager
    def using(self, files: Iterable[File]) -> Iterator[None]:
        """Keep the copies of files while a job runs."""
        groups = [file.group for file in files]
        with self._lock:
            self._in_use += groups
        try:
            yield
        finally:
            with self._lock:
                for group in groups:
                    self._in_use.remove(group)

    def expect(self, group: str, size: int) -> None:
        """Make room for a file and those beside it.

        Raises:
            DeviceError: there is no room, even without everything that is not in use.
        """
        with self._lock:
            for other in list(self._sizes):
                if sum(self._sizes.values()) + size <= self._limit:
                    break
                self._remove(other)
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
            room = min(free, self._limit - sum(self._sizes.values()))
            if size > room:
                raise DeviceError(
                    f"{self._folder}: a file of {format_size(size)} does not fit;"
                    f" there is room for {format_size(max(0, room))}",
                    code="worker-disk",
                    hint="give the workers a larger folder (dask worker --local-directory)",
                )
            for path in [path for path in self._arriving if (self._folder / group) in path.parents]:
                del self._arriving[path]  # of a transfer that broke off
            self._sizes[group] = size
            (self._folder / group).mkdir(exist_ok=True)

    def receive(self, group: str, name: str, piece: bytes) -> None:
        """Append to a copy that is arriving."""
        path = self._folder / group / f"{name}.part"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if path in self._arriving else "wb") as stream:
            stream.write(piece)
        self._arriving.setdefault(path, hashlib.sha256()).update(piece)

    def complete(self, group: str, name: str, expected: str) -> None:
        """Check a copy that has arrived, and give it its name.

        Raises:
            DeviceError: its content is not what was sent.
        """
        path = self._folder / group / f"{name}.part"
        found = self._arriving.pop(path).hexdigest()
        if found != expected:
            path.unlink()
            raise DeviceError(
                f"{name} arrived with another content: its sha256 is {found}, not {expected}",
                code="damaged-copy",
                hint="the file may have changed meanwhile; start again",
            )
        path.replace(self._folder / group / name)

    def remove(self, groups: Iterable[str]) -> None:
        """Remove copies that no job uses."""
        with self._lock:
            for group in groups:
                self._remove(group)

    def _remove(self, group: str) -> None:
        if group not in self._in_use and group in self._sizes:
            del self._sizes[group]
            shutil.rmtree(self._folder / group, ignore_errors=True)
