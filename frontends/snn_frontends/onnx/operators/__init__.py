"""One function per ONNX operator that may work on activations, by operator type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import (
    activation,
    arithmetic,
    contraction,
    convolution,
    gathering,
    linear,
    pooling,
    reductions,
    resampling,
    wiring,
)
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
    "CenterCropPad": Operator(gathering.center_crop_pad, 18),
    "Clip": Operator(activation.clip, 13),
    "Col2Im": Operator(convolution.col2im, 18),
    "Concat": Operator(wiring.concat, 13),
    "Conv": Operator(convolution.conv, 22),
    "ConvTranspose": Operator(convolution.conv_transpose, 22),
    "CumSum": Operator(reductions.cum_sum, 14),
    "DepthToSpace": Operator(wiring.depth_to_space, 28),
    "Div": Operator(arithmetic.div, 14),
    "Dropout": Operator(activation.dropout, 22),
    "Einsum": Operator(contraction.einsum, 28),
    "Expand": Operator(gathering.expand, 13),
    "Flatten": Operator(wiring.flatten, 25),
    "Gather": Operator(gathering.gather, 13),
    "GatherElements": Operator(gathering.gather_elements, 13),
    "GatherND": Operator(gathering.gather_nd, 13),
    "Gemm": Operator(linear.gemm, 13),
    "GlobalAveragePool": Operator(reductions.global_average_pool, 22),
    "GlobalMaxPool": Operator(reductions.global_max_pool, 22),
    "Identity": Operator(wiring.identity, 25),
    "LeakyRelu": Operator(activation.leaky_relu, 16),
    "LogSoftmax": Operator(activation.softmax, 13),
    "MatMul": Operator(linear.mat_mul, 13),
    "Max": Operator(activation.maximum, 13),
    "MaxPool": Operator(pooling.max_pool, 22),
    "Mul": Operator(arithmetic.mul, 14),
    "Neg": Operator(arithmetic.neg, 13),
    "PRelu": Operator(activation.prelu, 16),
    "Pad": Operator(gathering.pad, 25),
    "ReduceMax": Operator(reductions.reduce_max, 20),
    "ReduceMean": Operator(reductions.reduce_mean, 18),
    "ReduceMin": Operator(reductions.reduce_min, 20),
    "ReduceSum": Operator(reductions.reduce_sum, 13),
    "Relu": Operator(activation.relu, 14),
    "Reshape": Operator(wiring.reshape, 25),
    "Resize": Operator(resampling.resize, 19),
    "ReverseSequence": Operator(gathering.reverse_sequence, 28),
    "Slice": Operator(wiring.slice_, 13),
    "Softmax": Operator(activation.softmax, 13),
    "SpaceToDepth": Operator(wiring.space_to_depth, 28),
    "Split": Operator(wiring.split, 18),
    "Squeeze": Operator(wiring.squeeze, 25),
    "Sub": Operator(arithmetic.sub, 14),
    "Sum": Operator(arithmetic.add, 13),
    "Tile": Operator(gathering.tile, 13),
    "Transpose": Operator(wiring.transpose, 25),
    "Trilu": Operator(gathering.trilu, 14),
    "Unsqueeze": Operator(wiring.unsqueeze, 25),
    "Upsample": Operator(resampling.resize, 10),
}
