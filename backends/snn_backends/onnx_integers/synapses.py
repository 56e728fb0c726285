"""Synapses as exact operators of integers.

``MatMulInteger`` and ``ConvInteger`` take activations and weights of 8 bits and sum in 32. Weights
are stored as uint8 with the zero point 128. As int8 they would be exact on some processors only:
where there are no dot products of 8 bits, onnxruntime multiplies uint8 by int8 with ``vpmaddubsw``,
which saturates sums of two products at 16 bits. Two factors of type uint8 are widened first.

Messages that do not fit into 8 bits are sent in planes of 8 bits, ``s - low = sum_k 256**k x_k``;
the zero point of plane k is digit k of ``-low``, so that padding, too, is what it was: 0.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from snn_backends.onnx_integers.assembly import (
    INT32,
    INT64,
    UINT8,
    Array,
    Assembly,
    Value,
    type_for,
)
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, SparseSynapses, Synapses

ZERO_POINT = 128
DIGIT = 8
"""Bits of a plane."""
MAX_SUM = (1 << 31) - 1
"""Of the 32 bits in which a plane is summed."""


def currents(asm: Assembly, group: Synapses, source: Value) -> Value:
    """What a synapse group makes of its source's messages, its exponent included."""
    match group:
        case ConvSynapses() if is_one_to_one(group):
            sums = _one_to_one(asm, group, source)
        case ConvSynapses():
            sums = _convolution(asm, group, source)
        case DenseSynapses():
            sums = _matrix(asm, group, source)
        case SparseSynapses():
            sums = _rows(asm, group, source)
    if group.exponent > 0:
        return asm.with_number("Mul", sums, 1 << group.exponent, f"{group.id}:scaled")
    return asm.shifted(sums, np.array(-group.exponent), f"{group.id}:scaled")


def is_one_to_one(group: ConvSynapses) -> bool:
    """Whether each neuron reads the one at its own place."""
    n_channels, *kernel = group.weight.shape
    return kernel == [1, 1, 1] and group.geometry == Geometry(groups=n_channels)


def planes(source: Value) -> int:
    """Planes of 8 bits that a source's messages take."""
    return max(1, -(-(source.high - min(source.low, 0)).bit_length() // DIGIT))


def largest_plane(group: ConvSynapses | DenseSynapses, source: Value) -> int:
    """Bound of any partial sum of a plane."""
    rows = np.abs(group.weight.values.reshape(len(group.weight.values), -1)).sum(axis=1)
    span = source.high - min(source.low, 0)
    return int(rows.max(initial=0)) * min(span, (1 << DIGIT) - 1)


def _bounds(group: Synapses, source: Value) -> tuple[int, int]:
    """Smallest and largest sum of a neuron, 0 among the messages."""
    low, high = min(source.low, 0), max(source.high, 0)
    values = group.weight.values
    if isinstance(group, SparseSynapses):
        rows = np.zeros((2, len(group.indptr) - 1), np.int64)
        owners = np.repeat(np.arange(rows.shape[1]), np.diff(group.indptr))
        for row, part in zip(rows, (np.maximum(values, 0), np.minimum(values, 0)), strict=True):
            np.add.at(row, owners, part)
    else:
        flat = values.reshape(len(values), -1)
        rows = np.stack([np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)])
    above, below = rows.astype(object)
    return min(above * low + below * high), max(above * high + below * low)


def _digits(asm: Assembly, source: Value, called: str) -> list[tuple[str, int]]:
    """The planes of a source, as names and zero points, the lowest first."""
    offset = -min(source.low, 0)
    if source.dtype == UINT8:
        return [(source.name, 0)]
    raised = source
    if offset:
        raised = asm.with_number("Add", source, offset, f"{called}:raised")
    n = planes(source)
    if n == 1:
        return [(asm.cast(raised.name, UINT8, f"{called}:digits"), offset)]
    unsigned = asm.cast(raised.name, np.dtype(np.uint32), f"{called}:unsigned")
    found = []
    for k in range(n):
        digit = unsigned
        if k:
            by = asm.constant(DIGIT * k, np.dtype(np.uint32))
            digit = asm.add("BitShift", digit, by, called=f"{called}:down{k}", direction="RIGHT")
        if k < n - 1:  # the rest of a division by 256
            full = asm.constant(1 << DIGIT, np.dtype(np.uint32))
            digit = asm.add("Mod", digit, full, called=f"{called}:rest{k}")
        found.append((asm.cast(digit, UINT8, f"{called}:digit{k}"), offset >> (DIGIT * k) & 0xFF))
    return found


def _summed(
    asm: Assembly,
    group: ConvSynapses | DenseSynapses,
    source: Value,
    operator: str,
    /,
    **attributes: Any,
) -> Value:
    """The sums of all planes, in the shape that the operator makes of it."""
    low, high = _bounds(group, source)
    values = (group.weight.values + ZERO_POINT).astype(np.uint8)
    weight = asm.parameter(f"{group.id}:weight", values)
    if operator == "MatMulInteger":
        weight = asm.add("Transpose", weight, called=f"{weight}:transposed", perm=[1, 0])
    zero = asm.constant(ZERO_POINT, UINT8)
    partial = largest_plane(group, source)
    found = _digits(asm, source, f"{group.id}:source")
    dtype = type_for(0, partial * sum(1 << (DIGIT * k) for k in range(len(found))), least=INT32)
    total = ""
    for k, (digit, point) in enumerate(found):
        inputs = digit, weight, asm.constant(point, UINT8), zero
        part = asm.add(operator, *inputs, called=f"{group.id}:sum{k}", **attributes)
        if dtype != INT32:
            part = asm.cast(part, dtype, f"{part}:wide")
        if k:
            by = asm.constant(1 << (DIGIT * k), dtype)
            part = asm.add("Mul", part, by, called=f"{part}:placed")
            part = asm.add("Add", total, part, called=f"{group.id}:total{k}")
        total = part
    return Value(total, group.shape, dtype, low, high)


def _convolution(asm: Assembly, group: ConvSynapses, source: Value) -> Value:
    geometry, (height, width) = group.geometry, source.shape[1:]
    top, left, bottom, right = geometry.padding
    if min(geometry.padding) < 0:  # cropping
        starts = [max(-top, 0), max(-left, 0)]
        ends = [height - max(-bottom, 0), width - max(-right, 0)]
        cut = [asm.constant(part, INT64) for part in (starts, ends, [2, 3])]
        name = asm.add("Slice", source.name, *cut, called=f"{group.id}:cropped")
        shape = (source.shape[0], ends[0] - starts[0], ends[1] - starts[1])
        source = Value(name, shape, source.dtype, source.low, source.high)
    return _summed(
        asm,
        group,
        source,
        "ConvInteger",
        strides=list(geometry.stride),
        pads=[max(side, 0) for side in geometry.padding],
        dilations=list(geometry.dilation),
        group=geometry.groups,
        kernel_shape=list(group.weight.shape[2:]),
    )


def _matrix(asm: Assembly, group: DenseSynapses, source: Value) -> Value:
    flat = asm.reshaped(source, (prod(source.shape),), f"{group.id}:flat")
    sums = _summed(asm, group, flat, "MatMulInteger")
    rows = Value(sums.name, (prod(group.shape),), sums.dtype, sums.low, sums.high)
    return asm.reshaped(rows, group.shape, f"{group.id}:maps")


def _one_to_one(asm: Assembly, group: ConvSynapses, source: Value) -> Value:
    low, high = _bounds(group, source)
    dtype = type_for(low, high, least=INT32)
    weight = asm.parameter(f"{group.id}:weight", group.weight.values.astype(np.int8))
    view = asm.constant([-1, 1, 1], INT64)
    weight = asm.add("Reshape", weight, view, called=f"{weight}:along")
    weight = asm.cast(weight, dtype, f"{weight}:wide")
    name = asm.add("Mul", asm.widened(source, dtype).name, weight, called=f"{group.id}:sum0")
    return Value(name, group.shape, dtype, low, high)


def _rows(asm: Assembly, group: SparseSynapses, source: Value) -> Value:
    """Sums of rows as differences of running sums over all synapses."""
    low, high = _bounds(group, source)
    reach = int(np.abs(group.weight.values).sum()) * max(source.high, -source.low)
    dtype = type_for(-reach, reach, least=INT32)
    flat = asm.widened(asm.reshaped(source, (prod(source.shape),), f"{group.id}:flat"), dtype)
    parts: dict[str, Array] = {
        "indptr": group.indptr.astype(np.int64),
        "indices": group.indices.astype(np.int64),
        "weight": group.weight.values.astype(np.int8),
    }
    names = {key: asm.parameter(f"{group.id}:{key}", part) for key, part in parts.items()}
    weight = asm.cast(names["weight"], dtype, f"{group.id}:weight:wide")
    sent = asm.add("Gather", flat.name, names["indices"], called=f"{group.id}:sent", axis=1)
    terms = asm.add("Mul", sent, weight, called=f"{group.id}:terms")
    running = asm.add("CumSum", terms, asm.constant(1, INT64), called=f"{group.id}:running")
    from_zero = asm.add(
        "Pad", running, asm.constant([0, 1, 0, 0], INT64), called=f"{group.id}:from_zero"
    )
    ends = [asm.constant([k], INT64) for k in (0, 1, np.iinfo(np.int64).max, -1)]
    first = asm.add("Slice", names["indptr"], ends[0], ends[3], called=f"{group.id}:first")
    last = asm.add("Slice", names["indptr"], ends[1], ends[2], called=f"{group.id}:last")
    bounds = [asm.add("Gather", from_zero, at, called=f"{at}:sums", axis=1) for at in (last, first)]
    sums = asm.add("Sub", *bounds, called=f"{group.id}:sum0")
    rows = Value(sums, (prod(group.shape),), dtype, low, high)
    return asm.reshaped(rows, group.shape, f"{group.id}:maps")
