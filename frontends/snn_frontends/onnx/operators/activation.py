"""Rectifiers and related functions, and operators left off at the end of a network."""

from __future__ import annotations

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_compile.ir.expression import X, apply
from snn_compile.passes import Finding
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.layout import view
from snn_frontends.onnx.operators import composition, functions, pairs, quantization
from snn_frontends.onnx.values import Tensor, Unknown

TAIL = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that only forward values, allowed between a final Softmax and the output."""


def relu(call: Call) -> Tensor:
    """``max(x, 0)``."""
    x = call.tensor()
    if (found := quantization.rectified(call, x)) is not None:
        return found
    if composition.is_curve(call.builder, [x]):
        return composition.of(call, x, apply("max", X, 0.0))
    return call.emit(ann.Relu, x)


def minimum(call: Call) -> Tensor:
    """The minimum of activations and constants."""
    found = functions.extremum(call, "min")
    return pairs.extremum(call, np.minimum) if found is None else found


def maximum(call: Call) -> Tensor:
    """The maximum of activations and constants; with zero, a rectifier."""
    is_zero = [not isinstance(v, Tensor | Unknown | None) and not v.any() for v in call.inputs]
    if sum(isinstance(value, Tensor) for value in call.inputs) > 1 or not any(is_zero):
        found = functions.extremum(call, "max")
        return pairs.extremum(call, np.maximum) if found is None else found
    tensors = [k for k, value in enumerate(call.inputs) if isinstance(value, Tensor)]
    others = [k for k in range(len(call.inputs)) if k not in tensors]
    if len(tensors) != 1 or any(call.constant(k).any() for k in others):
        raise call.refusal(
            "only the maximum of an activation and zero has a spiking form",
            "a maximum over a map can be a MaxPool, a limit a Relu or a Clip from 0",
        )
    x = call.tensor(tensors[0])
    for k in others:
        call.per_sample(call.parameter(k), x.shape)
    return call.emit(ann.Relu, x)


def clip(call: Call) -> Tensor:
    """``min(max(x, 0), cap)``; with other limits, a function."""
    x = call.tensor()
    low, high = _limit(call, "min", 1), _limit(call, "max", 2)
    if low != 0 or (high is not None and not high > 0):
        return functions.clip(call, x, low, high)
    return call.emit(ann.Relu, x, cap=high)


def _limit(call: Call, name: str, index: int) -> float | None:
    """A limit of Clip; None where it is absent or beyond float32."""
    if name in call.attributes:
        value = float(call.attributes[name])
    elif call.has(index):
        value = float(call.constant(index).reshape(()))
    else:
        return None
    if np.isnan(value):
        raise call.invalid(f"its limit '{name}' is NaN", "not-finite")
    if abs(value) < np.finfo(np.float32).max:
        return value
    if (value > 0) == (name == "min"):
        raise call.invalid(f"its limit '{name}' is {value}, which no value is beyond", "not-finite")
    return None


def leaky_relu(call: Call) -> Tensor:
    """``Relu(x) - slope * Relu(-x)``."""
    x = call.tensor()
    slope = np.float32(call.attributes.get("alpha", 0.01))
    return _two_sided(call, x, np.full((1,) * (len(x.shape) - 1), slope))


def prelu(call: Call) -> Tensor:
    """``Relu(x) - slope * Relu(-x)``, with a slope per channel or value."""
    x = call.tensor()
    return _two_sided(call, x, call.per_sample(call.parameter(1), x.shape))


def _two_sided(call: Call, x: Tensor, slope: Float) -> Tensor:
    if not slope.any():
        return call.emit(ann.Relu, x)
    positive = call.emit(ann.Relu, x, suffix="positive")
    one, zero = _units(x)
    mirrored = call.emit(ann.Affine, x, suffix="mirrored", scale=-one, shift=zero)
    negative = call.emit(ann.Relu, mirrored, suffix="negative")
    sloped = call.emit(ann.Affine, negative, suffix="slope", scale=-slope, shift=zero)
    return call.emit(ann.Add, positive, sloped)


def _units(x: Tensor) -> tuple[Float, Float]:
    """A one and a zero with the number of axes of a sample."""
    ones = np.ones((1,) * (len(x.shape) - 1), np.float32)
    return ones, np.zeros_like(ones)


def dropout(call: Call) -> Tensor:
    """The identity, at inference."""
    call.ignore("ratio", "seed")
    if call.has(2) and call.constant(2).any():
        raise call.refusal(
            "Dropout in training mode is random", "export in evaluation mode (model.eval())"
        )
    return call.value()


def softmax(call: Call) -> Tensor:
    """Left off at the end of the network, if it preserves the arg-max; else refused."""
    rank = len(call.value().shape)
    axis = int(call.attributes.get("axis", 1 if call.opset < 13 else -1))
    if not call.only_feeds_outputs(TAIL | {"ArgMax"}):
        raise call.refusal(
            "no spiking form; only a final Softmax over the classes can be left off",
            "in the middle of a network (attention, gating) it cannot be compiled",
        )
    x = view(call, 0, (call.axis(axis, rank),)).like
    message = f"final {call.op} left off: the outputs are logits, with the same arg-max"
    call.builder.findings.append(Finding(message, call.origin, "softmax-dropped"))
    return x


def arg_max(call: Call) -> Tensor:
    """Left off at the end of the network, where the user can apply it; else refused."""
    rank = len(call.value().shape)
    call.ignore("keepdims", "select_last_index")  # left to the user
    if not call.only_feeds_outputs(frozenset({"Identity"})):
        raise call.refusal("no spiking form; only a final ArgMax can be left off")
    x = view(call, 0, (call.axis(int(call.attributes.get("axis", 0)), rank),)).like
    message = "final ArgMax left off: the outputs are the values that it compares"
    call.builder.findings.append(Finding(message, call.origin, "argmax-dropped"))
    return x
