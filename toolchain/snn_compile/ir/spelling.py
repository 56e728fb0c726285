"""Exact text of a value in a network; ``spelled.py`` is the inverse.

Writing follows the value, independently of node types. Numbers keep every bit. A float is the
shortest decimal that reads back as the same bits; a value without a decimal (a payload of NaN) is
written as its bits in hexadecimal.
"""

from __future__ import annotations

import enum
import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.expression import Apply, Expression, Number, Variable, X, steps
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.serialize import Arrays, array_hashes

INLINE = 64
"""Maximal number of elements of an inline array, if another file can store larger ones."""
HASH_DIGITS = 32
_KINDS = "iuf"
_WIDEST = 8


def spell(value: Any, kept: Arrays | None = None) -> str:
    """The exact text of a value.

    Args:
        value: value of a node's field.
        kept: takes the arrays of more than ``INLINE`` elements, by their hash; None: there are no
            such arrays, all stand in the text.

    Raises:
        TypeError: values of its type have no spelling.
    """
    match value:
        case None:
            return "none"
        case bool() | np.bool_():
            return "true" if value else "false"
        case enum.Enum():
            return str(value.value)
        case int() | np.integer():
            return str(int(value))
        case float():
            return floats(np.array([value], np.float64))[0]
        case str():
            return quoted(value)
        case QFormat():
            return str(value)
        case QTensor():
            return f"{value.format}{_array(value.values, kept)}"
        case np.ndarray():
            return f"{check_dtype(value.dtype).name}{_array(value, kept)}"
        case Geometry():
            return geometry(value)
        case Variable() | Number() | Apply():
            return _expression(value, kept)
        case slice():
            ends = (value.start, value.stop, value.step)
            return ":".join("" if end is None else str(int(end)) for end in ends)
        case tuple():
            return f"({','.join(spell(item, kept) for item in value)})"
    if is_dataclass(value):
        return spell(tuple(getattr(value, field.name) for field in fields(value)), kept)
    raise TypeError(f"a {type(value).__name__} has no text")


def _expression(value: Expression, kept: Arrays | None) -> str:
    """The operations in order; each may read ``x``, numbers and earlier operations."""
    done: dict[Expression, str] = {X: "x"}

    def operand(part: Expression) -> str:
        return spell(part.values, kept) if isinstance(part, Number) else done[part]

    lines = []
    for k, step in enumerate(steps(value)):
        lines.append(f"{step.name}({','.join(map(operand, step.operands))})")
        done[step] = str(k)
    return f"{{{';'.join(lines) or operand(value)}}}"


def quoted(text: str) -> str:
    """A text in quotation marks, as in JSON."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def times(shape: tuple[int, ...]) -> str:
    """A shape: 3x5x5."""
    return "x".join(str(n) for n in shape)


def geometry(value: Geometry) -> str:
    """A geometry in one word."""
    return (
        f"s{value.stride[0]},{value.stride[1]}"
        f"/p{','.join(str(p) for p in value.padding)}"
        f"/d{value.dilation[0]},{value.dilation[1]}/g{value.groups}"
    )


def floats(values: npt.NDArray[np.floating]) -> list[str]:
    """Each number as the shortest decimal that reads back as the same bits, or as its bits."""
    texts = [str(value) for value in values]
    right = _bits(from_decimals(texts, values.dtype)) == _bits(values)
    for k in np.flatnonzero(~right):
        longer = repr(float(values[k]))  # of float32: digits that survive being read as float64
        same = _bits(from_decimals([longer], values.dtype)) == _bits(values[k : k + 1])
        texts[k] = longer if same[0] else f"0x{int(_bits(values)[k]):x}"
    return texts


def _bits(values: npt.NDArray[np.floating]) -> npt.NDArray[np.unsignedinteger]:
    return values.view(f"u{values.dtype.itemsize}")


def from_decimals(texts: list[str], dtype: np.dtype[Any]) -> npt.NDArray[np.floating]:
    """Numbers from decimals, each rounded once to float64 and once to its type."""
    with np.errstate(over="ignore", invalid="ignore"):
        numbers: npt.NDArray[np.floating] = np.array([float(text) for text in texts]).astype(dtype)
    return numbers


def check_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type of numbers, if it has a spelling.

    Raises:
        TypeError: it has none.
    """
    if dtype.kind not in _KINDS or dtype.itemsize > _WIDEST:
        raise TypeError(f"an array of {dtype} has no text")
    return dtype


def _array(values: npt.NDArray[Any], kept: Arrays | None) -> str:
    if kept is not None and values.size > INLINE:
        stored = values.astype(values.dtype.newbyteorder("<"))
        name = hash_of(stored)
        kept[name] = stored
        return f"[{times(values.shape)} #{name}]"
    flat = values.ravel().astype(values.dtype.newbyteorder("="))
    items = floats(flat) if flat.dtype.kind == "f" else [str(int(value)) for value in flat]
    shape = "" if values.ndim == 1 else f"{times(values.shape)}: "
    return f"[{shape}{','.join(items)}]"


def hash_of(stored: npt.NDArray[Any]) -> str:
    """The name of a little-endian array in a text."""
    return array_hashes({"": stored})[""][:HASH_DIGITS]
