"""Operators on two activations: products, maximum, minimum, and broadcasting."""

from __future__ import annotations

from math import prod

import numpy as np

from snn_compile.errors import ModelError, UnsupportedError
from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_compile.ir.graph import Shape
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.values import Tensor

DIVIDES = (
    "dividing by an activation has no spiking form: the quotient of two payloads is not bounded"
)


def product(call: Call, left: Tensor, right: Tensor) -> Tensor:
    """``a * b``."""
    left, right = broadcast(call, left, right)
    return call.emit(ann.Product, left, right)


def extremum(call: Call, choose: np.ufunc) -> Tensor:
    """The largest or the smallest of activations and constants, by rectifiers.

    ``max(a, b) = a + relu(b - a)`` and ``min(a, b) = a - relu(a - b)``, in every coding.
    """
    sign = 1.0 if choose is np.maximum else -1.0
    tensors = dict.fromkeys(value for value in call.inputs if isinstance(value, Tensor))
    constants = [call.parameter(k) for k, v in enumerate(call.inputs) if not isinstance(v, Tensor)]
    best, *others = broadcast(call, *tensors)
    names = [*(f"step{k}" for k in range(1, len(others) + bool(constants))), ""]
    for other, name in zip(others, names, strict=False):
        mark = f"{name}." if name else ""
        # The excess of one over the other, with its sign.
        apart = _difference(call, other, best, sign, mark)
        best = _added(call, best, apart, sign, mark, name)
    if constants:
        bound = choose.reduce(np.broadcast_arrays(*constants))
        best = repeat_for(call, best, bound.shape)
        limit = call.per_sample(bound, best.shape)
        ones = np.full((1,) * limit.ndim, sign, np.float32)
        above = np.float32(sign) * limit
        apart = call.emit(ann.Affine, best, suffix="above", scale=-ones, shift=above)
        apart = call.emit(ann.Relu, apart, suffix="excess")
        best = _added(call, best, apart, sign, "", "")
    return best


def _difference(call: Call, left: Tensor, right: Tensor, sign: float, mark: str) -> Tensor:
    """``relu(sign * (left - right))``."""
    parts = [
        _scaled(call, x, factor, f"{mark}{part}")
        for x, factor, part in ((left, sign, "plus"), (right, -sign, "minus"))
    ]
    apart = call.emit(ann.Add, *parts, suffix=f"{mark}apart")
    return call.emit(ann.Relu, apart, suffix=f"{mark}excess")


def _added(call: Call, best: Tensor, excess: Tensor, sign: float, mark: str, name: str) -> Tensor:
    """``best + sign * excess``."""
    return call.emit(ann.Add, best, _scaled(call, excess, sign, f"{mark}signed"), suffix=name)


def where(call: Call) -> Tensor:
    """A choice by a constant mask: the sum of both sides, each times its mask."""
    mask = call.constant(0, "b")
    sides = [(1, mask), (2, ~mask)]
    tensors = {k: call.tensor(k) for k, _ in sides if isinstance(call.inputs[k], Tensor)}
    if not tensors:
        return call.tensor(1)  # raises
    constants = {k: call.parameter(k) for k, _ in sides if k not in tensors}
    shapes = [t.shape for t in tensors.values()]
    full = common_shape(call, mask.shape, *shapes, *(c.shape for c in constants.values()))
    parts = []
    shift = np.zeros((), np.float32)
    for k, chosen in sides:
        if k in constants:
            shift = np.where(chosen, constants[k], np.float32(0))
        else:
            x = repeat_axes(call, tensors[k], full, f"side{k}.repeated")
            parts.append((f"side{k}", x, call.per_sample(chosen.astype(np.float32), full)))
    offset = call.per_sample(shift, full)
    if len(parts) == 1:
        return call.emit(ann.Affine, parts[0][1], scale=parts[0][2], shift=offset)
    none = np.zeros_like(offset)
    scaled = [
        call.emit(ann.Affine, x, suffix=name, scale=scale, shift=none) for name, x, scale in parts
    ]
    return call.emit(ann.Add, *scaled)


def _scaled(call: Call, x: Tensor, factor: float, suffix: str) -> Tensor:
    if factor == 1:
        return x
    scale = np.full((1,) * (len(x.shape) - 1), factor, np.float32)
    return call.emit(ann.Affine, x, suffix=suffix, scale=scale, shift=np.zeros_like(scale))


def broadcast(call: Call, *tensors: Tensor) -> list[Tensor]:
    """Activations broadcast to one shape, by wiring.

    Raises:
        UnsupportedError: broadcasting would mix samples.
    """
    full = common_shape(call, *(tensor.shape for tensor in tensors))
    several = len({tensor.shape for tensor in tensors} - {full}) > 1
    return [
        repeat_axes(call, tensor, full, f"repeated{k}" if several else "repeated")
        for k, tensor in enumerate(tensors)
    ]


def common_shape(call: Call, *shapes: Shape) -> Shape:
    """The shape to which shapes broadcast."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise _misfit(call, shapes) from None


def _misfit(call: Call, shapes: tuple[Shape, ...]) -> ModelError:
    listed = " and ".join(str(list(shape)) for shape in shapes)
    return call.invalid(f"shapes {listed} do not fit")


def repeat_axes(call: Call, x: Tensor, shape: Shape, suffix: str = "repeated") -> Tensor:
    """A value repeated along its axes of length 1."""
    if x.shape == shape:
        return x
    if len(x.shape) != len(shape):
        raise _mixed(call, x.shape, shape)
    number = np.arange(prod(x.shape[1:])).reshape(x.shape[1:])
    index = np.broadcast_to(number, shape[1:]).ravel()
    return call.emit(ann.Gather, x, shape=shape, suffix=suffix, index=index)


def repeat_for(call: Call, x: Tensor, *shapes: Shape) -> Tensor:
    """A value repeated as constants of some shapes require; unchanged where samples would mix."""
    full = common_shape(call, *shapes, x.shape)
    mixes = len(full) != len(x.shape) or full[0] != x.shape[0]
    return x if mixes else repeat_axes(call, x, full)


def less(call: Call, x: Tensor, constant: Float) -> Tensor:
    """``x - constant``, in the shape that both have together."""
    x = repeat_for(call, x, constant.shape)
    shift = call.per_sample(-constant, x.shape)
    ones = np.ones((1,) * shift.ndim, np.float32)
    return call.emit(ann.Affine, x, suffix="above", scale=ones, shift=shift)


def _mixed(call: Call, shape: Shape, full: Shape) -> UnsupportedError:
    return call.refusal(
        f"repeats a value of shape {list(shape)} to {list(full)}, whose axis 0 differs",
        "give both operands the same number of axes, with the batch first",
    )
