"""Files of predictions, a row for each sample: CSV, JSON lines or Parquet.

They are written piece by piece, and are there as a whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import isnan, prod
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from snn_compile.errors import Origin, UsageError, raise_all
from snn_compile.extras import missing
from snn_compile.files.writing import replacing_file, require_file
from snn_compile.predictions.columns import Column, OutputColumns
from snn_compile.printable import printable

FORMULA = ("=", "+", "-", "@", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of a cell that a spreadsheet takes for a formula or a command, the wide forms of the
first four among them."""


class PredictionFile(Protocol):
    """A file that grows by rows."""

    def append(self, columns: Sequence[Column]) -> None:
        """Add rows."""
        ...


def of_suffix(path: Path) -> type[TextRows] | type[ParquetFile] | None:
    """The form of a file by its name; None for arrays.

    Raises:
        UsageError: no file of this name is written, or the package that writes it is missing.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        origin = Origin(str(path))
        raise_all(missing("pyarrow", "parquet", "Parquet files are written by", origin=origin))
    if suffix not in FORMS:
        raise UsageError(
            f"results are not written as '{path.suffix}'",
            code="bad-option",
            origin=Origin(str(path)),
            hint="name a file .npz, .csv, .jsonl or .parquet",
        )
    return FORMS[suffix]


def check_rows(form: type[TextRows] | type[ParquetFile], outputs: Sequence[OutputColumns]) -> None:
    """Check that a row has something to hold.

    Raises:
        UsageError: all outputs are maps without labels, which rows of text have no place for.
    """
    if form is ParquetFile or not all(one.are_maps for one in outputs):
        return
    if all(one.expected.y is None for one in outputs):
        raise UsageError(
            "maps have no place in rows of text, and there are no labels to judge them by",
            code="bad-option",
            hint="name a file .npz or .parquet",
        )


@contextmanager
def writing(form: type[TextRows] | type[ParquetFile], path: Path) -> Iterator[PredictionFile]:
    """The open file; it replaces an older one at the end."""
    require_file(path)
    with replacing_file(path) as stream, form(stream) as rows:
        yield rows


class TextRows(AbstractContextManager["TextRows"]):
    """Rows of text, without maps.

    Args:
        stream: to write to.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._begun = False

    def __exit__(self, *error: object) -> None:
        """Nothing is held back."""

    def append(self, columns: Sequence[Column]) -> None:
        """Add rows."""
        columns = [column for column in columns if not column.is_map]
        text = "".join(self._lines(columns, first=not self._begun))
        self._begun = True
        self._stream.write(text.encode("utf-8"))

    def _lines(self, columns: Sequence[Column], *, first: bool) -> Iterable[str]:
        raise NotImplementedError


class CsvFile(TextRows):
    """Comma-separated values with a line of names; a list takes a column for each value."""

    def _lines(self, columns: Sequence[Column], *, first: bool) -> Iterable[str]:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        cells: list[list[Any]] = []
        names: list[str] = []
        for column in columns:
            n, size = len(column.values), prod(column.values.shape[1:])
            flat = column.values.reshape(n, size)
            single = column.values.ndim == 1
            names += [column.name] if single else [f"{column.name}_{k}" for k in range(size)]
            cells += [[_cell(value) for value in part.tolist()] for part in flat.T]
        if first:
            writer.writerow([harmless(name) for name in names])
        writer.writerows(zip(*cells, strict=True))
        return [text.getvalue()]


class JsonLines(TextRows):
    """An object in each line."""

    def _lines(self, columns: Sequence[Column], *, first: bool) -> Iterable[str]:
        del first
        names = [column.name for column in columns]
        parts = [_flat(column) for column in columns]
        for row in zip(*parts, strict=True):
            yield json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n"


class ParquetFile(AbstractContextManager["ParquetFile"]):
    """A table of Apache Parquet; a map is a list in the order of its memory, its shape beside it.

    Args:
        stream: to write to.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._writer: Any = None

    def __exit__(self, *error: object) -> None:
        """Write the end of the file."""
        if self._writer is not None:
            self._writer.close()

    def append(self, columns: Sequence[Column]) -> None:
        """Add rows."""
        import pyarrow
        import pyarrow.parquet

        arrays = [_arrow(column) for column in columns]
        if self._writer is None:
            fields = [
                pyarrow.field(column.name, array.type, metadata=_shape(column))
                for column, array in zip(columns, arrays, strict=True)
            ]
            schema = pyarrow.schema(fields)
            self._writer = pyarrow.parquet.ParquetWriter(self._stream, schema)
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._writer.schema))


FORMS: dict[str, type[TextRows] | type[ParquetFile] | None] = {
    "": None,
    ".npz": None,
    ".csv": CsvFile,
    ".jsonl": JsonLines,
    ".parquet": ParquetFile,
}


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula, in printable characters.

    An apostrophe before it says that it is a text.
    """
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def _cell(value: Any) -> Any:
    """A value of a CSV file: reals with all their digits, truth as in JSON."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if isnan(value) else repr(value)
    return value


def _flat(column: Column) -> list[Any]:
    """The values of a column for JSON: lists of one axis, null for what is not a number."""
    values = column.values
    if values.ndim > 1:
        values = values.reshape(len(values), prod(values.shape[1:]))
    if values.dtype.kind == "f" and np.isnan(values).any():
        plain = values.astype(object)
        plain[np.isnan(values)] = None
        return list(plain.tolist())
    return list(values.tolist())


def _arrow(column: Column) -> Any:
    import pyarrow

    values = column.values
    if values.ndim == 1:
        return pyarrow.array(values)
    flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(flat, prod(values.shape[1:]))


def _shape(column: Column) -> dict[str, str] | None:
    if column.values.ndim <= 2:
        return None
    return {"shape": json.dumps(list(column.values.shape[1:]))}
