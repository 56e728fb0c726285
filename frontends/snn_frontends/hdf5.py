"""An HDF5 file as nested dictionaries, by a reader that never leaves the file.

HDF5 can refer to other files in four ways (links, external storage, virtual data, references), can
claim terabytes in a few bytes, and allows objects that contain themselves. No network needs any of
this, and all of it is refused here before anything is read.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py

from snn_compile import memory
from snn_compile.files.documents import (
    MAX_DEPTH,
    DamagedError,
    TooLargeError,
    check_size,
    read_bytes,
)

MAX_OBJECTS = 50_000
"""Most groups and arrays; a layer has about ten."""
MAX_CHUNKS = 100_000
"""Most chunks of an array; the library visits each, present or not."""
FILTERS = frozenset({"gzip", "lzf", "shuffle", "fletcher32"})
"""Built-in filters; the library would search, load and run any other."""
REFERENCE_BYTES = 64
"""Memory that a text takes besides its characters."""
_KINDS = "biufS"
_CHECKSUM_BYTES = 4


def read(path: Path, *names: str) -> dict[str, Any]:
    """The named members of the file; without names, all of them.

    Groups become dictionaries, arrays become arrays or single numbers, texts become ``str``.

    Raises:
        OSError: it cannot be read, or is not HDF5.
        DamagedError: it has content that no network has, or exceeds the memory budget.
    """
    content = read_bytes(path, memory.budget())
    with h5py.File(io.BytesIO(content), "r") as file:
        walk = _Walk(taken=len(content))
        return {name: walk.item(file, name, ()) for name in names or file}


@dataclass
class _Walk:
    """Reads groups, and counts their memory.

    Attributes:
        taken: bytes so far.
        objects: seen so far.
    """

    taken: int
    objects: int = 0

    def item(self, group: h5py.Group, name: str, above: tuple[int, ...]) -> Any:
        """A member of a group; ``above`` are the addresses of the groups that contain it."""
        where = f"{group.name.rstrip('/')}/{name}"[:200]
        self.objects += 1
        if self.objects > MAX_OBJECTS:
            raise TooLargeError(f"it has more than {MAX_OBJECTS:,} groups and arrays")
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            what = "nothing" if link is None else "a link"
            raise DamagedError(f"'{where}' is {what}")
        found = group[name]
        if isinstance(found, h5py.Dataset):
            return self._array(found, where)
        if not isinstance(found, h5py.Group):
            raise DamagedError(f"'{where}' is neither a group nor an array")
        address = h5py.h5o.get_info(found.id).addr
        if address in above or len(above) > MAX_DEPTH:
            raise DamagedError(f"'{where}' contains itself, or is nested too deeply")
        return {key: self.item(found, key, (*above, address)) for key in found}

    def _array(self, found: h5py.Dataset, where: str) -> Any:
        """The value of an array: numbers, or a text."""
        if found.external is not None or found.is_virtual:
            raise DamagedError(f"the data of '{where}' lie in another file")
        if unknown := set(found._filters) - FILTERS:
            raise DamagedError(f"'{where}' is stored by the filter '{min(unknown)[:40]}'")
        if found.shape is None:
            raise DamagedError(f"'{where}' is empty")
        text = h5py.check_string_dtype(found.dtype)
        if text is None and found.dtype.kind not in _KINDS:
            raise DamagedError(f"'{where}' is of type {found.dtype}")
        varying = text is not None and text.length is None
        item = REFERENCE_BYTES if varying else found.dtype.itemsize
        self._take(where, found.shape, prod(found.shape) * item)
        if found.chunks is not None:
            self._check_chunks(found, where)
        value = found[()]
        if varying:
            texts = [value] if isinstance(value, bytes) else value.ravel()
            self._take(where, found.shape, sum(len(each) for each in texts))
        if text is not None and isinstance(value, bytes):
            return value.decode("utf8")
        return value

    def _check_chunks(self, found: h5py.Dataset, where: str) -> None:
        """Check that no chunk inflates beyond its stated size.

        The library inflates a chunk to its end, whatever its size.
        """
        count = prod(-(-n // size) for n, size in zip(found.shape, found.chunks, strict=True))
        if count > MAX_CHUNKS:
            raise TooLargeError(f"'{where}' is stored in {count:,} pieces")
        size = prod(found.chunks) * found.dtype.itemsize + _CHECKSUM_BYTES
        check_size(f"a piece of '{where}'", size)
        if "gzip" not in found._filters:
            return
        for index in range(found.id.get_num_chunks()):
            place = found.id.get_chunk_info(index).chunk_offset
            _, stored = found.id.read_direct_chunk(place)
            try:
                inflated = zlib.decompressobj().decompress(stored, size + 1)
            except zlib.error:
                continue  # not deflated, or damaged: the library reports it
            if len(inflated) > size:
                raise TooLargeError(f"a piece of '{where}' inflates beyond its stated size")

    def _take(self, where: str, shape: tuple[int, ...], size: int) -> None:
        if self.taken + size > memory.budget():
            raise TooLargeError(
                f"'{where}' of shape {list(shape)} takes {memory.format_size(size)}, with"
                f" {memory.format_size(self.taken)} before it more than the"
                f" {memory.format_size(memory.budget())} that it may"
            )
        self.taken += size
