"""Quantization and its inverse: of activations, a population on a grid; of weights, integers.

A pair of ``QuantizeLinear`` and ``DequantizeLinear`` rounds a value to multiples of a step, within
limits. The network carries the real value throughout; ``Tensor.grid`` says which integers stand
for it in the file, until they are dequantized.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from snn_compile.errors import Origin
from snn_compile.ir import ann
from snn_compile.ir.expression import X, apply, evaluate
from snn_frontends.onnx.builder import Builder
from snn_frontends.onnx.call import INTEGERS, Call
from snn_frontends.onnx.layout import plain, reorder_axes
from snn_frontends.onnx.operators import composition
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.values import Constant, Grid, Tensor
from snn_frontends.onnx.wired import WIRED

OPERATORS = frozenset({"DequantizeLinear", "Grid", "QuantizeLinear"})
"""The operators of this module. ``Grid`` is of no file: ``expansion`` writes it for both of the
others at once, with the limits of the integers as attributes."""
COMPUTE = frozenset({"ArgMax", "Cast"})
"""Operators that may read the integers themselves as numbers: they neither round nor wrap."""
ALONG_CHANNELS = frozenset("Dropout GlobalMaxPool Identity MaxPool".split())
"""Operators of ``MOVES`` that leave each value in its channel."""
MOVES = WIRED.union(
    "DepthToSpace Dropout Expand GatherElements GatherND GlobalMaxPool MaxPool Pad ReduceMax "
    "ReduceMin SpaceToDepth Split Tile".split()
)
"""Operators whose results are values of their first input."""
_INTEGER = re.compile(r"(u?)int(\d+)")
SMALLEST = 2.0**-126
GRID = "Grid"
MAX_BITS = 24


def integer_range(call: Call, name: str) -> tuple[int, int]:
    """Smallest and largest number of an integer type.

    Raises:
        UnsupportedError: it is a type of floating-point numbers.
    """
    found = _INTEGER.fullmatch(name)
    if not found:
        raise call.refusal(
            f"quantizes to {name}, which is no type of integers",
            "quantize to int8 or uint8: floating-point grids have no spiking form",
        )
    bits = int(found[2])
    return (0, (1 << bits) - 1) if found[1] else (-(1 << bits - 1), (1 << bits - 1) - 1)


def _range_of(call: Call, zero: Constant | None) -> tuple[int, int]:
    """The integers of a quantized value: of its zero point's type, or as attributes say."""
    if call.op == GRID:
        return _of_bits(call)
    stated = int(call.attributes.get("output_dtype", 0))
    if stated and zero is None:
        return integer_range(call, TensorProto.DataType.Name(stated).lower())
    return integer_range(call, "uint8" if zero is None else zero.dtype.name)


def _of_bits(call: Call) -> tuple[int, int]:
    """The integers of a grid of so many bits, of either sign or not."""
    bits = call.constant(3, INTEGERS + "f")
    if bits.size != 1 or bits.item() != int(bits.item()) or not 1 <= bits.item() <= MAX_BITS:
        raise call.refusal(
            f"has a bit width other than 1 to {MAX_BITS}", "export with one whole number of bits"
        )
    most, narrow = 1 << int(bits.item()), int(bool(call.attributes.get("narrow", 0)))
    if call.attributes.get("signed", 1):
        return -(most >> 1) + narrow, (most >> 1) - 1
    return 0, most - 1 - narrow


def _scale(call: Call) -> npt.NDArray[np.floating]:
    """The scale, a positive constant.

    Raises:
        UnsupportedError: it depends on the network's input, or there is one for each block.
        ModelError: it is not positive.
    """
    if isinstance(call.inputs[1], Tensor):
        raise call.refusal(
            "its scale depends on the network's input",
            "quantize with fixed scales, from calibration data (static quantization)",
        )
    scale = call.parameter(1)
    if not (scale > 0).all():
        raise call.invalid(f"its scale '{call.names[1]}' is not positive")
    return np.maximum(scale, SMALLEST)


def _zero(call: Call) -> Constant | None:
    if not call.has(2):
        return None
    zero = call.constant(2, INTEGERS + "Vf")
    if zero.dtype.kind == "f" and (zero != np.rint(zero)).any():
        raise call.invalid(f"its zero point '{call.names[2]}' is no integer")
    return zero


def _spread(call: Call, parameter: Constant, shape: tuple[int, ...]) -> Constant:
    """A parameter along its axis, or in blocks, broadcastable to a value's shape."""
    block = int(call.attributes.get("block_size", 0))
    rank = len(shape)
    axis = int(call.attributes.get("axis", min(1, rank - 1)))
    if parameter.size == 1:
        return parameter.reshape(())
    if block and parameter.ndim == rank:
        axis = call.axis(axis, rank)
        if block < 1 or parameter.shape[axis] != -(-shape[axis] // block):
            raise call.invalid(
                f"has {parameter.shape[axis]} blocks of {block} for axis {axis} of {list(shape)}"
            )
        return np.take(parameter, np.arange(shape[axis]) // block, axis=axis)
    if parameter.ndim == 1:
        axis = call.axis(axis, rank)
        if len(parameter) != shape[axis]:
            raise call.invalid(f"has {len(parameter)} scales for axis {axis} of {list(shape)}")
        return parameter.reshape([-1 if k == axis else 1 for k in range(rank)])
    return parameter


def _check_shapes(call: Call, shape: tuple[int, ...], *parameters: Constant) -> None:
    try:
        fits = np.broadcast_shapes(shape, *(p.shape for p in parameters)) == shape
    except ValueError:
        fits = False
    if not fits:
        raise call.invalid(f"its scale or zero point does not fit {list(shape)}")


def of_constants(call: Call) -> tuple[Constant, Constant | None]:
    """The result for constants; of a dequantization also the step of each element."""
    scale, zero = _scale(call), _zero(call)
    kinds = "fV" if call.op == "QuantizeLinear" else INTEGERS + "fV"
    value = call.constant(0, kinds)
    if call.op == GRID and call.attributes.get("bipolar", 0):
        signs = np.where(value >= 0, scale, -scale).astype(scale.dtype)
        return signs, np.broadcast_to(scale, signs.shape)
    spread = _spread(call, scale, value.shape)
    offset = _spread(call, np.zeros(1) if zero is None else zero.astype(np.int64), value.shape)
    _check_shapes(call, value.shape, spread, offset)
    if call.op == "DequantizeLinear":
        if zero is not None or value.dtype.kind not in "iu":
            integer_range(call, value.dtype.name)
        centred = value.astype(np.int64) - offset
        return (centred * spread).astype(scale.dtype), np.broadcast_to(spread, value.shape)
    low, high = _range_of(call, zero)
    rounded = np.rint(value / spread)
    clipped = np.clip(rounded + offset, low, high)
    if call.op == "QuantizeLinear":
        dtype = np.int64 if zero is None else zero.dtype
        return clipped.astype(np.uint8 if zero is None and (low, high) == (0, 255) else dtype), None
    centred = clipped - offset
    return (centred * spread).astype(scale.dtype), np.broadcast_to(spread, value.shape)


def _grid(call: Call, x: Tensor) -> Grid:
    """The grid of an activation.

    Raises:
        UnsupportedError: its scales differ along another axis than that of the channels.
    """
    scale, zero = _scale(call), _zero(call)
    zeros = np.zeros(1, np.int64) if zero is None else zero.astype(np.int64).ravel()
    if scale.size > 1:
        axis = call.axis(int(call.attributes.get("axis", 1)), len(x.shape))
        along = scale.ndim == 1 and axis == 1 and x.plain and len(scale) == x.shape[1]
        if not along and scale.ndim == len(x.shape) and x.plain:
            along = scale.shape == (1, x.shape[1], *[1] * (len(x.shape) - 2))
        if not along or call.attributes.get("block_size", 0):
            raise call.refusal(
                "quantizes an activation in blocks, or with scales along another axis than 1",
                "quantize activations with one scale for each tensor",
            )
    low, high = _range_of(call, zero)
    return Grid(
        tuple(scale.ravel().astype(float).tolist()),
        tuple(np.clip(zeros, low, high).tolist()),
        low,
        high,
    )


def quantize(call: Call) -> Tensor:
    """A value on a grid: ``step * clip(round(x / step), low - zero, high - zero)``."""
    x = call.value()
    if x.grid is not None:
        raise call.refusal("quantizes integers", "dequantize a value before it is quantized again")
    if call.op == GRID and call.attributes.get("bipolar", 0):
        return _signs(call, x)
    call.ignore("saturate", "precision")  # of floating-point types, and of the division
    grid = _grid(call, x)
    return replace(carrier(call, x, grid), grid=None if call.op == GRID else grid)


def _signs(call: Call, x: Tensor) -> Tensor:
    """The scale, or less the scale for negative values."""
    scale = _scale(call)
    if scale.size > 1:
        raise call.refusal(
            "has a scale for each channel", "quantize activations with one scale for each tensor"
        )
    negative = apply("greater", 0.0, X)
    step = float(scale.item())
    return composition.of(call, x, apply("sub", step, apply("mul", negative, 2 * step)))


def carrier(call: Call, x: Tensor, grid: Grid) -> Tensor:
    """The population that rounds a value to a grid."""
    low, high = grid.ends
    one = plain(call, x)
    channels = (one.shape[1:] or (1,))[0]
    step = grid.steps.astype(np.float64)
    most = int(np.maximum(high, -low).max())
    limits = _broadcast(low, step) * step, _broadcast(high, step) * step
    kind: type[ann.AnnNode] = ann.Relu
    fields: dict[str, Any] = {
        "levels": max(most, 1),
        "full_scale": np.broadcast_to(step * max(most, 1), channels),
    }
    if low.any() or (high != most).any():
        kind = ann.Function
        fields["expression"] = apply("min", apply("max", X, limits[0]), limits[1])
    return replace(x, node=call.emit(kind, one, **fields).node)


def _broadcast(ends: npt.NDArray[np.int64], step: npt.NDArray[np.float64]) -> Constant:
    return np.broadcast_to(ends, np.broadcast_shapes(ends.shape, step.shape))


def dequantize(call: Call) -> Tensor:
    """The real value that integers stand for."""
    x = call.value()
    scale, zero = _scale(call), _zero(call)
    zeros = np.zeros(1, np.int64) if zero is None else zero.astype(np.int64)
    spread = [_spread(call, p, x.shape) for p in (scale, zeros)]
    _check_shapes(call, x.shape, *spread)
    if x.grid is not None:
        stated = x.grid.steps, np.array(x.grid.zero)
        column = (1, -1, *[1] * (len(x.shape) - 2))  # channels are axis 1
        own = [p.reshape(column if p.size > 1 else ()) for p in stated]
        given = spread[0].astype(np.float32), spread[1]
        if all(map(_equal, own, given)):
            return replace(x, grid=None)
    if scale.size == zeros.size == 1 and scale.item() == 1 and zeros.item() == 0:
        return integers(call, x)
    found = integers(call, x, "integers")
    scale, zeros = (reorder_axes(call, p, found, len(x.shape)) for p in spread)
    shift = (-zeros * scale).astype(np.float32)
    y = affine(call, plain(call, found), scale=scale, shift=shift)
    return replace(x, node=y.node, grid=None)


def _equal(own: npt.NDArray[Any], given: npt.NDArray[Any]) -> bool:
    return bool((own == given).all())


def integers(call: Call, x: Tensor, suffix: str = "") -> Tensor:
    """The integers themselves as numbers, where an operator computes with them."""
    if x.grid is None:
        return x
    if len(x.grid.step) > 1 or len(x.grid.zero) > 1:
        raise call.refusal("reads the integers of a value with a scale for each channel")
    scale = np.float32(1 / np.float64(x.grid.step[0]))
    shift = np.float32(x.grid.zero[0])
    if scale == 1 and not shift:
        return replace(x, grid=None)
    y = affine(call, plain(call, x), scale=scale, shift=shift, suffix=suffix)
    return replace(x, node=y.node, grid=None)


def of_output(builder: Builder, name: str, x: Tensor, origin: Origin) -> Tensor:
    """The integers of an output, which the caller of the network reads as numbers."""
    if x.grid is None:
        return x
    column = (-1, *[1] * max(len(x.sample) - 1, 0))
    y = builder.add(
        ann.Affine,
        f"{name}.integers",
        (x,),
        (builder.batch.size, *x.sample),
        origin,
        scale=(1 / x.grid.steps.astype(np.float64)).astype(np.float32).reshape(column),
        shift=np.array(x.grid.zero, np.float32).reshape(column),
    )
    return replace(x, node=y.node, grid=None)


def stays_integer(call: Call, x: Tensor) -> bool:
    """Whether ``Cast`` gives integers another type that holds all of them."""
    name = TensorProto.DataType.Name(int(call.attributes.get("to", TensorProto.FLOAT))).lower()
    if x.grid is None or not _INTEGER.fullmatch(name):
        return False
    low, high = integer_range(call, name)
    if not low <= x.grid.low <= x.grid.high <= high:
        raise call.refusal(f"converts integers to {name}, which does not hold all of them")
    return True


def check_channels(call: Call, grids: Set[Grid | None]) -> None:
    """See that integers with a scale for each channel stay in their channels.

    Raises:
        UnsupportedError: they may not.
    """
    if call.op not in ALONG_CHANNELS and any(g is not None and g.of_channels for g in grids):
        raise call.refusal(
            "moves the integers of a value with a scale for each channel",
            "quantize activations with one scale for each tensor, or dequantize before it",
        )


def limited(call: Call, x: Tensor) -> Tensor:
    """``Clip`` between quantization and its inverse: the same grid with fewer integers."""
    if x.grid is None:
        raise call.invalid("has no integers")
    ends = [call.constant(k) if call.has(k) else None for k in (1, 2)]
    if any(end is not None and end.size != 1 for end in ends):
        raise call.invalid("its limits are no numbers")
    low = x.grid.low if ends[0] is None else max(x.grid.low, int(ends[0].item()))
    high = x.grid.high if ends[1] is None else min(x.grid.high, int(ends[1].item()))
    zero = np.array(x.grid.zero)
    if not ((low <= zero) & (zero <= high)).all() or low >= high:
        raise call.refusal("limits integers to a range without their zero point")
    grid = replace(x.grid, low=low, high=high)
    node = call.builder.node(x.node)
    if not (isinstance(node, ann.Activation) and node.levels is not None):
        raise call.refusal("limits integers that are not quantized directly before it")
    before = replace(x, node=node.inputs[0])
    return replace(carrier(call, before, grid), grid=grid)


def rectified(call: Call, x: Tensor) -> Tensor | None:
    """A rectifier of a value on a grid, which is on that grid, too; None for another value.

    Rounding and rectifying commute, so that one population does both.
    """
    node = call.builder.node(x.node)
    if not isinstance(node, ann.Function) or node.full_scale is None:
        return None
    step = node.step
    highest = np.rint(evaluate(node.expression, node.full_scale[:, None])[:, 0] / step)
    if not (highest == highest.flat[0]).all() or highest.flat[0] < 1:
        return None
    levels = int(highest.flat[0])
    one = plain(call, replace(x, node=node.inputs[0]))
    y = call.emit(ann.Relu, one, levels=levels, full_scale=step * levels)
    return replace(x, node=y.node)


def check_padding(call: Call, x: Tensor) -> None:
    """See that integers are padded with the one that stands for 0.

    Raises:
        UnsupportedError: they are not.
    """
    if x.grid is None or call.op != "Pad" or call.attributes.get("mode", "constant") != "constant":
        return
    padded = call.constant(2).ravel() if call.has(2) else np.zeros(1, np.int64)
    if padded.astype(np.int64).tolist() != [x.grid.zero[0]]:
        raise call.refusal(
            f"pads with the integer {padded.tolist()[:1]}, not with the zero point",
            "pad before the quantization, with 0",
        )
