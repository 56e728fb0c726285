"""One function per ONNX operator that may work on activations, by operator type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import activation, arithmetic, linear, pairs, pooling, wiring
from snn_frontends.onnx.values import Tensor

Handler = Callable[[Call], Tensor | Sequence[Tensor]]
"""Adds an operator's nodes to the network and returns its results."""


@dataclass(frozen=True)
class Operator:
    """An operator that may work on activations.

    Attributes:
        handler: imports it.
        since: the newest version of the operator that the handler was written for: the operator set
            that last changed it.
    """

    handler: Handler
    since: int


NEWEST_OPSET = 28
"""The newest operator set that the operators below were compared with."""

OPERATORS: dict[str, Operator] = {
    "Add": Operator(arithmetic.add, 14),
    "ArgMax": Operator(activation.arg_max, 13),
    "AveragePool": Operator(pooling.average_pool, 22),
    "BatchNormalization": Operator(linear.batch_normalization, 15),
    "Cast": Operator(wiring.cast, 28),
    "CastLike": Operator(wiring.cast_like, 25),
    "Clip": Operator(activation.clip, 13),
    "Concat": Operator(wiring.concat, 13),
    "Conv": Operator(linear.conv, 22),
    "DepthToSpace": Operator(wiring.depth_to_space, 28),
    "Div": Operator(arithmetic.div, 14),
    "Dropout": Operator(activation.dropout, 22),
    "Expand": Operator(wiring.expand, 13),
    "Flatten": Operator(wiring.flatten, 25),
    "Gather": Operator(wiring.gather, 13),
    "Gemm": Operator(linear.gemm, 13),
    "GlobalAveragePool": Operator(pooling.global_average_pool, 22),
    "GlobalMaxPool": Operator(pooling.global_max_pool, 22),
    "Identity": Operator(wiring.identity, 25),
    "LeakyRelu": Operator(activation.leaky_relu, 16),
    "LogSoftmax": Operator(activation.softmax, 13),
    "MatMul": Operator(linear.mat_mul, 13),
    "Max": Operator(activation.maximum, 13),
    "Mean": Operator(arithmetic.mean, 13),
    "Min": Operator(activation.minimum, 13),
    "MaxPool": Operator(pooling.max_pool, 22),
    "Mul": Operator(arithmetic.mul, 14),
    "Neg": Operator(arithmetic.neg, 13),
    "PRelu": Operator(activation.prelu, 16),
    "Pad": Operator(wiring.pad, 25),
    "ReduceMean": Operator(pooling.reduce_mean, 18),
    "Relu": Operator(activation.relu, 14),
    "Reshape": Operator(wiring.reshape, 25),
    "Slice": Operator(wiring.slice_, 13),
    "Softmax": Operator(activation.softmax, 13),
    "SpaceToDepth": Operator(wiring.space_to_depth, 28),
    "Split": Operator(wiring.split, 18),
    "Squeeze": Operator(wiring.squeeze, 25),
    "Sub": Operator(arithmetic.sub, 14),
    "Sum": Operator(arithmetic.add, 13),
    "Transpose": Operator(wiring.transpose, 25),
    "Unsqueeze": Operator(wiring.unsqueeze, 25),
    "Where": Operator(pairs.where, 16),
}
