"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from snn_compile.errors import Origin, UsageError
from snn_compile.files.claims import beside, claimed

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
"""Whatever has the name already, a link among others, is an error."""


class NewFile:
    """A file beside its target, which takes the target's place when it is whole.

    A link in that place is replaced, never followed. Nobody else writes the target meanwhile.

    Args:
        target: path of the finished file.

    Attributes:
        stream: to write into, and to seek in.

    Raises:
        UsageError: another process is writing it.
        OSError: nothing can be written there.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        with ExitStack() as stack:
            stack.enter_context(claimed(target))
            self._path = beside(target)
            stack.callback(self._remove)
            self.stream: IO[bytes] = os.fdopen(os.open(self._path, _NEW_FILE, 0o666), "w+b")
            self._claim = stack.pop_all()

    def keep(self, name: str = "") -> None:
        """Put it, once it is on the disk, in the target's place; or in another one in that folder.

        Raises:
            OSError: it cannot be. What was there before is as it was.
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
    """A stream into a new file, which takes the target's place if nothing fails.

    Raises:
        UsageError: another process is writing it.
        OSError: it cannot be written. What was there before is as it was.
    """
    new = NewFile(target)
    try:
        yield new.stream
        new.keep()
    finally:
        new.discard()


def replace_text(target: Path, text: str) -> None:
    """Write a file in UTF-8, as a whole or not at all."""
    with replacing_file(target) as stream:
        stream.write(text.encode("utf-8"))


def require_file(target: Path) -> None:
    """See that a file can be written in some place, before anybody computes what it is to hold.

    Raises:
        UsageError: something other than a file is there.
        OSError: it cannot be looked at.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if not stat.S_ISREG(mode):
            what = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}.get(stat.S_IFMT(mode))
            raise UsageError(
                f"{what or 'something other than a file'} is there already",
                code="output-exists",
                origin=Origin(str(target)),
                hint="name another file",
            )


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before going on."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
