"""One function per ONNX operator that may work on activations, by operator type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from snn_compile.ir.expression import X, apply
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.operators import (
    activation,
    arithmetic,
    conditions,
    contraction,
    convolution,
    functions,
    gathering,
    linear,
    normalization,
    pooling,
    recurrent,
    reductions,
    resampling,
    wiring,
)
from snn_frontends.onnx.operators.conditions import comparison
from snn_frontends.onnx.operators.functions import unary
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
    "GRU": Operator(recurrent.gru, 22),
    "LSTM": Operator(recurrent.lstm, 22),
    "RNN": Operator(recurrent.rnn, 22),
    "Abs": Operator(unary(apply("abs", X)), 13),
    "Add": Operator(arithmetic.add, 14),
    "And": Operator(conditions.conjunction("mul"), 7),
    "ArgMax": Operator(activation.arg_max, 13),
    "AveragePool": Operator(pooling.average_pool, 22),
    "BatchNormalization": Operator(linear.batch_normalization, 15),
    "Cast": Operator(wiring.cast, 28),
    "CastLike": Operator(wiring.cast_like, 25),
    "Ceil": Operator(unary(apply("ceil", X)), 13),
    "Celu": Operator(functions.celu, 28),
    "CenterCropPad": Operator(gathering.center_crop_pad, 18),
    "Clip": Operator(activation.clip, 13),
    "Col2Im": Operator(convolution.col2im, 18),
    "Concat": Operator(wiring.concat, 13),
    "Conv": Operator(convolution.conv, 22),
    "ConvTranspose": Operator(convolution.conv_transpose, 22),
    "Cos": Operator(unary(apply("cos", X)), 22),
    "CumSum": Operator(reductions.cum_sum, 14),
    "DepthToSpace": Operator(wiring.depth_to_space, 28),
    "Div": Operator(arithmetic.div, 14),
    "Dropout": Operator(activation.dropout, 22),
    "Einsum": Operator(contraction.einsum, 28),
    "Elu": Operator(functions.elu, 22),
    "Equal": Operator(comparison("equal"), 19),
    "Erf": Operator(unary(apply("erf", X)), 13),
    "Exp": Operator(unary(apply("exp", X)), 13),
    "Expand": Operator(gathering.expand, 13),
    "Flatten": Operator(wiring.flatten, 25),
    "Floor": Operator(unary(apply("floor", X)), 13),
    "Gather": Operator(gathering.gather, 13),
    "GatherElements": Operator(gathering.gather_elements, 13),
    "GatherND": Operator(gathering.gather_nd, 13),
    "Gelu": Operator(functions.gelu_operator, 20),
    "Gemm": Operator(linear.gemm, 13),
    "GlobalAveragePool": Operator(reductions.global_average_pool, 22),
    "GlobalMaxPool": Operator(reductions.global_max_pool, 22),
    "Greater": Operator(comparison("greater"), 13),
    "GreaterOrEqual": Operator(comparison("greater", swapped=True, negated=True), 16),
    "GroupNormalization": Operator(normalization.group_normalization, 21),
    "HardSigmoid": Operator(functions.hard_sigmoid_operator, 22),
    "HardSwish": Operator(unary(apply("mul", X, functions.hard_sigmoid(X, 1.0 / 6.0, 0.5))), 22),
    "Identity": Operator(wiring.identity, 25),
    "InstanceNormalization": Operator(normalization.instance_normalization, 22),
    "LRN": Operator(normalization.lrn, 13),
    "LayerNormalization": Operator(normalization.layer_normalization, 17),
    "LeakyRelu": Operator(activation.leaky_relu, 16),
    "Less": Operator(comparison("greater", swapped=True), 13),
    "LessOrEqual": Operator(comparison("greater", negated=True), 16),
    "Log": Operator(unary(apply("log", X)), 13),
    "LogSoftmax": Operator(activation.softmax, 13),
    "LpNormalization": Operator(normalization.lp_normalization, 22),
    "MatMul": Operator(linear.mat_mul, 13),
    "Max": Operator(activation.maximum, 13),
    "MaxPool": Operator(pooling.max_pool, 22),
    "Mean": Operator(arithmetic.mean, 13),
    "MeanVarianceNormalization": Operator(normalization.mean_variance_normalization, 13),
    "Min": Operator(activation.minimum, 13),
    "Mish": Operator(unary(apply("mul", X, apply("tanh", apply("softplus", X)))), 22),
    "Mul": Operator(arithmetic.mul, 14),
    "Neg": Operator(arithmetic.neg, 13),
    "Not": Operator(conditions.negation, 1),
    "Or": Operator(conditions.conjunction("max"), 7),
    "PRelu": Operator(activation.prelu, 16),
    "Pad": Operator(gathering.pad, 25),
    "Pow": Operator(functions.power, 15),
    "RMSNormalization": Operator(normalization.rms_normalization, 23),
    "Reciprocal": Operator(unary(apply("div", 1.0, X)), 13),
    "ReduceL1": Operator(reductions.reduce_l1, 18),
    "ReduceL2": Operator(reductions.reduce_l2, 18),
    "ReduceMax": Operator(reductions.reduce_max, 20),
    "ReduceMean": Operator(reductions.reduce_mean, 18),
    "ReduceMin": Operator(reductions.reduce_min, 20),
    "ReduceSum": Operator(reductions.reduce_sum, 13),
    "ReduceSumSquare": Operator(reductions.reduce_sum_square, 18),
    "Relu": Operator(activation.relu, 14),
    "Reshape": Operator(wiring.reshape, 25),
    "Resize": Operator(resampling.resize, 19),
    "ReverseSequence": Operator(gathering.reverse_sequence, 28),
    "Round": Operator(unary(apply("round", X)), 22),
    "Selu": Operator(functions.selu, 22),
    "Shrink": Operator(functions.shrink, 9),
    "Sigmoid": Operator(unary(apply("sigmoid", X)), 13),
    "Sign": Operator(unary(apply("sign", X)), 13),
    "Sin": Operator(unary(apply("sin", X)), 22),
    "Slice": Operator(wiring.slice_, 13),
    "Softmax": Operator(activation.softmax, 13),
    "Softplus": Operator(unary(apply("softplus", X)), 22),
    "Softsign": Operator(unary(apply("div", X, apply("add", 1.0, apply("abs", X)))), 22),
    "SpaceToDepth": Operator(wiring.space_to_depth, 28),
    "Split": Operator(wiring.split, 18),
    "Sqrt": Operator(unary(apply("sqrt", X)), 13),
    "Squeeze": Operator(wiring.squeeze, 25),
    "Sub": Operator(arithmetic.sub, 14),
    "Sum": Operator(arithmetic.add, 13),
    "Swish": Operator(functions.swish, 24),
    "Tanh": Operator(unary(apply("tanh", X)), 13),
    "ThresholdedRelu": Operator(functions.thresholded_relu, 22),
    "Tile": Operator(gathering.tile, 13),
    "Transpose": Operator(wiring.transpose, 25),
    "Trilu": Operator(gathering.trilu, 14),
    "Unsqueeze": Operator(wiring.unsqueeze, 25),
    "Upsample": Operator(resampling.resize, 10),
    "Where": Operator(conditions.where, 16),
}

CONTRIBUTED: dict[str, Handler] = {
    "BiasGelu": functions.bias_gelu,
    "DynamicQuantizeLSTM": recurrent.quantized_lstm,
    "FastGelu": functions.fast_gelu,
    "Gelu": unary(functions.gelu(X, approximate=False)),
    "QuickGelu": functions.quick_gelu,
    "SimplifiedLayerNormalization": normalization.rms_normalization,
    "SkipLayerNormalization": normalization.skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": normalization.skip_rms_normalization,
}
"""Operators of the domain ``com.microsoft``, which onnxruntime's optimizer makes of others."""
