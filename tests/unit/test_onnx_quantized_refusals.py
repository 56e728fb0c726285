"""Quantized ONNX files that are refused: each names the operator and a way out."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from onnx_models import node, refused
from quantized_models import (
    MICROSOFT,
    pair,
    qonnx,
    quantized_model,
)
from snn_compile.errors import CompileErrors


def single(op, inputs="x", domain=MICROSOFT, constants=None, **attributes):
    return quantized_model([node(op, inputs, "y", domain=domain, **attributes)], constants or {})


def scale_from_activations():
    nodes = [
        node("ReduceMax", "x", "m", axes=[1, 2, 3], keepdims=0),
        node("QuantizeLinear", "x m", "q"),
        node("DequantizeLinear", "q m", "y"),
    ]
    return quantized_model(nodes, {}, opset=13)


def padded_with_another():
    constants = {
        "s": (0.02, "float32"),
        "z": (7, "uint8"),
        "p": ([0, 0, 1, 1, 0, 0, 1, 1], "int64"),
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("Pad", "q p", "r"),
        node("DequantizeLinear", "r s z", "y"),
    ]
    return quantized_model(nodes, constants)


def arithmetic_on_integers():
    constants = {
        "s": (0.02, "float32"),
        "z": (7, "uint8"),
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("Abs", "q", "r"),
        node("DequantizeLinear", "r s z", "y"),
    ]
    return quantized_model(nodes, constants)


def blocks_of_an_activation():
    constants = {"s": (np.full((1, 3, 4, 8), 0.02), "float32")}
    nodes = [
        node("QuantizeLinear", "x s", "q", axis=2, block_size=2),
        node("DequantizeLinear", "q s", "y", axis=2, block_size=2),
    ]
    return quantized_model(nodes, constants, (1, 3, 8, 8))


REFUSED = {
    "layout of a processor": (
        single("Conv", domain="com.microsoft.nchwc"),
        "processor-layout",
        "ORT_ENABLE_EXTENDED",
    ),
    "internal layout": (
        single("Conv", domain="com.ms.internal.nhwc"),
        "processor-layout",
        "ORT_ENABLE_EXTENDED",
    ),
    "pool, channels last": (single("NhwcMaxPool"), "processor-layout", "ORT_ENABLE_EXTENDED"),
    "packed blocks": (single("MatMulNBits", "x x x"), "blocked-weights", "per channel"),
    "recurrent": (single("DynamicQuantizeLSTM"), "unsupported-op", "convolutions"),
    "scale of the input": (scale_from_activations(), "unsupported-op", "static quantization"),
    "padding": (padded_with_another(), "unsupported-op", "pad before"),
    "arithmetic": (arithmetic_on_integers(), "integer-arithmetic", "DequantizeLinear"),
    "blocks": (blocks_of_an_activation(), "unsupported-op", "one scale"),
    "float8": (
        quantized_model(
            [
                node("QuantizeLinear", "x s", "q", output_dtype=TensorProto.FLOAT8E4M3FN),
                node("DequantizeLinear", "q s", "y"),
            ],
            {"s": (0.1, "float32")},
        ),
        "unsupported-op",
        "int8",
    ),
    "rounding": (qonnx(rounding_mode="FLOOR")[0], "unsupported-op", "nearest"),
    "truncation": (
        single("Trunc", "x x x x x", domain="onnx.brevitas"),
        "unsupported-op",
        "bit widths",
    ),
    "activation": (
        single("FusedConv", "x x", activation="Swish"),
        "unsupported-op",
        "ORT_ENABLE_BASIC",
    ),
    "integers of a batch": (
        quantized_model(
            [node("DynamicQuantizeLinear", "x", "q s z"), node("Identity", "q", "y")], {}
        ),
        "unsupported-op",
        "--outputs",
    ),
    "scale of 0": (
        quantized_model(pair("x", "y", "s", "z"), {"s": (0.0, "float32"), "z": (0, "int8")}),
        "invalid-model",
        "",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_operator_and_a_way_out(case):
    made, code, hint = REFUSED[case]
    error = refused(made)
    first = error.errors[0] if isinstance(error, CompileErrors) else error
    assert first.code == code
    assert first.origin is not None
    assert first.origin.op
    assert hint in first.hint
