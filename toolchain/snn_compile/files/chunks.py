"""Chunks of HDF5 arrays: what the library would make of them, looked at before it does.

The library inflates a chunk to its end, whatever size the file states. So compression has to be the
last step of storing, but for a checksum, where it can be undone here; and nothing is compressed
twice.
"""

from __future__ import annotations

import zlib
from math import prod
from typing import Any

from snn_compile import memory
from snn_compile.files.documents import DamagedError, TooLargeError, check_size

_DEFLATE, _SHUFFLE, _FLETCHER, _LZF = 1, 2, 3, 32000
_FILTERS = frozenset({_DEFLATE, _SHUFFLE, _FLETCHER, _LZF})
"""The library would search, load and run any other."""
_EXPANSION = {_DEFLATE: 1040, _LZF: 88}
"""Bytes, at most, that a stored one stands for: in deflate 258 for 2 bits, in LZF 264 for 3."""
_CHECKSUM_BYTES = 4


def check_chunks(dataset: Any, where: str) -> None:
    """Check that reading an array takes no more memory than its chunks are said to.

    Args:
        dataset: of h5py.
        where: its name, for errors.

    Raises:
        DamagedError: it is stored in a way that cannot be checked.
        TooLargeError: a chunk is larger than stated, or than memory allows.
    """
    size = prod(dataset.chunks or ()) * dataset.dtype.itemsize
    check_size(f"a chunk of '{where}'", size)
    compression = _compression(dataset.id.get_create_plist(), where)
    if dataset.chunks is None or not compression:
        return
    most = memory.budget() // _EXPANSION[compression]
    for place in _longer_than(dataset.id, most):
        if compression == _LZF:
            raise TooLargeError(f"a chunk of '{where}' may inflate beyond what memory allows")
        _check_deflated(dataset.id.read_direct_chunk(place)[1], size, where)


def _compression(storing: Any, where: str) -> int:
    """The number of the filter that compresses; 0 if none does."""
    listed = [storing.get_filter(k) for k in range(storing.get_nfilters())]
    for number, _, _, name in listed:
        if number not in _FILTERS:
            text = name.decode("ascii", "replace")[:40] or number
            raise DamagedError(f"'{where}' is stored by the filter '{text}'")
    numbers = [number for number, *_ in listed]
    compressed = [k for k, number in enumerate(numbers) if number in _EXPANSION]
    if not compressed:
        return 0
    if set(numbers[compressed[0] + 1 :]) - {_FLETCHER}:
        raise DamagedError(f"'{where}' is compressed twice, or not as the last step of storing")
    return int(numbers[compressed[0]])


def _longer_than(dataset: Any, most: int) -> list[tuple[int, ...]]:
    """Offsets of the chunks that take more bytes in the file."""
    found: list[tuple[int, ...]] = []

    def look(chunk: Any) -> None:
        if chunk.size > most:
            found.append(chunk.chunk_offset)

    dataset.chunk_iter(look)
    return found


def _check_deflated(stored: bytes, size: int, where: str) -> None:
    most = size + _CHECKSUM_BYTES
    try:
        inflated = zlib.decompressobj().decompress(stored, most + 1)
    except zlib.error:
        return  # not deflated, or damaged: the library reports it
    if len(inflated) > most:
        raise TooLargeError(f"a chunk of '{where}' inflates beyond its stated size")
