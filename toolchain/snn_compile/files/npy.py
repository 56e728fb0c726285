"""Untrusted npy files and members: their headers, and where their values lie."""

from __future__ import annotations

import os
import struct
import tokenize
import warnings
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from snn_compile import memory
from snn_compile.files.documents import DamagedError, check_size, open_regular

_HEADER = 10_000
"""Most bytes of an array header; numpy's own limit."""
KINDS = "?biufcSUmM"
"""Kinds of plain numbers and texts."""


class PickledError(DamagedError):
    """An array holds Python objects."""


@dataclass(frozen=True)
class Region:
    """Where the values of an array lie in a file, in row-major order.

    Attributes:
        descriptor: of the open file; its owner closes it.
        start: offset of the first value.
        dtype: type of the values.
        shape: of the array.
    """

    descriptor: int
    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def npy_region(path: Path) -> Region:
    """Where the values of an npy file lie; its owner closes the descriptor.

    Raises:
        OSError: it cannot be read.
        PickledError: it holds Python objects.
        DamagedError: it is not an npy file, or not one whose rows lie one after the other.
    """
    with open_regular(path) as stream:
        dtype, shape, fortran, header = plain(stream, path.name, KINDS)
        if fortran and len(shape) > 1:
            raise DamagedError("its order is column by column")
        _check_size(prod(shape) * dtype.itemsize, os.fstat(stream.fileno()).st_size - header)
        return Region(os.dup(stream.fileno()), header, dtype, shape)


def structured(stream: BinaryIO, name: str) -> npt.NDArray[Any]:
    """The array of an open npy file, whose fields are numbers.

    Raises:
        PickledError: it holds Python objects.
        DamagedError: it is not an npy file, has no fields, or takes more memory than it may.
    """
    dtype, shape, _, header = _described(stream, name)
    if dtype.names is None or any(dtype[k].kind not in KINDS for k in dtype.names):
        raise DamagedError(f"its values are {dtype}, and not named fields of numbers")
    size = os.fstat(stream.fileno()).st_size - header
    _check_size(prod(shape) * dtype.itemsize, size)
    check_size(name, size)
    return np.frombuffer(stream.read(size), dtype)


def _check_size(size: int, found: int) -> None:
    """Compare the size of an array with what a file has of it."""
    if size != found:
        raise DamagedError(
            f"it claims an array of {memory.format_size(size)}, and has"
            f" {memory.format_size(max(found, 0))}"
        )


def plain(
    stream: IO[bytes], name: str, kinds: str
) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Type, shape and order of plain numbers or texts of some kinds, and the size of the header."""
    dtype, shape, fortran, header = _described(stream, name)
    if dtype.kind not in kinds or not dtype.itemsize or dtype.names is not None:
        raise DamagedError(f"member {name!r} is of type {dtype}")
    return dtype, shape, fortran, header


def _described(stream: IO[bytes], name: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Type, shape and order of an array, and the size of its header, by numpy's own reader."""
    counted = _Counted(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(counted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python 2, and of odd escapes in what is refused
            shape, fortran, dtype = readers[version](counted, max_header_size=_HEADER)
    except (
        ValueError,
        TypeError,
        KeyError,
        SyntaxError,
        tokenize.TokenError,
        struct.error,
        RecursionError,
        MemoryError,
    ) as error:
        raise DamagedError(
            f"member {name!r} is not an array: {' '.join(str(error).split())[:120]}"
        ) from error
    if dtype.hasobject:
        raise PickledError(f"member {name!r} holds pickled Python objects")
    if len(shape) > 32 or any(isinstance(size, bool) or size < 0 for size in shape):
        raise DamagedError(f"member {name!r} has the shape {short(shape)}")
    return dtype, shape, fortran, counted.count


class _Counted:
    """A stream with reads bounded by the size of an array header."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = 0, /) -> bytes:
        """Read ``size`` bytes."""
        if size > _HEADER:
            raise DamagedError(f"an array header of {size:,} bytes")
        content = self._stream.read(size)
        self.count += len(content)
        return content


def short(shape: tuple[int, ...]) -> str:
    """A shape in at most 80 characters."""
    text = str(shape)
    return text if len(text) < 80 else f"{text[:80]}..."
