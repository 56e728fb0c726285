"""Files written atomically."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from snn_compile.errors import Origin, UsageError
from snn_compile.files.claims import beside, exclusive_claim

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
"""Open flags: an existing name, also a link, is an error."""


class NewFile:
    """A file beside its target, which it replaces once complete.

    A link at the target is replaced, never followed. The target is claimed meanwhile.

    Args:
        target: path of the finished file.

    Attributes:
        stream: to write into, and to seek in.

    Raises:
        UsageError: another process is writing it.
        OSError: the path is not writable.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        with ExitStack() as stack:
            stack.enter_context(exclusive_claim(target))
            self._path = beside(target)
            stack.callback(self._remove)
            self.stream: IO[bytes] = os.fdopen(os.open(self._path, _NEW_FILE, 0o666), "w+b")
            self._claim = stack.pop_all()

    def keep(self, name: str = "") -> None:
        """Sync it and replace the target, or another name in that folder.

        Raises:
            OSError: it cannot be written. An existing file is unchanged.
        """
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        os.replace(self._path, self._path.with_name(name or self.target.name))
        sync(self._path.parent)
        self._claim.close()

    def discard(self) -> None:
        """Remove it, unless it has been kept."""
        with contextlib.suppress(OSError):  # a full disk fails once more when closing
            self.stream.close()
        self._claim.close()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


@contextmanager
def replacing_file(target: Path) -> Iterator[IO[bytes]]:
    """A stream into a new file, which replaces the target if nothing fails.

    Raises:
        UsageError: another process is writing it.
        OSError: it cannot be written. An existing file is unchanged.
    """
    new = NewFile(target)
    try:
        yield new.stream
        new.keep()
    finally:
        new.discard()


def replace_text(target: Path, text: str) -> None:
    """Write a file in UTF-8, atomically."""
    with replacing_file(target) as stream:
        stream.write(text.encode("utf-8"))


def require_file(target: Path, *, makes_folder: bool = False) -> None:
    """Check that a path can be written, before its content is computed.

    Args:
        target: the path.
        makes_folder: whether its folder is made where it is missing.

    Raises:
        UsageError: the path is not a regular file, or its folder is missing.
        OSError: its status cannot be read.
    """
    if not makes_folder and not target.parent.exists():
        raise UsageError(
            "there is no such folder",
            code="no-such-file",
            origin=Origin(str(target.parent)),
            hint="make it first",
        )
    with contextlib.suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if not stat.S_ISREG(mode):
            what = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}.get(stat.S_IFMT(mode))
            raise UsageError(
                f"{what or 'something other than a file'} exists at this path",
                code="output-exists",
                origin=Origin(str(target)),
                hint="name another file",
            )


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
