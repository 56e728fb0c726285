"""Operators on integers, as operators on real numbers between quantizations."""

from __future__ import annotations

from snn_frontends.onnx.expansion.call import Expansion, Rule


def conv(e: Expansion) -> None:
    """``QLinearConv``: X, W and the bias in integers, with the scale of their product."""
    x, weight = _channels_first(e), e.dequantized(3, 4, 5, axis=0)
    bias = [_bias(e, 8, (1, 4))] if e.has(8) else []
    y = e.add("Conv", x, weight, *bias, main=True, **e.others("channels_last"))
    _channels_as_before(e, y, 6, 7)


def _channels_first(e: Expansion) -> str:
    """The first input with its channels on axis 1."""
    x = e.input(0)
    if e.attribute("channels_last", 0):
        rank = _rank(e)
        x = e.add("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])
    return e.dequantize(x, e.input(1), e.optional(2))


def _channels_as_before(e: Expansion, y: str, scale: int, zero: int) -> None:
    """The output, quantized, with its channels on the axis of the first input's."""
    if not e.attribute("channels_last", 0):
        e.quantize(y, scale, zero)
        return
    rank = _rank(e)
    found = e.quantized(y, scale, zero)
    e.add("Transpose", found, perm=[0, *range(2, rank), 1], to=e.outputs[0])


def _rank(e: Expansion) -> int:
    """Number of axes of the values of a layer over maps."""
    known = (e.attribute(name, None) for name in ("kernel_shape", "strides", "dilations"))
    return 2 + len(next(filter(None, known), (1, 1)))


def _bias(e: Expansion, index: int, scales: tuple[int, int], factor: float = 1.0) -> str:
    scale = e.add("Mul", *(e.input(k) for k in scales))
    if factor != 1:
        scale = e.add("Mul", scale, e.constant(factor))
    return e.dequantize(e.inputs[index], scale, axis=-1)


def mat_mul(e: Expansion) -> None:
    """``QLinearMatMul``."""
    x, y = e.dequantized(0, 1, 2, axis=-2), e.dequantized(3, 4, 5, axis=-1)
    e.quantize(e.add("MatMul", x, y, main=True), 6, 7)


def gemm(e: Expansion) -> None:
    """``QGemm``, whose result stays real without a scale of its own."""
    transposed = e.attribute("transB", 0)
    alpha = float(e.attribute("alpha", 1.0))
    x, weight = e.dequantized(0, 1, 2), e.dequantized(3, 4, 5, axis=0 if transposed else 1)
    bias = [_bias(e, 6, (1, 4), alpha)] if e.has(6) else []
    to = "" if e.has(7) else e.outputs[0]
    y = e.add("Gemm", x, weight, *bias, to=to, main=True, **e.others())
    if e.has(7):
        e.quantize(y, 7, 8)


def of_pair(op: str) -> Rule:
    """An operator on two quantized values."""

    def rule(e: Expansion) -> None:
        y = e.add(op, e.dequantized(0, 1, 2), e.dequantized(3, 4, 5), main=True, **e.others())
        e.quantize(y, 6, 7)

    return rule


def of_one(op: str) -> Rule:
    """An operator on a quantized value, whose channels may be on the last axis."""

    def rule(e: Expansion) -> None:
        x = _channels_first(e)
        y = e.add(op, x, main=True, **e.others("channels_last", "opset"))
        _channels_as_before(e, y, 3, 4)

    return rule


def concat(e: Expansion) -> None:
    """``QLinearConcat``: the result's scale comes first."""
    parts = [e.dequantized(k, k + 1, k + 2) for k in range(2, len(e.inputs), 3)]
    e.quantize(e.add("Concat", *parts, main=True, **e.others()), 0, 1)


def where(e: Expansion) -> None:
    """``QLinearWhere``."""
    parts = e.dequantized(1, 2, 3), e.dequantized(4, 5, 6)
    e.quantize(e.add("Where", e.input(0), *parts, main=True), 7, 8)


def reduce_mean(e: Expansion) -> None:
    """``QLinearReduceMean``, whose axes are an attribute in every operator set."""
    x, axes = e.dequantized(0, 1, 2), e.attribute("axes", None)
    if axes is not None and e.opset >= 18:
        y = e.add("ReduceMean", x, e.constant(axes, "int64"), main=True, **e.others("axes"))
    else:
        y = e.add("ReduceMean", x, main=True, **e.others())
    e.quantize(y, 3, 4)


def dynamic(e: Expansion) -> None:
    """``DynamicQuantizeLinear``: a scale that follows each batch only serves the integers.

    The value itself, with a scale of 1, stays what the layer behind it reads.
    """
    value, scale, zero = (*e.outputs, "", "")[:3]
    e.add("Identity", e.input(0), to=value, main=True)
    if scale:
        e.constant(1.0, to=scale)
    if zero:
        e.constant(0, "uint8", to=zero)


def _unit(e: Expansion, x: int, zero: int, axis: int | None = None) -> str:
    """The integers of an input without its zero point, as real numbers."""
    return e.dequantize(e.input(x), e.constant(1.0), e.optional(zero), axis)


def conv_integer(e: Expansion) -> None:
    """``ConvInteger``: differences to the zero points are convolved; scales follow."""
    e.add("Conv", _unit(e, 0, 2), _unit(e, 1, 3, 0), to=e.outputs[0], main=True, **e.others())


def mat_mul_integer(e: Expansion) -> None:
    """``MatMulInteger``."""
    e.add("MatMul", _unit(e, 0, 2, -2), _unit(e, 1, 3, -1), to=e.outputs[0], main=True)


def mat_mul_to_float(e: Expansion) -> None:
    """``MatMulIntegerToFloat``: A, B, their scales, their zero points, the bias."""
    x = e.dequantized(0, 2, 4, axis=-2)
    _with_bias(e, x, e.dequantized(1, 3, 5, axis=-1), 6)


def dynamic_mat_mul(e: Expansion) -> None:
    """``DynamicQuantizeMatMul``: A is quantized with a scale of each batch, and so left real."""
    _with_bias(e, e.input(0), e.dequantized(1, 2, 3, axis=-1), 4)


def _with_bias(e: Expansion, x: str, weight: str, bias: int) -> None:
    y = e.add("MatMul", x, weight, main=True, to="" if e.has(bias) else e.outputs[0])
    if e.has(bias):
        e.add("Add", y, e.inputs[bias], to=e.outputs[0])


STANDARD: dict[str, Rule] = {
    "ConvInteger": conv_integer,
    "DynamicQuantizeLinear": dynamic,
    "MatMulInteger": mat_mul_integer,
    "QLinearConv": conv,
    "QLinearMatMul": mat_mul,
}
"""Operators of ONNX."""

CONTRIBUTED: dict[str, Rule] = {
    "DynamicQuantizeMatMul": dynamic_mat_mul,
    "MatMulInteger16": mat_mul_integer,
    "MatMulIntegerToFloat": mat_mul_to_float,
    "QGemm": gemm,
    "QLinearAdd": of_pair("Add"),
    "QLinearAveragePool": of_one("AveragePool"),
    "QLinearConcat": concat,
    "QLinearConv": conv,
    "QLinearGlobalAveragePool": of_one("GlobalAveragePool"),
    "QLinearLeakyRelu": of_one("LeakyRelu"),
    "QLinearMul": of_pair("Mul"),
    "QLinearReduceMean": reduce_mean,
    "QLinearSigmoid": of_one("Sigmoid"),
    "QLinearSoftmax": of_one("Softmax"),
    "QLinearWhere": where,
}
"""Operators of onnxruntime."""
