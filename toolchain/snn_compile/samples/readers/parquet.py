"""Parquet files: columns of numbers, of lists, of encoded images or sound; read by row groups."""

from __future__ import annotations

import json
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile import extras
from snn_compile.errors import Origin, UsageError, raise_all
from snn_compile.files.documents import DamagedError, check_size, open_regular, reading
from snn_compile.ir.graph import Shape
from snn_compile.recipes import AudioRecipe
from snn_compile.samples.readers.audio import sound_bytes
from snn_compile.samples.readers.columns import check_order
from snn_compile.samples.readers.content import Content, Request, check_rows, complaint
from snn_compile.samples.readers.images import image_bytes
from snn_compile.samples.readers.labels import is_label, numbered
from snn_compile.samples.rows import Index, Rows, indices

_WIDEST = 8
"""Bytes of a value other than a text or an image."""
FILE_COLUMNS = ("image", "img", "audio", "x")
_IMAGE = "bytes"
"""Field of an encoded image or recording in a column of structures."""


@dataclass(eq=False)
class Groups:
    """The row groups of a file; the one that was read last is kept.

    Attributes:
        file: of pyarrow.
        path: of it.
        schema: of its columns.
    """

    file: Any
    path: Path
    schema: Any
    starts: npt.NDArray[np.intp] = field(init=False)
    _held: dict[str, tuple[int, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def of(path: Path) -> Groups:
        """Those of a file; equal texts and images of a group are held once."""
        from pyarrow.parquet import ParquetFile

        plain = ParquetFile(path, memory_map=True)
        columns = [plain.schema.column(k) for k in range(len(plain.schema))]
        shared = [c.path for c in columns if c.physical_type == "BYTE_ARRAY"]
        check_rows(plain.metadata.num_rows)
        file = ParquetFile(path, memory_map=True, read_dictionary=shared)
        return Groups(file, path, plain.schema_arrow)

    def __post_init__(self) -> None:
        meta = self.file.metadata
        counts = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def value(self, column: str, k: int) -> tuple[Any, int]:
        """The column of the group with row ``k``, and its place there."""
        group = int(np.searchsorted(self.starts, k, side="right")) - 1
        with self._lock:
            number, held = self._held.get(column, (-1, None))
            if number != group:
                held = self._read(column, group)
                self._held[column] = (group, held)
        return held, k - int(self.starts[group])

    def _read(self, column: str, group: int) -> Any:
        with _reading(self.path):
            meta = self.file.metadata.row_group(group)
            # A run of equal values is stored as one, and read as all of them.
            size = sum(
                max(meta.column(c).total_uncompressed_size, _WIDEST * meta.column(c).num_values)
                for c in range(meta.num_columns)
                if meta.column(c).path_in_schema.split(".")[0] == column
            )
            check_size(f"a row group of '{column}'", max(size, 0))
            found = self.file.read_row_group(group, columns=[column], use_threads=False)
            merged = found.column(column).combine_chunks()
            if merged.null_count:
                raise DamagedError(f"'{column}' lacks {merged.null_count:,} values")
            return merged


@dataclass(frozen=True, eq=False)
class ColumnRows:
    """Numbers in columns: one of lists, or several of single values.

    Attributes:
        groups: of the file.
        columns: their names.
        shape: number of rows, and shape of one.
        dtype: type of the values.
    """

    groups: Groups
    columns: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index, /) -> npt.NDArray[Any]:
        listed = indices(index, len(self))
        size = prod(self.shape[1:])
        found = np.empty((len(listed), len(self.columns), size // len(self.columns)), self.dtype)
        for c, column in enumerate(self.columns):
            for place, k in enumerate(listed):
                held, row = self.groups.value(column, int(k))
                value = _numbers_of(held[row].as_py(), column, self.groups.path).ravel()
                if value.size != found.shape[2]:
                    raise complaint(
                        self.groups.path,
                        f"'{column}' has {value.size} values in row {k}, and {found.shape[2]} in"
                        " others",
                        "wrong-shape",
                        "give every sample the same shape",
                    )
                with np.errstate(over="ignore"):  # infinity is refused where values are checked
                    found[place, c] = value
        return found.reshape(len(listed), *self.shape[1:])


def read_parquet(path: Path, request: Request) -> Content:
    """The samples of a file: images in a column, or columns of numbers by the names of inputs."""
    raise_all(
        extras.missing("pyarrow", "parquet", "parquet files are read by", origin=Origin(str(path)))
    )
    with _reading(path):
        open_regular(path).close()
        groups = Groups.of(path)
    if not len(groups):
        raise complaint(path, "it has no rows", "empty-data", "give one for each sample")
    labels = {
        f.name: _label(groups, f, request) for f in groups.schema if is_label(f.name, request)
    }
    rest = [f for f in groups.schema if f.name not in labels]
    files = _encoded(groups, rest, request)
    arrays = files or _numbers(groups, rest, request)
    found: dict[str, Rows] = {}
    classes: tuple[str, ...] = ()
    for number, (name, (rows, names)) in enumerate(labels.items()):
        found["y" if number == 0 else name] = rows
        classes = classes or names
    return Content(arrays, found, classes, are_decoded=bool(files))


def _encoded(groups: Groups, columns: list[Any], request: Request) -> dict[str, Rows]:
    """Images or sound, as libraries of data sets keep them: bytes, or a structure with bytes."""
    import pyarrow.types as kinds

    encoded = [
        f.name
        for f in columns
        if kinds.is_binary(f.type)
        or kinds.is_large_binary(f.type)
        or (kinds.is_struct(f.type) and f.type.get_field_index(_IMAGE) >= 0)
    ]
    if not encoded:
        return {}
    if len(encoded) > 1:
        encoded = [name for name in encoded if name in (*FILE_COLUMNS, *request.shapes)][:1]
    if not encoded:
        text, hint = "several columns hold images", f"name one of them {FILE_COLUMNS[0]}"
        raise complaint(groups.path, text, "missing-key", hint)
    (column,) = encoded

    def content(k: int) -> bytes:
        held, row = groups.value(column, k)
        value = held[row].as_py()
        found = value[_IMAGE] if isinstance(value, dict) else value
        if not isinstance(found, bytes):
            raise DamagedError("it is not there")
        return found

    name = request.file_input[0]
    is_sound = isinstance(request.recipe, AudioRecipe)
    rows_of = sound_bytes if is_sound else image_bytes
    return {name: rows_of(len(groups), content, request, groups.path)}


def _numbers(groups: Groups, columns: list[Any], request: Request) -> dict[str, Rows]:
    """A column for each input, or one for each value of the only one."""
    import pyarrow.types as kinds

    names = {f.name: f for f in columns}
    single = len(request.shapes) == 1
    stated = [name for name in names if name in request.shapes or (single and name == "x")]
    if stated:
        return {name: _rows(groups, (names[name],), request.shapes.get(name)) for name in stated}
    values = [f for f in columns if kinds.is_integer(f.type) or kinds.is_floating(f.type)]
    shape = next(iter(request.shapes.values()))
    if single and len(values) == prod(shape):
        check_order(groups.path, [f.name for f in values])
        return {"x": _rows(groups, tuple(values), shape)}
    lists = [f for f in columns if kinds.is_nested(f.type)]
    if single and len(lists) == 1:
        return {"x": _rows(groups, (lists[0],), shape)}
    inputs = " and ".join(f"'{name}'" for name in request.shapes)
    text = f"no columns are {inputs} (it has {', '.join([*names][:10]) or 'none'})"
    raise complaint(groups.path, text, "missing-key", "name the columns as the network's inputs")


def _rows(groups: Groups, columns: tuple[Any, ...], shape: Shape | None) -> Rows:
    held, row = groups.value(columns[0].name, 0)
    first = _numbers_of(held[row].as_py(), columns[0].name, groups.path)
    size = first.size * len(columns)
    own = first.shape if len(columns) == 1 else (len(columns),)
    fits = shape is not None and size == prod(shape) and len(own) < 2
    dtype = np.dtype(np.float32) if any("int" not in str(f.type) for f in columns) else first.dtype
    names = tuple(f.name for f in columns)
    return ColumnRows(groups, names, (len(groups), *(shape if fits and shape else own)), dtype)


def _label(groups: Groups, column: Any, request: Request) -> tuple[Rows, tuple[str, ...]]:
    """Labels of all rows, and the names of their classes, where the file has them."""
    values = [_at(groups, column.name, k) for k in range(len(groups))]
    names = request.classes or _names_in(groups.schema.metadata, column.name)
    if all(isinstance(value, str) for value in values):
        return numbered(values, names, groups.path)
    found = _numbers_of(values, column.name, groups.path)
    if found.dtype.kind == "b":
        found = found.astype(np.int64)
    return found, tuple(names) if found.dtype.kind in "iu" else ()


def _at(groups: Groups, column: str, k: int) -> Any:
    held, row = groups.value(column, k)
    return held[row].as_py()


def _names_in(metadata: Any, column: str) -> tuple[str, ...]:
    """Names of classes in the description that Hugging Face's library of data sets writes."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if valid else ()


def _numbers_of(value: Any, column: str, path: Path) -> npt.NDArray[Any]:
    """A number, or lists of numbers that have the same length."""
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError):
        text, hint = f"'{column}' has lists of different lengths", "give lists of one shape"
        raise complaint(path, text, "wrong-shape", hint) from None
    if found.dtype.kind not in "biuf":
        text = f"'{column}' holds no numbers"
        raise complaint(path, text, "wrong-dtype", "store numbers, or lists of them")
    return found


def _reading(path: Path) -> AbstractContextManager[None]:
    message = "not a parquet file, or a damaged one"
    return reading(path, UsageError, "unreadable-data", message, "write it again")
