"""One function per ONNX operator that may work on activations, by operator type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import activation, arithmetic, linear, pooling, wiring
from snn_frontends.onnx.values import Tensor

Handler = Callable[[Call], Tensor | Sequence[Tensor]]
"""Adds an operator's nodes to the network and returns its results."""

OPERATORS: dict[str, Handler] = {
    "Add": arithmetic.add,
    "ArgMax": activation.arg_max,
    "AveragePool": pooling.average_pool,
    "BatchNormalization": linear.batch_normalization,
    "Cast": wiring.cast,
    "CastLike": wiring.cast_like,
    "Clip": activation.clip,
    "Concat": wiring.concat,
    "Conv": linear.conv,
    "DepthToSpace": wiring.depth_to_space,
    "Div": arithmetic.div,
    "Dropout": activation.dropout,
    "Expand": wiring.expand,
    "Flatten": wiring.flatten,
    "Gather": wiring.gather,
    "Gemm": linear.gemm,
    "GlobalAveragePool": pooling.global_average_pool,
    "GlobalMaxPool": pooling.global_max_pool,
    "Identity": wiring.identity,
    "LeakyRelu": activation.leaky_relu,
    "LogSoftmax": activation.softmax,
    "MatMul": linear.mat_mul,
    "Max": activation.maximum,
    "MaxPool": pooling.max_pool,
    "Mul": arithmetic.mul,
    "Neg": arithmetic.neg,
    "PRelu": activation.prelu,
    "Pad": wiring.pad,
    "ReduceMean": pooling.reduce_mean,
    "Relu": activation.relu,
    "Reshape": wiring.reshape,
    "Slice": wiring.slice_,
    "Softmax": activation.softmax,
    "SpaceToDepth": wiring.space_to_depth,
    "Split": wiring.split,
    "Squeeze": wiring.squeeze,
    "Sub": arithmetic.sub,
    "Sum": arithmetic.add,
    "Transpose": wiring.transpose,
    "Unsqueeze": wiring.unsqueeze,
}
