"""Neuron models of one pass as operators of integers; ``ir/models`` has their equations."""

from __future__ import annotations

import numpy as np

from snn_backends.onnx_integers.assembly import (
    INT32,
    INT64,
    Array,
    Assembly,
    BeyondError,
    Value,
    type_for,
)
from snn_compile.ir.fixedpoint import Overflow, QTensor
from snn_compile.ir.models.arithmetic import VOLTAGE_LIMIT
from snn_compile.ir.models.product import OPERAND_BITS
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    GradedNeurons,
    PiecewiseLinearNeurons,
    Population,
    ProductNeurons,
    Readout,
)

MODELS = (ClipFloorNeurons, GradedNeurons, PiecewiseLinearNeurons, ProductNeurons, Readout)
"""Models with a form here."""


def messages(asm: Assembly, node: Population, potential: Value, called: str) -> Value:
    """What a population makes of its potential, under a name."""
    match node:
        case Readout():
            return asm.narrowed(potential, called, INT32)
        case GradedNeurons():
            return asm.narrowed(_graded(asm, node, potential), called)
        case ClipFloorNeurons():
            return asm.narrowed(_clip_floor(asm, node, potential), called)
        case PiecewiseLinearNeurons():
            return asm.narrowed(_on_lines(asm, node, potential), called)
        case ProductNeurons():
            return asm.narrowed(_product(asm, node, potential), called)
    raise TypeError(f"{node.model} neurons have no form here")


def potential(asm: Assembly, node: Population, current: Value) -> Value:
    """``V = a + bias``, at the ends of the state as the population defines it."""
    values = node.bias.values
    bias = Value("", node.shape, current.dtype, int(values.min()), int(values.max()))
    low, high = current.low + bias.low, current.high + bias.high
    reach = [low, high, bias.low, bias.high, current.low, current.high]
    dtype = type_for(min(reach), max(reach), least=INT32)
    shift = asm.parameter(f"{node.id}:bias", values.astype(dtype))
    shift = asm.along(shift, values, node.shape)
    name = asm.add("Add", asm.widened(current, dtype).name, shift, called=f"{node.id}:drive")
    drive = Value(name, node.shape, dtype, low, high)
    if node.overflow is Overflow.SATURATE:
        limit = min(node.state.max, VOLTAGE_LIMIT)
        return asm.clipped(drive, -limit, limit, f"{node.id}:potential")
    if node.state.min <= low and high <= node.state.max:
        return drive
    from_zero = asm.with_number("Sub", drive, node.state.min, f"{node.id}:from_zero")
    size = asm.constant(1 << node.state.bits, from_zero.dtype)
    name = asm.add("Mod", from_zero.name, size, called=f"{node.id}:wrapped")
    wrapped = Value(name, node.shape, from_zero.dtype, 0, (1 << node.state.bits) - 1)
    return asm.with_number("Add", wrapped, node.state.min, f"{node.id}:potential")


def _parameter(asm: Assembly, node: Population, name: str, values: Array, wide: bool) -> str:
    """A parameter of the neurons, as a tensor that broadcasts to their shape."""
    key = asm.parameter(f"{node.id}:{name}", values.astype(INT64 if wide else INT32))
    return asm.along(key, values, node.shape)


def _view(tensor: QTensor, node: Population) -> Array:
    """The same as an array."""
    values = tensor.values
    return values.reshape(-1, *[1] * (len(node.shape) - 1)) if values.ndim == 1 else values


def _graded(asm: Assembly, node: GradedNeurons, v: Value) -> Value:
    """Clipped first at the least potential with the largest payload, so that 32 bits suffice."""
    factor, places = node.multiplier.values.astype(object), node.shift.values.astype(object)
    most = node.payload.max
    if int(factor.min()) < 0:
        raise BeyondError("a negative multiplier")
    factor, places = np.broadcast_arrays(factor, places)
    top = [
        min(max(v.high, 0), -(-(most << int(s)) // int(m)) if m > 0 else max(v.high, 0))
        for m, s in zip(factor.ravel(), places.ravel(), strict=True)
    ]
    products = [t * int(m) for t, m in zip(top, factor.ravel(), strict=True)]
    payloads = [p >> int(s) for p, s in zip(products, places.ravel(), strict=True)]
    positive = asm.clipped(v, 0, max(top), f"{node.id}:positive")
    name = positive.name
    if len(set(top)) > 1:
        limits = np.array(top).reshape(factor.shape)
        ends = limits.reshape(-1, *[1] * (len(node.shape) - 1)) if limits.ndim == 1 else limits
        top_of = asm.constant(ends, v.dtype)
        if v.dtype == INT64:
            name = asm.at_most(name, top_of, f"{node.id}:limited")
        else:
            name = asm.add("Min", name, top_of, called=f"{node.id}:limited")
    dtype = type_for(0, max(*products, max(top), int(factor.max())), least=v.dtype)
    wide = dtype == INT64
    limited = Value(name, node.shape, v.dtype, 0, max(top))
    name = asm.widened(limited, dtype).name
    multiplier = _parameter(asm, node, "multiplier", node.multiplier.values, wide)
    shift = _parameter(asm, node, "shift", node.shift.values, wide)
    name = asm.add("Mul", name, multiplier, called=f"{node.id}:product")
    product = Value(name, node.shape, dtype, 0, max(products))
    by = _view(node.shift, node)
    shifted = asm.shifted(product, by, f"{node.id}:shifted", shift)
    held = Value(shifted.name, node.shape, shifted.dtype, 0, max(payloads))
    return asm.clipped(held, 0, most, f"{node.id}:payload")


def _clip_floor(asm: Assembly, node: ClipFloorNeurons, v: Value) -> Value:
    """Clipped first, so that a division of natural numbers remains."""
    threshold = node.threshold.values
    most = node.levels * int(threshold.max())
    dtype = type_for(0, max(most, v.high), least=v.dtype)
    positive = asm.widened(asm.clipped(v, 0, most, f"{node.id}:positive"), dtype)
    by = _parameter(asm, node, "threshold", threshold, dtype == INT64)
    name = asm.add("Div", positive.name, by, called=f"{node.id}:quotient")
    quotient = Value(name, node.shape, dtype, 0, positive.high // int(threshold.min()))
    return asm.clipped(quotient, 0, node.levels, f"{node.id}:count")


def _product(asm: Assembly, node: ProductNeurons, v: Value) -> Value:
    half = 1 << (OPERAND_BITS - 1)
    raised = asm.with_number("Add", v, half, f"{node.id}:rounded")
    x = asm.shifted(raised, np.array(OPERAND_BITS), f"{node.id}:x")
    rest = asm.with_number("Mul", x, 1 << OPERAND_BITS, f"{node.id}:upper")
    y = asm.combined("Sub", v, rest, f"{node.id}:y")
    y = Value(y.name, node.shape, y.dtype, -half, half - 1)
    pair = asm.widened(asm.combined("Mul", x, y, f"{node.id}:operands"), INT64)
    factor, places = node.multiplier.values, node.shift.values
    multiplier = _parameter(asm, node, "multiplier", factor, wide=True)
    shift = _parameter(asm, node, "shift", places, wide=True)
    name = asm.add("Mul", pair.name, multiplier, called=f"{node.id}:product")
    ends = [end * int(m) for end in (pair.low, pair.high) for m in (factor.min(), factor.max())]
    step = asm.constant(np.left_shift(1, _view(node.shift, node)) >> 1, INT64)
    name = asm.add("Add", name, step, called=f"{node.id}:product:rounded")
    above = (1 << int(places.max())) >> 1
    product = Value(name, node.shape, INT64, min(ends), max(ends) + above)
    payload = asm.shifted(product, _view(node.shift, node), f"{node.id}:shifted", shift)
    return asm.clipped(payload, node.low, node.high, f"{node.id}:payload")


def _on_lines(asm: Assembly, node: PiecewiseLinearNeurons, v: Value) -> Value:
    """The line of each potential by its number, from tables of all lines of all channels."""
    tables = {name: getattr(node, name).values for name in ("multiplier", "offset", "shift")}
    if node.breakpoints.values.size:
        index = _line(asm, node, v)
        lines = {
            name: asm.add(
                "Gather",
                asm.add(
                    "Reshape",
                    asm.parameter(f"{node.id}:{name}", table),
                    asm.constant([-1], INT64),
                    called=f"{node.id}:{name}:flat",
                ),
                index,
                called=f"{node.id}:{name}:line",
            )
            for name, table in tables.items()
        }
    elif _is_identity(tables):
        return asm.clipped(v, node.low, node.high, f"{node.id}:payload")
    else:
        view = asm.constant([-1, *[1] * (len(node.shape) - 1)], INT64)
        lines = {
            name: asm.add(
                "Reshape",
                asm.parameter(f"{node.id}:{name}", table),
                view,
                called=f"{node.id}:{name}:along",
            )
            for name, table in tables.items()
        }
    slope, offset = tables["multiplier"], tables["offset"]
    name = asm.add(
        "Mul", asm.widened(v, INT64).name, lines["multiplier"], called=f"{node.id}:product"
    )
    name = asm.add("Add", name, lines["offset"], called=f"{node.id}:line")
    reach = max(-v.low, v.high) * int(np.abs(slope).max()) + int(np.abs(offset).max())
    type_for(-reach, reach)
    value = Value(name, node.shape, INT64, -reach, reach)
    payload = asm.shifted(value, tables["shift"], f"{node.id}:shifted", lines["shift"])
    return asm.clipped(payload, node.low, node.high, f"{node.id}:payload")


def _line(asm: Assembly, node: PiecewiseLinearNeurons, v: Value) -> str:
    """Where the line of each potential stands in a table of all channels."""
    n_channels, n_lines = node.multiplier.shape
    column = [-1, *[1] * (len(node.shape) - 1)]
    begins = asm.parameter(f"{node.id}:breakpoints", node.breakpoints.values)
    wide = asm.widened(v, INT64)
    index = asm.constant((n_lines * np.arange(n_channels)).reshape(column), INT64)
    for k in range(n_lines - 1):
        begin = asm.add("Gather", begins, asm.constant(k, INT64), called=f"{begins}:{k}", axis=1)
        begin = asm.add("Reshape", begin, asm.constant(column, INT64), called=f"{begin}:along")
        reached = asm.add("GreaterOrEqual", wide.name, begin, called=f"{node.id}:reached{k}")
        one = asm.cast(reached, INT64, f"{node.id}:reached{k}:one")
        index = asm.add("Add", index, one, called=f"{node.id}:line{k}")
    return index


def _is_identity(tables: dict[str, Array]) -> bool:
    """Whether a single line passes potentials on as they are."""
    return (
        bool((tables["multiplier"] == 1).all())
        and not tables["offset"].any()
        and not tables["shift"].any()
    )
