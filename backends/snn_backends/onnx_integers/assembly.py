"""An ONNX graph in the making: operators on integers whose ranges are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from snn_compile.ir.graph import Shape

Array = npt.NDArray[Any]
DType = np.dtype[Any]
UINT8, INT32, INT64 = (np.dtype(kind) for kind in (np.uint8, np.int32, np.int64))
LIMITS = {
    UINT8: (0, (1 << 8) - 1),
    INT32: (-(1 << 31) + 1, (1 << 31) - 1),
    INT64: (-(1 << 63) + 1, (1 << 63) - 1),
}
"""What a tensor of each type may hold here; narrower types first."""
UNSIGNED: dict[DType, DType] = {INT32: np.dtype(np.uint32), INT64: np.dtype(np.uint64)}


class BeyondError(ArithmeticError):
    """No type of the graph is shown to hold an integer."""


@dataclass(frozen=True)
class Value:
    """A tensor of integers, with an axis for the samples before its shape.

    Attributes:
        name: in the graph.
        shape: of one sample.
        dtype: type of the elements.
        low: smallest value that it can hold.
        high: largest value.
    """

    name: str
    shape: Shape
    dtype: DType
    low: int
    high: int


def type_for(low: int, high: int, *, least: DType = UINT8) -> DType:
    """The narrowest type, from ``least`` on, that holds all integers from low to high.

    Raises:
        BeyondError: there is none.
    """
    types = list(LIMITS)
    for dtype in types[types.index(least) :]:
        if LIMITS[dtype][0] <= low and high <= LIMITS[dtype][1]:
            return dtype
    raise BeyondError(f"integers from {low:,} to {high:,}")


@dataclass
class Assembly:
    """Collects operators and constants under unique names.

    Attributes:
        nodes: in topological order.
        constants: by name: parameters of the network by their own, others numbered.
    """

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _shared: dict[tuple[str, Shape, bytes], str] = field(default_factory=dict)

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names for parameters."""
        self._names.update(names)

    def name(self, wanted: str) -> str:
        """A name that nothing else has."""
        name = wanted
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def parameter(self, key: str, values: Array) -> str:
        """A constant of the network under its own name, which is reserved."""
        self.constants[key] = np.ascontiguousarray(values)
        return key

    def constant(self, values: npt.ArrayLike, dtype: DType) -> str:
        """A constant; equal ones are one."""
        array = np.asarray(values).astype(dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            self._shared[key] = self.name(f"constant{len(self._shared)}")
            self.constants[self._shared[key]] = array
        return self._shared[key]

    def add(self, operator: str, *inputs: str, called: str, **attributes: Any) -> str:
        """An operator; the name of its result."""
        result = self.name(called)
        node = helper.make_node(operator, list(inputs), [result], name=result, **attributes)
        self.nodes.append(node)
        return result

    def cast(self, name: str, dtype: DType, called: str) -> str:
        """A tensor in another type, which has to hold it."""
        return self.add("Cast", name, called=called, to=onnx_type(dtype))

    def widened(self, value: Value, dtype: DType) -> Value:
        """The same integers in a wider type."""
        if value.dtype == dtype:
            return value
        name = self.cast(value.name, dtype, f"{value.name}:{dtype}")
        return Value(name, value.shape, dtype, value.low, value.high)

    def narrowed(self, value: Value, called: str, least: DType = UINT8) -> Value:
        """The same integers in the narrowest type from ``least`` on, under a name."""
        dtype = type_for(value.low, value.high, least=least)
        name = self.cast(value.name, dtype, called)
        return Value(name, value.shape, dtype, value.low, value.high)

    def reshaped(self, value: Value, shape: Shape, called: str) -> Value:
        """The same integers in another shape of a sample."""
        if value.shape == shape:
            return value
        name = self.add("Reshape", value.name, self.constant([0, *shape], INT64), called=called)
        return Value(name, shape, value.dtype, value.low, value.high)

    def along(self, name: str, values: Array, shape: Shape) -> str:
        """A parameter (C,), or one that broadcasts, as a tensor that broadcasts to a shape."""
        if values.ndim != 1 or len(shape) == 1:
            return name
        view = self.constant([-1, *[1] * (len(shape) - 1)], INT64)
        return self.add("Reshape", name, view, called=f"{name}:along")

    def combined(self, operator: str, a: Value, b: Value, called: str) -> Value:
        """Sum (Add), difference (Sub) or product (Mul) of two values, in a type that holds it."""
        low, high = _ends(operator, (a.low, a.high), (b.low, b.high))
        reach = [low, high, a.low, a.high, b.low, b.high]
        dtype = type_for(min(reach), max(reach), least=INT32)
        parts = [self.widened(part, dtype).name for part in (a, b)]
        return Value(self.add(operator, *parts, called=called), a.shape, dtype, low, high)

    def with_number(self, operator: str, value: Value, number: int, called: str) -> Value:
        """The same with an integer for the second value."""
        low, high = _ends(operator, (value.low, value.high), (number, number))
        reach = [low, high, value.low, value.high, number]
        dtype = type_for(min(reach), max(reach), least=INT32)
        operands = self.widened(value, dtype).name, self.constant(number, dtype)
        return Value(self.add(operator, *operands, called=called), value.shape, dtype, low, high)

    def clipped(self, value: Value, low: int, high: int, called: str) -> Value:
        """``clip(value, low, high)``; the value itself where that changes nothing."""
        if low <= value.low and value.high <= high:
            return value
        held = [min(max(end, low), high) for end in (value.low, value.high)]
        # A limit beyond the value may be beyond its type; any other one there does the same.
        first, last = LIMITS[value.dtype]
        ends = [self.constant(min(max(end, first), last), value.dtype) for end in (low, high)]
        if value.dtype == INT64:
            name = value.name
            if value.high > high:
                name = self.at_most(name, ends[1], f"{called}:upper" if value.low < low else called)
            if value.low < low:
                above = self.add("Greater", name, ends[0], called=f"{called}:above")
                name = self.add("Where", above, name, ends[0], called=called)
        else:
            name = self.add("Clip", value.name, *ends, called=called)
        return Value(name, value.shape, value.dtype, held[0], held[1])

    def at_most(self, name: str, limit: str, called: str) -> str:
        """The smaller of two tensors of int64.

        ``Min``, ``Max`` and ``Clip`` are wrong for some int64: onnxruntime 1.31 compares numbers
        between 2**31 and 2**32 by half of their bits.
        """
        below = self.add("Less", name, limit, called=f"{called}:below")
        return self.add("Where", below, name, limit, called=called)

    def shifted(self, value: Value, by: Array, called: str, name: str | None = None) -> Value:
        """``value >> by``, rounded down.

        ONNX shifts unsigned integers only. A multiple of every ``2**by`` makes them such, and what
        the shift leaves of it is subtracted again.

        Args:
            value: what to shift.
            by: places, broadcasting to the value's shape, at most 62.
            called: name of the result.
            name: the places as a tensor of int64, if there is one.
        """
        least, most = int(by.min(initial=62)), int(by.max(initial=0))
        if not most:
            return value
        offset = (-value.low + (1 << most) - 1) >> most << most if value.low < 0 else 0
        dtype = type_for(0, value.high + offset, least=value.dtype if most < 32 else INT64)
        dtype = max(dtype, INT32, key=lambda kind: kind.itemsize)
        raised = self.widened(value, dtype).name
        if offset:
            raised = self.add(
                "Add", raised, self.constant(offset, dtype), called=f"{called}:raised"
            )
        unsigned = self.cast(raised, UNSIGNED[dtype], f"{called}:unsigned")
        places = self.constant(by, UNSIGNED[dtype])
        if name is not None:
            places = self.cast(name, UNSIGNED[dtype], f"{called}:places")
        result = self.add("BitShift", unsigned, places, called=f"{called}:bits", direction="RIGHT")
        result = self.cast(result, dtype, f"{called}:signed" if offset else called)
        if offset:
            rest = self.constant(offset, UNSIGNED[dtype])
            rest = self.add("BitShift", rest, places, called=f"{called}:rest", direction="RIGHT")
            rest = self.cast(rest, dtype, f"{called}:offset")
            result = self.add("Sub", result, rest, called=called)
        low = min(value.low >> least, value.low >> most)
        high = max(value.high >> least, value.high >> most)
        return Value(result, value.shape, dtype, low, high)


def _ends(operator: str, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Smallest and largest result of an operator on two ranges."""
    match operator:
        case "Add":
            return a[0] + b[0], a[1] + b[1]
        case "Sub":
            return a[0] - b[1], a[1] - b[0]
        case "Mul":
            products = [x * y for x in a for y in b]
            return min(products), max(products)
    raise ValueError(f"'{operator}' has no range here")


def onnx_type(dtype: DType) -> int:
    """The number of a type in ONNX."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))
