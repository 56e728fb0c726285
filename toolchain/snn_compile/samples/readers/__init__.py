"""Data as people have it: folders, tables and containers, read to named rows.

One file reads one kind. Kinds are told by content; whatever is read is rows by the names of inputs
and labels, as an npz file has them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError
from snn_compile.files.documents import describe_error, sha256
from snn_compile.files.presence import no_such_file
from snn_compile.samples.readers import drawing, kinds
from snn_compile.samples.readers.checking import samples_of
from snn_compile.samples.readers.content import Content, Request, complaint, raise_some
from snn_compile.samples.readers.folder import Listing, listed

__all__ = ["Content", "Request", "open_samples", "parts_of", "samples_of"]

DRAWN = 1024
"""Calibration samples drawn from a set of files, if the user does not say how many."""

Reader = Callable[[Path, Request], Content]
FilesReader = Callable[[Path, Sequence[Path], Request], Content]

_READERS = {
    kinds.NPY: "arrays:read_npy",
    kinds.HDF5: "hdf5:read_hdf5",
    kinds.PARQUET: "parquet:read_parquet",
}
"""Of one file of all samples, by its kind."""
_READERS_OF_FILES = {
    kinds.IMAGE: "images:read_images",
    kinds.NPY: "arrays:read_npy_files",
    kinds.WAVE: "audio:read_sounds",
    kinds.EVENTS: "events:read_events",
}
"""Of a file for each sample (or array)."""


def open_samples(path: Path, request: Request) -> Content | None:
    """The samples in a file or folder; None of an npz file, which others read.

    Raises:
        UsageError: it is missing, damaged or of no known kind; all complaints at once.
    """
    if not path.exists():
        raise no_such_file(path)
    if path.is_dir():
        return _chosen(_of_files(path, listed(path, request.classes), request), request)
    kind = _kind(path)
    if kind in _READERS:
        return _chosen(_reader(_READERS[kind])(path, request), request)
    if kind in _READERS_OF_FILES:
        listing = Listing([path], None, (), [path.name])
        return _chosen(_of_files(path, listing, request), request)
    if kind == kinds.TEXT:
        return _chosen(_of_table(path, request), request)
    if kind in ("", kinds.NPZ):
        return None
    raise _unread(path, kind)


def parts_of(calibrate: Path | None, evaluate: Path | None) -> tuple[str, str]:
    """The part of each set that is taken: if both are the same, it is split."""
    is_both = calibrate is not None and evaluate is not None
    if is_both and os.path.realpath(str(calibrate)) == os.path.realpath(str(evaluate)):
        return "half", "rest"
    return "drawn", "mixed"


_CONVERT = "give a folder of PNG, JPEG, BMP, WebP or WAV files; or npz, npy, CSV, parquet, HDF5"
_CONVERT_KINDS = {
    kinds.AEDAT: "in Python, compile_model takes a data set of tonic, which reads it; or give npz"
    " with x, y, p, t_us (one entry an event), offsets (the first event of each recording), label",
}
_KINDS_OF_SETS = (kinds.NPZ, kinds.HDF5, kinds.PARQUET)


def _unread(path: Path, kind: str, *, among: bool = False) -> CompileError:
    """The error for a file that no reader reads; at all, or ``among`` others."""
    if not kind or kind == kinds.TEXT:
        return complaint(path, "it is of no kind that is read", "unreadable-data", _CONVERT)
    if among and kind in _KINDS_OF_SETS:
        text, hint = f"it is a set of samples ({kind}), not one", "name this file itself"
        return complaint(path, text, "unreadable-data", hint)
    hint = _CONVERT_KINDS.get(kind, _CONVERT)
    return complaint(path, f"it is {kind}, which is not read", "unreadable-data", hint)


def _of_table(path: Path, request: Request) -> Content:
    from snn_compile.samples.readers import tables

    table = tables.Table.of(path)
    column = tables.file_column(table)
    if column is None:
        return tables.read_numbers(table, request)
    return _of_files(path, tables.listed(table, column, request), request)


def _of_files(where: Path, listing: Listing, request: Request) -> Content:
    """The samples of a list of files, all of the kind of the first one."""
    found, errors = dict[str, Path](), list[CompileError]()
    for file in listing.files:
        try:
            kind = _kind(file)
        except CompileError as error:
            errors.append(error)
            continue
        found.setdefault(kind, file)
        if kind not in _READERS_OF_FILES:
            errors.append(_unread(file, kind, among=True))
    raise_some(errors, where, "files")
    if len(found) > 1:
        examples = ", ".join(f"{file.name} ({kind})" for kind, file in found.items())
        text = f"its files are of different kinds: {examples}"
        raise complaint(where, text, "unreadable-data", "give samples of one kind")
    (kind,) = found
    content = _reader(_READERS_OF_FILES[kind])(where, listing.files, request)
    if kind == kinds.NPY:
        return content
    labels = {} if listing.labels is None else {"y": np.array(listing.labels, np.int64)}
    return replace(
        content,
        labels=labels,
        classes=listing.classes,
        keys=listing.keys,
        files=listing.files,
    )


def _chosen(content: Content, request: Request) -> Content:
    """The samples that are wanted of all that there are."""
    n = len(content)
    most = request.n_drawn or (DRAWN if content.files else 0)
    if request.part == "mixed":
        most = n if content.files else 0
    if request.part == "all" or not n or not most:
        return content
    if request.part in ("half", "rest"):
        most = min(most, max(1, n // 2))
    keys = content.keys or [str(k) for k in range(n)]
    y = content.labels.get("y")
    labels = None if y is None or y.dtype.kind not in "iu" or len(y.shape) > 1 else y[:].tolist()
    order = drawing.drawn(keys, labels, n, request.seed)
    chosen = order[:most]
    if request.part == "rest":
        chosen = _others(content, chosen, order[most:])
    return content.taken(chosen)


def _others(
    content: Content, drawn: npt.NDArray[np.intp], rest: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Those of the rest that are no copies of drawn samples."""
    if not content.files:
        return rest
    sizes = {content.files[k].stat().st_size for k in drawn}
    hashes = {sha256(content.files[k]) for k in drawn}
    copies = [
        content.files[k].stat().st_size in sizes and sha256(content.files[k]) in hashes
        for k in rest
    ]
    kept: npt.NDArray[np.intp] = rest[~np.array(copies, bool)]
    return kept


def _kind(path: Path) -> str:
    try:
        return kinds.kind_of(path)
    except OSError as error:
        message = f"cannot be read: {describe_error(error)}"
        raise complaint(path, message, "unreadable-data", "check the path") from error


def _reader(place: str) -> Callable[..., Content]:
    module, _, function = place.partition(":")
    found: Callable[..., Content] = getattr(import_module(f"{__name__}.{module}"), function)
    return found
