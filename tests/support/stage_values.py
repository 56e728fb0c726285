"""Values for any annotation of a node's field, drawn by hypothesis; and when two are equal."""

from __future__ import annotations

import enum
import types
from dataclasses import fields, is_dataclass
from typing import Any, NewType, Union, get_args, get_origin

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snn_compile.files.typed import fields_of
from snn_compile.ir.expression import OPERATIONS, Apply, Expression, Number, X, arity
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry

INTEGERS = st.integers(-(2**63), 2**63 - 1)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FORMATS = st.builds(QFormat, st.integers(1, 63), st.booleans())
SMALL = st.integers(1, 9)


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotated type; floats are any bits at all."""
    if isinstance(kind, NewType):
        return of(kind.__supertype__)
    if kind == Expression:
        return expressions()
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.one_of(st.none() if k is type(None) else of(k) for k in inside)
    if origin is tuple and inside[-1] is ...:
        return st.lists(of(inside[0]), max_size=4).map(tuple)
    if origin is tuple:
        return st.tuples(*(of(k) for k in inside))
    if origin is np.ndarray:
        return arrays(get_args(inside[1])[0])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    simple = {
        bool: st.booleans(),
        int: INTEGERS,
        float: any_bits(np.dtype(np.float64), ()).map(float),
        str: TEXTS,
        QFormat: FORMATS,
        QTensor: FORMATS.flatmap(tensors),
        Geometry: geometries(),
        slice: st.builds(slice, *[st.none() | st.integers(-99, 99)] * 3),
    }
    if kind in simple:
        return simple[kind]
    hints = fields_of(kind)
    return st.builds(kind, *(of(hints[field.name]) for field in fields(kind)))


def expressions() -> st.SearchStrategy[Any]:
    """Trees of a few operations, with constants of any bits."""
    channels = hnp.array_shapes(min_dims=0, max_dims=1, min_side=1, max_side=3)
    constants = channels.flatmap(lambda shape: any_bits(np.dtype(np.float64), shape)).map(Number)

    def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.sampled_from(sorted(OPERATIONS)).flatmap(
            lambda name: st.tuples(*[inner] * arity(name)).map(lambda parts: Apply(name, parts))
        )

    return st.recursive(st.just(X) | constants, larger, max_leaves=8)


def arrays(kind: type) -> st.SearchStrategy[Any]:
    """Arrays of a type of numbers, in any of its widths."""
    widths = [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.uint64]
    dtypes = [np.dtype(t) for t in widths if issubclass(t, kind)]
    return st.tuples(st.sampled_from(dtypes), SHAPES).flatmap(lambda t: any_bits(*t))


def any_bits(dtype: np.dtype, shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Numbers of all bits: every NaN, both zeros, subnormal ones; small integers among them."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    bits = st.integers(0, 2 ** (8 * dtype.itemsize) - 1)
    if dtype.kind == "f":
        round_ones = st.integers(-9, 9).map(lambda n: int(np.array(n, dtype).view(unsigned)))
        bits = bits | round_ones
    return hnp.arrays(unsigned, shape, elements=bits).map(lambda a: a.view(dtype))


def tensors(format: QFormat) -> st.SearchStrategy[QTensor]:
    """Integers of a format."""
    elements = st.integers(format.min, format.max)
    return hnp.arrays(np.int64, SHAPES, elements=elements).map(lambda a: QTensor(a, format))


@st.composite
def geometries(draw: Any) -> Geometry:
    """Any geometry."""
    stride, dilation = (draw(st.tuples(SMALL, SMALL)) for _ in range(2))
    padding = draw(st.tuples(*[st.integers(-9, 9)] * 4))
    return Geometry(stride, padding, dilation, draw(SMALL))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, bit for bit, types of numbers in arrays included."""
    if isinstance(one, np.ndarray):
        alike = (one.dtype, one.shape) == (other.dtype, other.shape)
        return alike and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return np.float64(one).tobytes() == np.float64(other).tobytes()
    if is_dataclass(one):
        pairs = ((getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
        return type(one) is type(other) and all(same(a, b) for a, b in pairs)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and one == other
