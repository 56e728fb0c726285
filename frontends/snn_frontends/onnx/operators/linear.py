"""Layers with weights: convolutions, dense layers, batch normalization."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import Float
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.layout import plain, reorder_axes
from snn_frontends.onnx.operators import contraction
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.values import Tensor


def gemm(call: Call) -> Tensor:
    """``alpha * x @ B + beta * C`` with constant B and C."""
    alpha, beta = (float(call.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    index = 0 if isinstance(call.inputs[0], Tensor) else 1
    if index or not call.value(0).plain or call.attributes.get("transA", 0):
        y = contraction.gemm(call, index)
        if alpha == 1 and not call.has(2):
            return y
        shift = _times(beta, call.parameter(2)) if call.has(2) else np.zeros((), np.float32)
        shift = reorder_axes(call, shift, y, len(y.shape))
        done = affine(call, plain(call, y), scale=np.float32(alpha), shift=shift, suffix="shifted")
        return replace(y, node=done.node)
    x, weight = call.tensor(), call.parameter(1)
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
    index = 0 if isinstance(call.inputs[0], Tensor) else 1
    x, weight = call.value(index), call.parameter(1 - index)
    matrix = weight.ndim > 1 and prod(weight.shape[:-2]) == 1 and weight.ndim <= len(x.shape)
    if not matrix or not x.plain or len(x.shape) < 2 + index or (index and len(x.shape) > 3):
        return contraction.mat_mul(call, index)
    weight = weight.reshape(weight.shape[-2:])
    return _matrix_times(call, weight, x) if index else _times_matrix(call, x, weight)


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
    if len(call.parameter(0).shape) > len(x.shape) or weight.shape[1] != x.shape[-2]:
        raise _misfit(call)
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
