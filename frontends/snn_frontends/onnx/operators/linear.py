"""Layers with weights: convolutions, dense layers, batch normalization."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators.windows import as_map, from_map, windows
from snn_frontends.onnx.values import Tensor


def conv(call: Call) -> Tensor:
    """One- and two-dimensional convolutions with constant weights."""
    x, weight = call.tensor(), call.parameter(1)
    maps = as_map(call, x)
    groups = int(call.attributes.get("group", 1))
    stated = tuple(call.attributes.get("kernel_shape", weight.shape[2:]))
    if weight.ndim != len(x.shape) or stated != weight.shape[2:]:
        raise call.invalid(
            f"weights of shape {list(weight.shape)} do not fit kernel {list(stated)} and input "
            f"{list(x.shape)}"
        )
    if groups < 1 or weight.shape[0] % groups or weight.shape[1] * groups != x.shape[1]:
        raise call.invalid(
            f"weights of shape {list(weight.shape)} do not fit {x.shape[1]} input channels in "
            f"{groups} groups"
        )
    bias = _bias(call, 2, weight)
    view = windows(call, x.shape, weight.shape[2:])
    y = call.emit(
        ann.Conv,
        maps,
        shape=(call.batch, weight.shape[0], *view.size),
        weight=weight.reshape(*weight.shape[:2], *view.kernel),
        bias=bias,
        geometry=replace(view.geometry, groups=groups),
    )
    return from_map(call, y, like=x)


def _bias(call: Call, index: int, weight: Float) -> Float:
    """The optional bias of a layer, or zeros."""
    if not call.has(index):
        return np.zeros(weight.shape[0], weight.dtype)
    bias = call.parameter(index)
    if bias.shape != weight.shape[:1]:
        raise call.invalid(
            f"bias of shape {list(bias.shape)} does not fit {weight.shape[0]} outputs"
        )
    return bias


def gemm(call: Call) -> Tensor:
    """``alpha * x @ B + beta * C`` with constant B and C."""
    x, weight = call.tensor(), call.parameter(1)
    alpha, beta = (float(call.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    if call.attributes.get("transA", 0):
        raise call.refusal("transA swaps the batch axis with the features", "export without it")
    weight = weight if call.attributes.get("transB", 0) else weight.T
    if len(x.shape) != 2 or weight.ndim != 2 or weight.shape[1] != x.shape[1]:
        raise call.invalid(
            f"weights of shape {list(call.parameter(1).shape)} do not fit input {list(x.shape)}"
        )
    n_out = weight.shape[0]
    shift = call.parameter(2) if call.has(2) else np.zeros((), np.float32)
    bias = np.broadcast_to(call.per_sample(shift, (call.batch, n_out)), (n_out,))
    return _dense(call, x, _times(alpha, weight), _times(beta, bias))


def _times(factor: float, values: Float) -> Float:
    """A contiguous multiple of the values, in their own type."""
    return np.ascontiguousarray(values if factor == 1 else values.dtype.type(factor) * values)


def _dense(call: Call, x: Tensor, weight: Float, bias: Float) -> Tensor:
    shape = (call.batch, weight.shape[0])
    return call.emit(ann.Dense, x, shape=shape, weight=weight, bias=bias)


def mat_mul(call: Call) -> Tensor:
    """The product of an activation and a constant matrix, from either side."""
    if all(isinstance(value, Tensor) for value in call.inputs):
        raise call.refusal(
            "multiplying two activations (attention) has no spiking form",
            "use a network of convolutions and dense layers",
        )
    if isinstance(call.inputs[0], Tensor):
        return _times_matrix(call, call.tensor(0), _matrix(call, 1))
    return _matrix_times(call, _matrix(call, 0), call.tensor(1))


def _matrix(call: Call, index: int) -> Float:
    """A constant operand as a matrix; leading axes of length 1 are dropped."""
    weight = call.parameter(index)
    if weight.ndim < 2 or prod(weight.shape[:-2]) != 1:
        raise call.refusal(
            f"the constant of shape {list(weight.shape)} is not a matrix",
            "give the same weights to every sample and position",
        )
    return weight.reshape(weight.shape[-2:])


def _times_matrix(call: Call, x: Tensor, weight: Float) -> Tensor:
    """(N, ..., I) @ (I, O): dense on vectors, a pointwise convolution over positions otherwise."""
    *positions, n_in = x.shape[1:]
    if len(x.shape) < 2 or len(call.parameter(1).shape) > len(x.shape) or n_in != weight.shape[0]:
        raise _misfit(call)
    n_out = weight.shape[1]
    weight, bias = np.ascontiguousarray(weight.T), np.zeros(n_out, weight.dtype)
    if not positions:
        return _dense(call, x, weight, bias)
    n_positions, result = prod(positions), (call.batch, *positions, n_out)
    if n_positions == 1:
        vector = call.emit(ann.Reshape, x, shape=(call.batch, n_in), suffix="vector")
        y = _dense(call, vector, weight, bias)
        return call.emit(ann.Reshape, y, shape=result, suffix="restore")
    order = (*range(1, len(positions) + 1), 0)  # features last to features first, and back
    first = call.emit(
        ann.Transpose,
        x,
        shape=(call.batch, n_in, *positions),
        suffix="channels_first",
        permutation=(len(positions), *range(len(positions))),
    )
    y = _pointwise(call, first, weight, n_positions)
    y = call.emit(ann.Reshape, y, shape=(call.batch, n_out, *positions), suffix="lower")
    return call.emit(ann.Transpose, y, shape=result, suffix="channels_last", permutation=order)


def _matrix_times(call: Call, weight: Float, x: Tensor) -> Tensor:
    """(O, I) @ (N, I, L): a pointwise convolution over the columns."""
    if len(x.shape) == 2:
        raise call.refusal(
            "a constant times a (batch, features) value mixes the samples of a batch",
            "put the constant on the right: x @ W",
        )
    if len(call.parameter(0).shape) > len(x.shape) or weight.shape[1] != x.shape[-2]:
        raise _misfit(call)
    if len(x.shape) > 3:
        raise call.refusal(f"a constant times a value of shape {list(x.shape)} is not supported")
    y = _pointwise(call, x, weight, x.shape[2])
    shape = (call.batch, weight.shape[0], x.shape[2])
    return call.emit(ann.Reshape, y, shape=shape, suffix="lower")


def _pointwise(call: Call, x: Tensor, weight: Float, length: int) -> Tensor:
    """(N, I, ...) with ``length`` positions to (N, O, 1, length)."""
    n_out, n_in = weight.shape
    lifted = call.emit(ann.Reshape, x, shape=(call.batch, n_in, 1, length), suffix="lift")
    return call.emit(
        ann.Conv,
        lifted,
        shape=(call.batch, n_out, 1, length),
        weight=weight.reshape(n_out, n_in, 1, 1),
        bias=np.zeros(n_out, weight.dtype),
    )


def _misfit(call: Call) -> Exception:
    shapes = [list(getattr(value, "shape", ())) for value in call.inputs]
    return call.invalid(f"operands of shapes {shapes[0]} and {shapes[1]} do not fit")


def batch_normalization(call: Call) -> Tensor:
    """The inference form: constant statistics per channel."""
    x = call.tensor()
    call.ignore("momentum")  # of training
    if call.attributes.get("training_mode", 0):
        raise call.refusal(
            "BatchNormalization in training mode uses the statistics of the batch",
            "export in evaluation mode (model.eval())",
        )
    gamma, beta, mean, var = (call.parameter(k) for k in range(1, 5))
    if not call.attributes.get("spatial", 1) and len(x.shape) > 2:
        raise call.refusal("separate statistics for every position (spatial=0) are not supported")
    if len(x.shape) < 2 or {p.shape for p in (gamma, beta, mean, var)} != {x.shape[1:2]}:
        raise call.invalid(f"its parameters do not fit the input of shape {list(x.shape)}")
    epsilon = float(call.attributes.get("epsilon", 1e-5))
    if not (var + epsilon > 0).all():
        raise call.invalid(f"'{call.names[4]}' holds negative variances", "not-finite")
    return call.emit(ann.BatchNorm, x, gamma=gamma, beta=beta, mean=mean, var=var, epsilon=epsilon)
