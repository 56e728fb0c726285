"""File operations that fail, or at which the process dies: one after the other, by their number.

A shim around what Python does with files under one folder: opening for writing, writing, syncing,
closing, renaming, exchanging, making and removing. The process that uses it is a child of its own,
since nothing is put back.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import fcntl
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAIL, FULL, DIE = "fail", "full", "die"
"""The operation fails; it and all later ones that need room do; the process ends there."""
DEAD = 99
"""Exit status of a process that has died of it."""
ERRORS = {
    "write": errno.ENOSPC,
    "open": errno.EACCES,
    "mkdir": errno.EROFS,
    "rename": errno.EXDEV,
    "lock": errno.EIO,
}
NEEDS_ROOM = ("write", "open", "mkdir")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NAMELESS = getattr(os, "O_TMPFILE", -1)
"""A file without a name; where there is none, Python opens one with a name and removes that."""


class Shim:
    """Counts file operations under a folder, and lets one of them go wrong.

    Args:
        root: of the paths that count.
        number: of the operation that goes wrong, from 1; 0 for none.
        how: ``FAIL``, ``FULL`` or ``DIE``.
        log: is told the kind of each operation.
    """

    def __init__(self, root: Path, number: int, how: str, log: Callable[[str], None]) -> None:
        self.root, self.number, self.how, self.log = os.path.realpath(root), number, how, log
        self.count = 0
        self.files: dict[int, str] = {}

    def at(self, kind: str, path: Any, dir_fd: int | None = None) -> None:
        """An operation is about to happen."""
        if isinstance(path, int):
            name = os.readlink(f"/proc/self/fd/{path}")
        else:
            parent = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
            name = os.path.abspath(os.path.join(parent, os.fsdecode(path)))
        folder, last = os.path.split(name)
        if not (os.path.join(os.path.realpath(folder), last) + "/").startswith(f"{self.root}/"):
            return
        if kind == "mkdir" and os.path.isdir(name):
            return  # it fails anyhow, and nobody minds
        if kind == "close" and name.endswith(" (deleted)"):
            return  # a file without a name, of which everything has been read
        self.count += 1
        self.log(f"{kind} {os.path.relpath(name, self.root)}")
        if self.how == DIE:
            if self.count == self.number:
                os._exit(DEAD)
            return
        if self.count == self.number or (
            self.how == FULL and 0 < self.number < self.count and kind in NEEDS_ROOM
        ):
            code = errno.ENOSPC if self.how == FULL else ERRORS.get(kind, errno.EIO)
            named = None if kind in ("write", "fsync", "close") else name
            raise OSError(code, os.strerror(code), named)

    def install(self) -> None:
        """Put it in the place of the functions of this process."""
        shim, real_open, real_os_open, real_fdopen = self, io.open, os.open, os.fdopen

        class Watched(io.FileIO):
            def write(self, data: Any, /) -> int:
                shim.at("write", self.fileno())
                return super().write(data)

            def close(self) -> None:
                if self.closed:
                    return
                number = self.fileno()
                try:
                    shim.at("close", number)
                finally:
                    super().close()

        def opened(raw: io.FileIO, mode: str, encoding: Any, newline: Any) -> Any:
            if "+" in mode:
                buffer: Any = io.BufferedRandom(raw)
            else:
                buffer = io.BufferedWriter(raw)
            return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, newline=newline)

        def open_(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: Any = None,
            errors: Any = None,
            newline: Any = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            inside = not isinstance(file, int) and shim.inside(file)
            if not inside or not set(mode) & set("wxa+"):
                return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            if opener is None:
                shim.at("open", file)
            raw = Watched(file, mode.replace("b", "").replace("t", ""), opener=opener)
            return opened(raw, mode, encoding, newline)

        def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & NAMELESS == NAMELESS:
                shim.at("nameless", path)
            elif flags & WRITES:
                shim.at("open", path, dir_fd)
            return real_os_open(path, flags, mode, dir_fd=dir_fd)

        def fdopen(fd: int, mode: str = "r", *args: Any, **options: Any) -> Any:
            if not set(mode) & set("wxa+") or not shim.inside(os.readlink(f"/proc/self/fd/{fd}")):
                return real_fdopen(fd, mode, *args, **options)
            return opened(Watched(fd, mode.replace("b", "")), mode, None, None)

        builtins.open = io.open = open_  # type: ignore[assignment]
        os.open, os.fdopen = os_open, fdopen  # type: ignore[assignment]
        for name, kind in (
            ("mkdir", "mkdir"),
            ("unlink", "remove"),
            ("remove", "remove"),
            ("rmdir", "remove"),
            ("rename", "rename"),
            ("replace", "rename"),
            ("truncate", "write"),
            ("link", "rename"),
            ("symlink", "open"),
        ):
            setattr(os, name, self._counted(kind, getattr(os, name)))
        os.fsync = self._counted("fsync", lambda number: None)  # which takes longest by far
        fcntl.flock = self._counted("lock", fcntl.flock)  # type: ignore[assignment]
        self._watch_exchanges()

    def inside(self, path: Any) -> bool:
        """Whether a path is under the folder."""
        return f"{os.path.realpath(os.fsdecode(path))}/".startswith(f"{self.root}/")

    def _counted(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            self.at(kind, path, options.get("dir_fd", options.get("src_dir_fd")))
            return real(path, *args, **options)

        return call

    def _watch_exchanges(self) -> None:
        real = ctypes.CDLL(None, use_errno=True).renameat2

        def exchange(at: int, one: bytes, also_at: int, other: bytes, flags: Any) -> int:
            try:
                self.at("exchange", other)
            except OSError as error:
                ctypes.set_errno(error.errno or errno.EIO)
                return -1
            done: int = real(at, one, also_at, other, flags)
            return done

        class Library:
            renameat2 = staticmethod(exchange)

        real_library = ctypes.CDLL

        def library(name: Any, *args: Any, **options: Any) -> Any:
            return Library if name is None else real_library(name, *args, **options)

        ctypes.CDLL = library  # type: ignore[assignment,misc]
