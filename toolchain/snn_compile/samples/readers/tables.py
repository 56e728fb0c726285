"""CSV files: names of files with labels, or the numbers themselves."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, UsageError
from snn_compile.files.documents import DamagedError, check_size, open_regular, reading
from snn_compile.files.presence import no_such_file
from snn_compile.samples.readers.columns import COUNTED, check_order
from snn_compile.samples.readers.content import Content, Request, complaint, raise_some
from snn_compile.samples.readers.folder import Listing
from snn_compile.samples.readers.labels import NAMES, is_label, numbered
from snn_compile.samples.rows import Rows, computed
from snn_compile.samples.stored import Spool

FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "name", "image_path")
MAX_LINE = 1 << 22
_BLOCK = 4096
"""Lines that are read together."""
_LONGEST = 100
"""Characters of a name that errors show."""
_EXACT = 1 << 24
"""Whole numbers below are exact in single precision."""


@dataclass(frozen=True)
class Table:
    """The lines of a CSV file.

    Attributes:
        path: of the file.
        header: names of the columns; empty if there are none.
        first: the first line with values.
        delimiter: between them.
    """

    path: Path
    header: list[str]
    first: list[str]
    delimiter: str

    @staticmethod
    def of(path: Path) -> Table:
        """A file whose first line may be names of columns."""
        with _reading(path):
            with open_regular(path) as stream:
                start = stream.readline(MAX_LINE).decode("utf-8-sig")
            if not start.strip():
                raise DamagedError("it is empty")
            delimiter = max(",;\t", key=start.count)
        lines = _lines(path, delimiter)
        first = next(lines)
        if any(_number(cell) is None for cell in first) and not _names_a_file(path, first):
            second = next(lines, None)
            if second is None:
                raise complaint(path, "it has no samples", "empty-data", "give one in each line")
            if len(second) != len(first):
                raise complaint(
                    path,
                    f"its first line has {len(first)} values, and its second {len(second)}",
                    "unreadable-data",
                    "give the same columns in each line",
                )
            return Table(path, first, second, delimiter)
        return Table(path, [], first, delimiter)

    def rows(self) -> Iterator[list[str]]:
        """All lines with values, each as wide as the first."""
        for number, line in enumerate(_lines(self.path, self.delimiter)):
            if number == 0 and self.header:
                continue
            if len(line) != len(self.first):
                raise complaint(
                    self.path,
                    f"line {number + 1} has {len(line)} values, and others have {len(self.first)}",
                    "unreadable-data",
                    "give the same columns in each line",
                )
            yield line


def file_column(table: Table) -> int | None:
    """The column with the names of files; None if the table has the numbers themselves."""
    for column, name in enumerate(table.header):
        if name.strip().lower() in FILE_COLUMNS and _number(table.first[column]) is None:
            return column
    for column, cell in enumerate(table.first):
        if _names_a_file(table.path, [cell]):
            return column
    return None


def listed(table: Table, column: int, request: Request) -> Listing:
    """The files that a table names, relative to its folder, and their labels.

    Raises:
        UsageError: files are missing or lie elsewhere; all complaints at once.
    """
    root, errors = table.path.parent, list[CompileError]()
    label = _label_column(table, column, request)
    files, labels, keys = list[Path](), list[str](), list[str]()
    if table.header and _is_alike(table.header[column], table.first[column]):
        errors.append(_no_file(root / table.header[column].strip(), table))
    for line in table.rows():
        path = _below(root, line[column].strip())
        if not os.path.isfile(path):
            errors.append(_no_file(path, table))
        elif ".." in path.parts[len(root.parts) :] or not _is_below(path, root):
            hint = "name files beside the table, or below"
            errors.append(complaint(path, "it lies elsewhere", "unreadable-data", hint))
        files.append(path)
        keys.append(line[column])
        if label is not None:
            labels.append(line[label].strip())
    raise_some(errors, table.path, "files")
    if label is None:
        return Listing(files, None, (), keys)
    numbers, names = numbered(labels, request.classes, table.path)
    return Listing(files, numbers.tolist(), names, keys)


def _is_below(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _below(root: Path, name: str) -> Path:
    """The file of a name; an absolute one in the folder is named from there."""
    path = root / name
    if not Path(name).is_absolute() or not os.path.isfile(path) or not _is_below(path, root):
        return path
    return root / path.resolve().relative_to(root.resolve())


def _no_file(path: Path, table: Table) -> CompileError:
    shown = path if len(path.name) < _LONGEST else path.with_name(f"{path.name[:_LONGEST]}...")
    return no_such_file(shown, f"see {table.path}")


def _is_alike(title: str, file: str) -> bool:
    """Whether a first line that would be names of columns names a file, which is missing."""
    suffix = Path(file.strip()).suffix.lower()
    return bool(suffix) and Path(title.strip()).suffix.lower() == suffix


def read_numbers(table: Table, request: Request) -> Content:
    """Samples and labels of a table of numbers; a line is a sample."""
    inputs, labels = _columns(table, request)
    if not inputs:
        names = ", ".join(table.header[:10])
        text = f"it has no columns of values, only {names}"
        raise complaint(table.path, text, "missing-key", "name columns as the network's inputs")
    for columns in inputs.values() if table.header else ():
        check_order(table.path, [table.header[c].strip() for c in columns])
    spools = {name: Spool(str(table.path)) for name in (*inputs, *labels)}
    whole = dict.fromkeys(spools, True)
    texts: dict[str, list[str]] = {name: [] for name in labels if len(labels[name]) == 1}
    for start, block in _blocks(table):
        for name, columns in {**inputs, **labels}.items():
            cells = [[line[c] for c in columns] for line in block]
            if name in texts and name in NAMES[:1]:
                texts[name] += [row[0].strip() for row in cells]
                continue
            values = _numbers(table.path, cells, start + bool(table.header))
            whole[name] = whole[name] and bool((values == np.rint(values)).all())
            whole[name] = whole[name] and bool((np.abs(values) < _EXACT).all())
            spools[name].append(values)
    arrays = {
        name: _shaped(spools[name].rows(), request, name, whole=whole[name]) for name in inputs
    }
    found: dict[str, Rows] = {}
    classes: tuple[str, ...] = ()
    for name in labels:
        if texts.get(name):
            found[name] = _labels(texts[name], table.path)
            if found[name].dtype.kind not in "f":
                found[name], classes = numbered(texts[name], request.classes, table.path)
        else:
            found[name] = spools[name].rows()
    return Content(arrays, found, classes)


def _labels(texts: Sequence[str], path: Path) -> npt.NDArray[np.float64 | np.int64]:
    """Targets as they stand, if they are real values; else anything of another type."""
    numbers = [_number(text) for text in texts]
    is_real = None not in numbers and any("." in text or "e" in text.lower() for text in texts)
    return np.array(numbers, np.float64) if is_real else np.zeros(len(texts), np.int64)


def _columns(table: Table, request: Request) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Columns of each input and of labels."""
    inputs: dict[str, list[int]] = {}
    labels: dict[str, list[int]] = {}
    single = len(request.shapes) == 1
    needed = prod(next(iter(request.shapes.values())))
    if not table.header:
        width = len(table.first)
        if not single or width not in (needed, needed + 1):
            raise complaint(
                table.path,
                f"it has {width} columns without names, and a sample has {needed} values",
                "wrong-shape",
                "name the columns in the first line; that of the labels is y",
            )
        # Where there is one more, nothing tells which one is the label.
        if width == needed + 1:
            raise complaint(
                table.path,
                f"it has {width} columns without names, one more than a sample has values",
                "wrong-shape",
                "name the columns in the first line; that of the labels is y",
            )
        return {"x": list(range(width))}, {}
    for column, title in enumerate(name.strip() for name in table.header):
        match = COUNTED.fullmatch(title)
        stem = match[1] if match and title not in request.shapes else title
        if is_label(title, request):
            labels.setdefault("y" if title.lower() in NAMES else title, []).append(column)
        elif stem in request.shapes:
            inputs.setdefault(stem, []).append(column)
        elif single:
            inputs.setdefault("x", []).append(column)
    return inputs, labels


def _shaped(rows: Rows, request: Request, name: str, *, whole: bool) -> Rows:
    """Values in the shape of the input, if they are as many; whole numbers as integers."""
    shape = next(iter(request.shapes.values())) if name == "x" else request.shapes[name]
    fits = prod(rows.shape[1:]) == prod(shape)

    def shaped(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32 | np.int32]:
        values = block.reshape(len(block), *shape) if fits else block
        return values.astype(np.int32) if whole else values

    return computed(shaped, rows)


def _label_column(table: Table, other: int, request: Request) -> int | None:
    for column, name in enumerate(table.header):
        if column != other and is_label(name.strip(), request):
            return column
    if not table.header and len(table.first) == 2:
        return 1 - other
    return None


def _blocks(table: Table) -> Iterator[tuple[int, list[list[str]]]]:
    block: list[list[str]] = []
    start = 0
    for line in table.rows():
        block.append(line)
        if len(block) == _BLOCK:
            yield start, block
            start, block = start + len(block), []
    if block:
        yield start, block


def _numbers(path: Path, cells: list[list[str]], before: int) -> npt.NDArray[np.float32]:
    try:
        return np.array(cells, np.float64).astype(np.float32)
    except ValueError:
        for number, row in enumerate(cells):
            for cell in row:
                if _number(cell) is None:
                    raise complaint(
                        path,
                        f"line {before + number + 1}: {cell[:40]!r} is no number",
                        "unreadable-data",
                        "give numbers, and names of the columns in the first line",
                    ) from None
        raise


def _lines(path: Path, delimiter: str) -> Iterator[list[str]]:
    with _reading(path), open(path, encoding="utf-8-sig", newline="") as stream:
        check_size(path.name, 0)
        try:
            for line in csv.reader(stream, delimiter=delimiter, strict=True):
                if line:
                    yield line
        except csv.Error as error:
            raise DamagedError(str(error)) from error


def _reading(path: Path) -> AbstractContextManager[None]:
    return reading(path, UsageError, "unreadable-data", "it is no table", "write it as CSV")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _names_a_file(path: Path, cells: Sequence[str]) -> bool:
    return any(
        _number(cell) is None and cell.strip() and os.path.isfile(path.parent / cell.strip())
        for cell in cells
    )
