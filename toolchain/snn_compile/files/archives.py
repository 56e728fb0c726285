"""Untrusted zip files of arrays: every npz and every sealed file is read through here.

The metadata of the file is checked for plausibility before anything is allocated: no member is read
beyond its stated size, only requested members are inflated, and only plain numbers and texts are
returned.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from snn_compile import memory
from snn_compile.files.documents import (
    DamagedError,
    TooLargeError,
    check_size,
    open_regular,
    parse_json,
)
from snn_compile.files.npy import KINDS, Region, plain, short
from snn_compile.files.scratch import scratch_file

Array = npt.NDArray[Any]

_ENCRYPTED = 0x1
_INFLATION = 1032
"""Largest expansion factor of deflate (zlib technical details)."""
_DIRECTORY_SHARE = 16
"""Memory per byte of the directory, once read."""
_PIECE = 1 << 20


_LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member, before its name and its extra field, whose lengths it ends with."""


class Archive:
    """A zip file, open for reading. Close it, or use it in a ``with`` statement.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be read, or is no regular file.
        DamagedError: it is not an archive, or not one that any writer produces.
    """

    def __init__(self, path: str | Path) -> None:
        self._budget = memory.budget()
        self._stream = _Careful(open_regular(path), self._budget // _DIRECTORY_SHARE)
        try:
            self._zip = zipfile.ZipFile(self._stream)
            self._members = self._checked()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._stream.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The members, in their order."""
        return tuple(self._members)

    @property
    def stored_bytes(self) -> int:
        """Total inflated size of all members."""
        return sum(info.file_size for info in self._members.values())

    def content(self, name: str, most: int) -> bytes:
        """The content of a member of at most ``most`` bytes.

        Raises:
            DamagedError: it is missing, larger, or damaged.
        """
        info = self._member(name)
        check_size(f"member {name!r}", info.file_size, most)
        self._check_size(name, info.file_size)
        with self._zip.open(info) as stream:
            return bytes(_filled(bytearray(info.file_size), stream, name))

    def json(self, name: str, most: int) -> Any:
        """The JSON value of a member; errors as of ``content``."""
        return parse_json(self.content(name, most), name)

    def array(
        self,
        name: str,
        *,
        kinds: str = KINDS,
        shape: tuple[int, ...] | None = None,
        itemsize: int = 0,
        before: int = 0,
    ) -> Array:
        """An array of plain numbers or texts.

        Args:
            name: of the member, with its ending.
            kinds: accepted kinds of numpy data types.
            shape: required shape.
            itemsize: bytes per item after conversion by the caller.
            before: bytes of this file that the caller already holds.

        Raises:
            PickledError: it holds Python objects.
            DamagedError: it is missing, of another type, or exceeds the memory budget.
        """
        info = self._member(name)
        with self._zip.open(info) as stream:
            dtype, found, fortran, header = plain(stream, name, kinds)
            if shape is not None and found != shape:
                raise DamagedError(f"member {name!r} has the shape {short(found)}, not {shape}")
            self._check_size(name, prod(found) * max(dtype.itemsize, itemsize), before)
            size = _stated_size(info, dtype, found, header)
            array = np.empty(prod(found), dtype)
            if size:
                _filled(array.view(np.uint8).data, stream, name)
        return array.reshape(found, order="F" if fortran else "C")

    def size(self, name: str) -> int:
        """Inflated size of a member in bytes, as the archive states it."""
        return self._member(name).file_size

    def region(self, name: str, *, kinds: str = KINDS) -> Region | None:
        """Where the values of an array lie; deflated ones are inflated to a temporary file.

        The whole member is read once, and its checksum verified. None if the array is not in
        row-major order. Errors as of ``array``; its size is bounded by the disk alone.

        Raises:
            NoRoomError: the temporary file does not fit the disk.
        """
        info = self._member(name)
        with self._zip.open(info) as stream:
            dtype, found, fortran, header = plain(stream, name, kinds)
            if fortran and len(found) > 1:
                return None
            size = _stated_size(info, dtype, found, header)
            if info.compress_type == zipfile.ZIP_STORED:
                for _ in _content(stream, size, name):
                    pass
                start = self._start(info) + header
                return Region(os.dup(self._stream.fileno()), start, dtype, found)
            with scratch_file(f"member {name!r}, inflated,", size) as file:
                for piece in _content(stream, size, name):
                    file.write(piece)
                file.flush()
                return Region(os.dup(file.fileno()), 0, dtype, found)

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Offset of a member's content, whose header zipfile has checked."""
        self._stream.seek(info.header_offset)
        name, extra = _LOCAL_HEADER.unpack(self._stream.read(_LOCAL_HEADER.size))
        return int(info.header_offset + _LOCAL_HEADER.size + name + extra)

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        """The members by name, each with plausible metadata."""
        members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.filename
            if name in members:
                raise DamagedError(f"member {name!r} occurs twice")
            if info.flag_bits & _ENCRYPTED:
                raise DamagedError(f"member {name!r} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DamagedError(f"member {name!r} is compressed by method {info.compress_type}")
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            most = info.compress_size * _INFLATION if deflated else info.compress_size
            if info.file_size > most:
                raise DamagedError(
                    f"member {name!r} claims {memory.format_size(info.file_size)} in"
                    f" {memory.format_size(info.compress_size)}"
                )
            members[name] = info
        return members

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise DamagedError(f"member {name!r} is missing")
        return self._members[name]

    def _check_size(self, name: str, size: int, before: int = 0) -> None:
        if before + size > self._budget:
            more = f", with {memory.format_size(before)} before it" if before else ""
            raise TooLargeError(
                f"member {name!r} takes {memory.format_size(size)}{more}, more than the"
                f" {memory.format_size(self._budget)} that it may"
            )


def _stated_size(
    info: zipfile.ZipInfo, dtype: np.dtype[Any], shape: tuple[int, ...], header: int
) -> int:
    """Bytes of an array's values, which the member must have after the array's header."""
    size = prod(shape) * dtype.itemsize
    if size != info.file_size - header:
        raise DamagedError(
            f"member {info.filename!r} claims an array of {memory.format_size(size)}, and has"
            f" {memory.format_size(max(info.file_size - header, 0))}"
        )
    return size


class Arrays(Mapping[str, Array]):
    """The arrays of an npz file by name, each read on first access.

    All arrays accessed must fit the memory together.

    Raises as :class:`Archive`, here and on access.
    """

    def __init__(self, archive: Archive, *, itemsize: int = 0, kinds: str = KINDS) -> None:
        self._archive = archive
        self._itemsize, self._kinds = itemsize, kinds
        self._names = {n.removesuffix(".npy"): n for n in archive.names if n.endswith(".npy")}
        self._read: dict[str, Array] = {}
        self._taken = 0

    def __getitem__(self, name: str) -> Array:
        if name not in self._read:
            array = self._archive.array(
                self._names[name], kinds=self._kinds, itemsize=self._itemsize, before=self._taken
            )
            self._taken += array.size * max(array.itemsize, self._itemsize)
            self._read[name] = array
        return self._read[name]

    def size(self, name: str) -> int:
        """Bytes of an array and its header."""
        return self._archive.size(self._names[name])

    def region(self, name: str) -> Region | None:
        """Where the values of an array lie; see ``Archive.region``."""
        return self._archive.region(self._names[name], kinds=self._kinds)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # a mapping's own would read the array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def unequal(one: Array, other: Array) -> tuple[int, tuple[int, ...]]:
    """How many values of two arrays of the same shape differ, and the index of the first."""
    places = np.argwhere(one != other)
    return len(places), tuple(int(k) for k in places[0]) if len(places) else ()


class _Careful(io.BufferedReader):
    """A file with bounded reads, the directory of an archive included."""

    def __init__(self, stream: io.BufferedReader, most: int) -> None:
        super().__init__(stream.detach())
        self._most = max(most, _PIECE)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most ``size`` bytes."""
        whole = size is None or size < 0
        check_size("a part of the archive", 0 if whole else size or 0, self._most)
        if whole:  # the requested size is allocated, whatever the content
            left = os.fstat(self.fileno()).st_size - self.tell()
            size = min(self._most, max(0, left)) + 1
        content = super().read(size)
        check_size("a part of the archive", len(content), self._most)
        return content


def _filled(target: Any, stream: IO[bytes], name: str) -> Any:
    """Fill memory from a member, to its end."""
    view, start = memoryview(target), 0
    for piece in _content(stream, len(view), name):
        view[start : start + len(piece)] = piece
        start += len(piece)
    return target


def _content(stream: IO[bytes], size: int, name: str) -> Iterator[bytes]:
    """What is left of a member, ``size`` bytes to its end, where its checksum is verified."""
    done = 0
    while done < size:
        piece = stream.read(min(_PIECE, size - done))
        if not piece:
            raise DamagedError(f"member {name!r} ends after {memory.format_size(done)}")
        yield piece
        done += len(piece)
    if stream.read(1):
        raise DamagedError(f"member {name!r} continues beyond its size")
