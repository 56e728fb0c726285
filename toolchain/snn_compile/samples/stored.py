"""Rows that stay in a file: a data set's, or values that were set aside on the disk."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import Origin, UsageError
from snn_compile.files.npy import Region
from snn_compile.files.scratch import NoRoomError, read_at, scratch_file
from snn_compile.samples.rows import Array, Index, Rows, blocks, indices, runs

HELD_BYTES = 16 << 20
"""Largest array that is held in memory instead."""
PIECE_BYTES = 1 << 20
MAX_HELD = 1024
"""Arrays that a spool holds; small ones are joined."""


class StoredRows:
    """Rows of an array in a file, read whenever they are asked for.

    Args:
        region: where they lie; its descriptor is closed with this object.
        source: the file, as named by the user.
    """

    def __init__(self, region: Region, source: str) -> None:
        weakref.finalize(self, os.close, region.descriptor)
        self._region, self._source = region, source
        self._row = prod(region.shape[1:])
        self._state = _state(region.descriptor)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of ``Rows``."""
        return self._region.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of ``Rows``."""
        return self._region.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index, /) -> Array:
        listed = indices(index, len(self))
        found = np.empty((len(listed), self._row), self.dtype)
        done = 0
        for first, n in runs(listed):
            self._read(found[done : done + n], first)
            done += n
        return found.reshape(len(listed), *self.shape[1:])

    def _read(self, target: Array, first: int) -> None:
        """Fill consecutive rows of the target.

        Raises:
            UsageError: the file has been changed since it was opened.
        """
        region = self._region
        offset = region.start + first * self._row * self.dtype.itemsize
        view = target.reshape(-1).view(np.uint8).data
        while len(view):
            piece = read_at(region.descriptor, min(len(view), PIECE_BYTES), offset)
            if not piece or _state(region.descriptor) != self._state:
                raise UsageError(
                    "it has changed while it was read",
                    code="unreadable-data",
                    origin=Origin(self._source),
                    hint="start again, and leave the file alone meanwhile",
                )
            view[: len(piece)] = piece
            view, offset = view[len(piece) :], offset + len(piece)


def _state(descriptor: int) -> tuple[int, int]:
    """What changes when somebody writes into an open file."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


class Spool:
    """Rows appended piece by piece: held in memory, or in a temporary file once they are many.

    Args:
        what: the rows, in words, for errors.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._held: list[Array] = []
        self._size = 0
        self._shape: tuple[int, ...] = (0,)
        self._dtype: np.dtype[Any] = np.dtype(np.float64)
        self._file: IO[bytes] | None = None

    def append(self, piece: Array) -> None:
        """Append rows, which have the type and the shape of those before.

        Raises:
            UsageError: the disk has no room for them.
        """
        self._size += piece.nbytes
        self._shape, self._dtype = (self._shape[0] + len(piece), *piece.shape[1:]), piece.dtype
        self._held.append(piece)
        if self._file is None and self._size <= HELD_BYTES:
            if len(self._held) > MAX_HELD:
                self._held = [np.concatenate(self._held)]
            return
        with room_on_disk(self._what):
            if self._file is None:
                self._file = scratch_file(self._what, self._size)
                weakref.finalize(self, self._file.close)
            for rows in self._held:
                self._file.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        self._held.clear()

    def rows(self) -> Rows:
        """All rows; there must be some."""
        if self._file is None:
            return np.concatenate(self._held)
        with room_on_disk(self._what):
            self._file.flush()
        descriptor = os.dup(self._file.fileno())
        return StoredRows(Region(descriptor, 0, self._dtype, self._shape), self._what)


def as_array(rows: Rows, dtype: npt.DTypeLike, what: str) -> Array:
    """All rows as one array for those who want one: in a temporary file, once they are many.

    The system reads its pages when they are used, and drops them when it needs the room. Who writes
    into the array changes no file.

    Args:
        rows: at least one.
        dtype: type of the array.
        what: the rows, in words, for errors.

    Raises:
        UsageError: the disk has no room for them.
    """
    wanted = np.dtype(dtype)
    size = prod(rows.shape) * wanted.itemsize
    if size <= HELD_BYTES:
        return rows[:].astype(wanted)
    with room_on_disk(what), scratch_file(what, size) as file:
        for some in blocks(rows):
            file.write(np.ascontiguousarray(some, wanted).reshape(-1).view(np.uint8).data)
        file.flush()
        return np.asarray(np.memmap(file, wanted, "c", shape=rows.shape))


@contextmanager
def room_on_disk(source: Path | str) -> Iterator[None]:
    """Turn a disk without room for temporary files into a user-facing error."""
    try:
        yield
    except NoRoomError as error:
        message = str(error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        message = "the disk is full of temporary files"
    else:
        return
    raise UsageError(
        message,
        code="disk-space",
        origin=Origin(str(source)),
        hint="set TMPDIR to a folder with more room; what numpy.savez writes is read in place",
    )
