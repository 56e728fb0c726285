"""An HDF5 file as nested dictionaries, by a reader that never leaves the file.

HDF5 can refer to other files in four ways (links, external storage, virtual data, references), can
claim terabytes in a few bytes, and allows objects that contain themselves. No network needs any of
this, and all of it is refused here before anything is read.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snn_compile import memory
from snn_compile.files.chunks import check_chunks
from snn_compile.files.documents import (
    MAX_DEPTH,
    DamagedError,
    TooLargeError,
    read_bytes,
)

MAX_OBJECTS = 50_000
"""Most groups and arrays; a layer has about ten."""
MAX_CHUNKS = 100_000
"""Most chunks of an array, present or not; the library visits each."""
REFERENCE_BYTES = 64
"""Memory that a text takes besides its characters."""
_KINDS = "biufS"


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
        if found.shape is None:
            raise DamagedError(f"'{where}' is empty")
        text = h5py.check_string_dtype(found.dtype)
        if text is None and found.dtype.kind not in _KINDS:
            raise DamagedError(f"'{where}' is of type {found.dtype}")
        varying = text is not None and text.length is None
        item = REFERENCE_BYTES if varying else found.dtype.itemsize
        self._take(where, found.shape, prod(found.shape) * item)
        if found.chunks is not None:
            pieces = prod(-(-n // size) for n, size in zip(found.shape, found.chunks, strict=True))
            if pieces > MAX_CHUNKS:
                raise TooLargeError(f"'{where}' is stored in {pieces:,} chunks")
        check_chunks(found, where)
        value = self._texts(found, where) if varying and found.shape else found[()]
        if text is not None and isinstance(value, bytes):
            return value.decode("utf8")
        return value

    def _texts(self, found: h5py.Dataset, where: str) -> Any:
        """Texts of any length, one after the other: all of them may lie at the same place."""
        self.objects += prod(found.shape)
        if self.objects > MAX_OBJECTS:
            raise TooLargeError(f"'{where}' has {prod(found.shape):,} texts")
        texts = np.empty(found.shape, object)
        for place in np.ndindex(found.shape):
            texts[place] = found[place]
            self._take(where, found.shape, len(texts[place]))
        return texts

    def _take(self, where: str, shape: tuple[int, ...], size: int) -> None:
        if self.taken + size > memory.budget():
            raise TooLargeError(
                f"'{where}' of shape {list(shape)} takes {memory.format_size(size)}, with"
                f" {memory.format_size(self.taken)} before it more than the"
                f" {memory.format_size(memory.budget())} that it may"
            )
        self.taken += size
