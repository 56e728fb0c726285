"""Arrays of numpy in files of their own, read in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snn_compile.errors import UsageError
from snn_compile.files.documents import reading
from snn_compile.files.npy import PickledError, npy_region
from snn_compile.samples.readers.content import Content, Request, complaint
from snn_compile.samples.readers.labels import is_label
from snn_compile.samples.stored import StoredRows


def read_npy(path: Path, request: Request) -> Content:
    """The rows of a file with one array."""
    del request
    return Content({"x": _rows(path)})


def read_npy_files(root: Path, files: Sequence[Path], request: Request) -> Content:
    """The arrays of a folder, each by the name of its file: inputs, and labels as ``y.npy``."""
    if astray := [path for path in files if path.parent != root]:
        raise complaint(
            astray[0],
            "it is an array for itself, and neither folders nor lists of arrays are read",
            "unreadable-data",
            "put all samples into x.npy and their labels into y.npy, in one folder",
        )
    found = {path.stem: _rows(path) for path in files}
    labels = {name: rows for name, rows in found.items() if is_label(name, request)}
    return Content({n: rows for n, rows in found.items() if n not in labels}, labels)


def _rows(path: Path) -> StoredRows:
    hint = "write it again: numpy.save(file, numpy.ascontiguousarray(x))"
    with reading(path, UsageError, "unreadable-data", "it is damaged", hint):
        try:
            region = npy_region(path)
        except PickledError as error:
            message = "it holds pickled Python objects, which are never loaded"
            raise complaint(path, message, "pickled-data", "store plain numbers") from error
        rows = StoredRows(region, str(path))
    if not region.shape:
        raise complaint(path, "it holds one number", "wrong-shape", "give (N, *sample)")
    return rows
