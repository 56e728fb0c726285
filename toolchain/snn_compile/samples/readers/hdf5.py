"""HDF5 files: data sets by the names of inputs and labels, read row by row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile import extras, memory
from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.chunks import check_chunks
from snn_compile.files.documents import DamagedError, check_size, open_regular, reading
from snn_compile.samples.readers.content import Content, Request, check_rows, complaint
from snn_compile.samples.readers.labels import is_label
from snn_compile.samples.rows import Index, indices, runs

MAX_SETS = 256
_EXPANSION = 1100
"""Bytes that a stored one may stand for: deflate gives up to 1,032."""
_READING = threading.Lock()
"""The library is not to be called by two threads at once."""


@dataclass(frozen=True, eq=False)
class DatasetRows:
    """The rows of a data set.

    Attributes:
        dataset: of h5py; its file stays open.
        source: the file, as named by the user.
    """

    dataset: Any
    source: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """As of ``Rows``."""
        return tuple(self.dataset.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of ``Rows``."""
        found: np.dtype[Any] = np.dtype(self.dataset.dtype).newbyteorder("=")
        return found

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index, /) -> npt.NDArray[Any]:
        listed = indices(index, len(self))
        found = np.empty((len(listed), *self.shape[1:]), self.dtype)
        done = 0
        with _reading(self.source), _READING:
            for first, n in runs(listed):
                found[done : done + n] = self.dataset[first : first + n]
                done += n
        return found


def read_hdf5(path: Path, request: Request) -> Content:
    """The data sets of a file that have the names of inputs or labels."""
    raise_all(extras.missing("h5py", "hdf5", "HDF5 files are read by", origin=Origin(str(path))))
    import h5py

    with _reading(path):
        open_regular(path).close()
        file = h5py.File(path, "r")
        found = dict(_datasets(file, path))
    single = "x" if len(request.shapes) == 1 else ""
    wanted = {n for n in found if n in request.shapes or n == single or is_label(n, request)}
    errors = [e for name in sorted(wanted) for e in _complaints(found[name], name, path)]
    raise_all(errors)
    rows = {name: DatasetRows(found[name], path) for name in wanted}
    labels = {name: rows[name] for name in wanted if is_label(name, request)}
    arrays = {name: rows[name] for name in wanted - labels.keys()}
    if not arrays:
        names = ", ".join(sorted(found)[:10]) or "nothing"
        inputs = " and ".join(f"'{name}'" for name in request.shapes)
        text = f"there is no 'x' or {inputs} in it (it holds {names})"
        raise complaint(path, text, "missing-key", "name the data sets as the network's inputs")
    first = next(iter(sorted(labels)), "")
    return Content(arrays, {"y" if name == first else name: labels[name] for name in labels})


def _datasets(group: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Data sets of the outermost group; links to other files are refused."""
    import h5py

    names = list(group)
    if len(names) > MAX_SETS:
        raise DamagedError(f"it has {len(names):,} entries")
    for name in names:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink | h5py.SoftLink):
            raise complaint(
                path, f"'{name}' is a link", "unreadable-data", "store the data in this file"
            )
        entry = group[name]
        if isinstance(entry, h5py.Dataset):
            yield name, entry


def _complaints(dataset: Any, name: str, path: Path) -> Iterator[CompileError]:
    if dataset.is_virtual or dataset.external:
        yield complaint(
            path, f"'{name}' lies in other files", "unreadable-data", "store it in this one"
        )
    elif dataset.dtype.kind not in "biuf" or not dataset.shape:
        yield complaint(
            path,
            f"'{name}' is of type {dataset.dtype}{dataset.shape}",
            "wrong-dtype",
            "store numbers, a sample a row",
        )
    else:
        row = prod(dataset.shape[1:]) * dataset.dtype.itemsize
        with _reading(path):
            check_size(f"a row of '{name}'", row)
            check_chunks(dataset, name)
            check_rows(dataset.shape[0])
            _check_stored(dataset, name)


def _check_stored(dataset: Any, name: str) -> None:
    """Check that a file has the values that it claims: what was never written takes no room.

    Raises:
        DamagedError: a small part of them at most.
    """
    claimed = prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if claimed > _EXPANSION * stored:
        raise DamagedError(
            f"'{name}' claims {memory.format_size(claimed)}, and has {memory.format_size(stored)}"
        )


def _reading(path: Path) -> AbstractContextManager[None]:
    message = "not an HDF5 file, or a damaged one"
    return reading(path, UsageError, "unreadable-data", message, "write it again")
