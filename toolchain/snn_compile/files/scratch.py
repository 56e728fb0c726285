"""Temporary files without a name: what does not fit the memory, and is gone with its process."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from typing import IO

from snn_compile import memory
from snn_compile.files.documents import DamagedError

SHARE = 0.5
"""Share of the free disk that one temporary file may take."""


class NoRoomError(DamagedError):
    """The disk has no room for a temporary file."""


def scratch_file(what: str, size: int) -> IO[bytes]:
    """An empty temporary file for ``size`` bytes; it has no name, and vanishes when closed.

    Raises:
        NoRoomError: the disk has no room for as much.
        OSError: there is no folder for temporary files.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > SHARE * free:
        raise NoRoomError(
            f"{what} takes {memory.format_size(size)} in {folder}, which has"
            f" {memory.format_size(free)} free; at most half of them are used"
        )
    return tempfile.TemporaryFile(dir=folder)


_SEEKING = threading.Lock()


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """At most ``size`` bytes of an open file from an offset on; called from any thread."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _SEEKING:  # Windows has one position for all threads
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write into an open file from an offset on; called from any thread."""
    view = memoryview(data).cast("B")
    while len(view):
        if hasattr(os, "pwrite"):
            n = os.pwrite(descriptor, view, offset)
        else:
            with _SEEKING:
                os.lseek(descriptor, offset, os.SEEK_SET)
                n = os.write(descriptor, view)
        view, offset = view[n:], offset + n
