"""Scanner of values in the exact text of a network.

Parsing follows the annotation of the field, independently of node types.
"""

from __future__ import annotations

import enum
import json
import re
import types
from collections.abc import Mapping
from dataclasses import fields
from math import prod
from typing import Any, NewType, Union, get_args, get_origin

import numpy as np
import numpy.typing as npt

from snn_compile.files.documents import DamagedError
from snn_compile.files.typed import fields_of
from snn_compile.ir.expression import MAX_OPERATIONS, Apply, Expression, Number, X
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.spelling import check_dtype, from_decimals, hash_of, times

SHAPE = re.compile(r"\d{1,18}(?:x\d{1,18}){0,31}|-", re.ASCII)
STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')
_WORD = re.compile(r"[A-Za-z][\w-]*+", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
_FLOAT = re.compile(r"0x[0-9a-f]{1,16}|-?(?:\d{1,400}(?:\.\d{0,400})?(?:e[+-]?\d{1,4})?|inf|nan)")
_FORMAT = re.compile(r"[su]\d{1,2}", re.ASCII)
_GEOMETRY = re.compile(r"s(\d+),(\d+)/p(-?\d+),(-?\d+),(-?\d+),(-?\d+)/d(\d+),(\d+)/g(\d+)")
_SLICE = re.compile(r"(-?\d{1,18})?:(-?\d{1,18})?:(-?\d{1,18})?", re.ASCII)
_DTYPE = re.compile(r"(?:u?int|float)\d{1,2}", re.ASCII)
_BODY = re.compile(r"\[(?:([\dx]*+)(?: #([0-9a-f]+)|:))?+ ?([^\]]*+)\]")
_OPERATION = re.compile(r"([a-z]+)\(")
_ARGUMENT = re.compile(r"x\b")
_PLACE = re.compile(r"\d{1,4}", re.ASCII)


class MisspelledError(DamagedError):
    """A text does not match the expected syntax.

    Attributes:
        column: its position, from 0.
    """

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.column = column


def shape_of(text: str) -> tuple[int, ...]:
    """The shape in a text."""
    return () if text in ("", "-") else tuple(int(n) for n in text.split("x"))


class Scanner:
    """A text and a position in it.

    Args:
        text: the text.
        arrays: arrays that the text names by hash.
        start: first column.
        end: column after the last.

    Attributes:
        column: current position.
    """

    def __init__(
        self, text: str, arrays: Mapping[str, Any], start: int = 0, end: int | None = None
    ) -> None:
        self._text, self._arrays, self.column = text, arrays, start
        self._end = len(text) if end is None else end

    @property
    def at_end(self) -> bool:
        """Whether the end is reached."""
        return self.column >= self._end

    def error(self, message: str, column: int | None = None) -> MisspelledError:
        """The error at a column, or at the current position."""
        return MisspelledError(message, self.column if column is None else column)

    def take(self, pattern: re.Pattern[str] | str) -> re.Match[str] | None:
        """Match a pattern at the current position, if possible, and advance."""
        compiled = re.compile(re.escape(pattern)) if isinstance(pattern, str) else pattern
        if found := compiled.match(self._text, self.column, self._end):
            self.column = found.end()
        return found

    def need(self, pattern: re.Pattern[str] | str, what: str) -> re.Match[str]:
        """Match a pattern at the current position, and advance.

        Raises:
            MisspelledError: it does not match.
        """
        if found := self.take(pattern):
            return found
        rest = self._text[self.column : self._end]
        there = f"'{rest[:20]}'" if rest else "the end of the line"
        raise self.error(f"expected {what}, not {there}")

    def string(self) -> str:
        """A text in quotation marks."""
        start = self.column
        try:
            text: str = json.loads(self.need(STRING, "a text in quotation marks")[0])
        except ValueError as error:
            if isinstance(error, MisspelledError):
                raise
            raise self.error("this is no text of JSON", start) from error
        return text

    def value(self, kind: Any) -> Any:
        """A value of an annotated type.

        Raises:
            MisspelledError: the text has none.
        """
        if isinstance(kind, NewType):
            return self.value(kind.__supertype__)
        if kind == Expression:
            return self._expression()
        origin, inside = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            (one,) = (k for k in inside if k is not type(None))
            return None if self.take(re.compile(r"none\b")) else self.value(one)
        if origin is tuple:
            return self._items(None if inside[-1] is ... else inside, inside[0])
        if origin is np.ndarray:
            return self._of_type(get_args(inside[1])[0])
        if kind is QTensor:
            return self._tensor()
        if kind in _PLAIN:
            what, pattern, make = _PLAIN[kind]
            start = self.column
            found = self.need(pattern, what)
            return self._made(make, (found,), start)
        if kind is str:
            return self.string()
        if issubclass(kind, enum.Enum):
            return self._member(kind)
        start, hints = self.column, fields_of(kind)
        items = self._items(tuple(hints[field.name] for field in fields(kind)))
        return self._made(kind, items, start)

    def _expression(self) -> Expression:
        start, done = self.column, list[Expression]()
        self.need("{", "'{'")
        while not done or self.take(";"):
            if len(done) == MAX_OPERATIONS:
                raise self.error(f"more than {MAX_OPERATIONS} operations", start)
            done.append(self._operation(done))
        self.need("}", "';' or '}'")
        return done[-1]

    def _operation(self, done: list[Expression]) -> Expression:
        """An operation on ``x``, numbers and earlier operations; or one of these alone."""
        start, name = self.column, self.take(_OPERATION)
        if name is None:
            return self._operand(done)
        operands = [self._operand(done)]
        while not self.take(")"):
            self.need(",", "',' or ')'")
            operands.append(self._operand(done))
        made: Expression = self._made(Apply, (name[1], tuple(operands)), start)
        return made

    def _operand(self, done: list[Expression]) -> Expression:
        start = self.column
        if self.take(_ARGUMENT):
            return X
        if place := self.take(_PLACE):
            if int(place[0]) >= len(done):
                raise self.error(f"operation {place[0]} is not defined yet", start)
            return done[int(place[0])]
        made: Expression = self._made(Number, (self._of_type(np.float64),), start)
        return made

    def _made(self, make: Any, arguments: tuple[Any, ...], start: int) -> Any:
        try:
            return make(*arguments)
        except (ValueError, TypeError, OverflowError) as error:
            raise self.error(str(error), start) from error

    def _member(self, kind: type[enum.Enum]) -> enum.Enum:
        start = self.column
        names = [str(member.value) for member in kind]
        word = self.need(_WORD, f"one of {', '.join(names)}")[0]
        if word not in names:
            raise self.error(f"'{word}' is not one of {', '.join(names)}", start)
        return kind(word)

    def _items(self, kinds: tuple[Any, ...] | None, repeated: Any = None) -> tuple[Any, ...]:
        """Values in brackets: of the given types, or any number of one type."""
        start = self.column
        self.need("(", "'('")
        items: list[Any] = []
        while not self.take(")"):
            if items:
                self.need(",", "',' or ')'")
            if kinds is not None and len(items) >= len(kinds):
                raise self.error(f"more than {len(kinds)} entries")
            items.append(self.value(repeated if kinds is None else kinds[len(items)]))
        if kinds is not None and len(items) < len(kinds):
            raise self.error(f"{len(items)} of {len(kinds)} entries", start)
        return tuple(items)

    def _tensor(self) -> QTensor:
        start = self.column
        format: QFormat = self.value(QFormat)
        values = self._body(np.dtype(np.int64))
        made: QTensor = self._made(QTensor, (values, format), start)
        return made

    def _of_type(self, expected: type[np.generic]) -> npt.NDArray[Any]:
        start = self.column
        name = self.need(_DTYPE, "a type of numbers like float64")[0]
        try:
            dtype = check_dtype(np.dtype(name))
        except TypeError as error:
            raise self.error(f"'{name}' is not a numeric type", start) from error
        if not np.issubdtype(dtype, expected):
            raise self.error(f"numbers of type {name} instead of {expected.__name__}", start)
        return self._body(dtype)

    def _body(self, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        start = self.column
        stated, name, content = self.need(_BODY, "numbers in square brackets").groups()
        if stated and not SHAPE.fullmatch(stated):
            raise self.error(f"'{stated}' is not a shape", start + 1)
        shape = None if stated is None else shape_of(stated)
        if name is not None:
            return self._stored(name, shape or (), dtype, start)
        values = self._numbers(content, dtype, self.column - 1 - len(content))
        shape = values.shape if shape is None else shape
        if prod(shape) != values.size or min(shape, default=0) < 0:
            raise self.error(f"{values.size} numbers do not match the shape {times(shape)}", start)
        return values.reshape(shape)

    def _numbers(self, content: str, dtype: np.dtype[Any], start: int) -> npt.NDArray[Any]:
        items = content.split(",") if content else []
        pattern = _FLOAT if dtype.kind == "f" else _INTEGER
        for k, item in enumerate(items):
            if not pattern.fullmatch(item):
                column = start + len(",".join(items[:k])) + (k > 0)
                raise self.error(f"'{item[:20]}' is not a number of type {dtype}", column)
        try:
            if dtype.kind != "f":
                return np.array([int(item) for item in items], dtype)
        except OverflowError as error:
            raise self.error(f"an integer does not fit {dtype}", start) from error
        return self._floats(items, dtype, start)

    def _floats(self, items: list[str], dtype: np.dtype[Any], start: int) -> npt.NDArray[Any]:
        in_bits = [k for k, item in enumerate(items) if item.startswith("0x")]
        values = from_decimals(["0" if i.startswith("0x") else i for i in items], dtype)
        for k in np.flatnonzero(np.isinf(values)):
            if "inf" not in items[k]:
                raise self.error(f"{items[k][:20]} exceeds the range of {dtype}", start)
        for place in in_bits:
            number = int(items[place], 16)
            if number >> (8 * dtype.itemsize):
                raise self.error(f"{items[place]} is wider than {dtype}", start)
            values.view(f"u{dtype.itemsize}")[place] = number
        return values

    def _stored(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], start: int
    ) -> npt.NDArray[Any]:
        """An array from another file, if it matches the text's hash and shape."""
        if name not in self._arrays:
            raise self.error(f"missing array #{name}", start)
        values = np.asarray(self._arrays[name])
        if (values.shape, values.dtype) != (shape, dtype):
            raise self.error(
                f"array #{name} has type {values.dtype} and shape {times(values.shape)}", start
            )
        if hash_of(values.astype(dtype.newbyteorder("<"))) != name:
            raise self.error(f"array #{name} does not match its hash", start)
        return values.astype(dtype)


def _geometry(found: re.Match[str]) -> Geometry:
    sy, sx, top, left, bottom, right, dy, dx, groups = (_small(n) for n in found.groups())
    return Geometry((sy, sx), (top, left, bottom, right), (dy, dx), groups)


def _small(digits: str) -> int:
    if len(digits) > 10:
        raise ValueError(f"{digits[:10]}... is too large")
    return int(digits)


def _float(found: re.Match[str]) -> float:
    return float(Scanner("", {})._floats([found[0]], np.dtype(np.float64), 0)[0])


_PLAIN: dict[Any, tuple[str, re.Pattern[str], Any]] = {
    bool: ("true or false", re.compile(r"true\b|false\b"), lambda found: found[0] == "true"),
    int: ("a whole number", re.compile(r"-?\d{1,400}", re.ASCII), lambda found: int(found[0])),
    float: ("a number", _FLOAT, _float),
    QFormat: ("a format like s8", _FORMAT, lambda f: QFormat(int(f[0][1:]), f[0][0] == "s")),
    Geometry: ("a geometry like s1,1/p0,0,0,0/d1,1/g1", _GEOMETRY, _geometry),
    slice: (
        "a slice like 0:3:1",
        _SLICE,
        lambda found: slice(*(None if end is None else int(end) for end in found.groups())),
    ),
}
