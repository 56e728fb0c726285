"""ONNX operators on integers, static and dynamic: what they compute, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import assert_same, evaluate_all, imported, model, node, session
from quantized_models import (
    MICROSOFT,
    assert_within_a_step,
    inputs_of,
    layers,
    quantized_model,
    rng,
    weights,
)
from snn_compile.ir import ann


def constants_of(*values, **more):
    """Scales and zero points in turn: s0 z0 s1 z1 ... of uint8."""
    found = {}
    for k, (scale, zero) in enumerate(values):
        found[f"s{k}"], found[f"z{k}"] = (scale, "float32"), (zero, "uint8")
    return {**found, **more}


@pytest.mark.parametrize("per_channel", [False, True])
def test_convolution_on_integers(per_channel):
    step = np.linspace(0.01, 0.02, 4) if per_channel else 0.01
    constants = constants_of(
        (0.02, 120),
        (0.1, 100),
        w=(weights("int8", (4, 3, 3, 3)), "int8"),
        ws=(step, "float32"),
        wz=(np.zeros(4) if per_channel else 0, "int8"),
        b=(rng().integers(-900, 900, 4), "int32"),
    )
    nodes = [
        node("QuantizeLinear", "x s0 z0", "q"),
        node("QLinearConv", "q s0 z0 w ws wz s1 z1 b", "r", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("DequantizeLinear", "r s1 z1", "y"),
    ]
    found = assert_within_a_step(quantized_model(nodes, constants, opset=13), 0.1)
    (conv,) = layers(found.ann.graph)
    assert (np.rint(conv.weight / conv.step[:, None, None, None]) == constants["w"][0]).all()
    assert {n.origin.op for n in found.ann.graph if isinstance(n, ann.Conv)} == {"QLinearConv"}


def test_product_on_integers():
    constants = constants_of(
        (0.02, 120),
        (0.1, 100),
        w=(weights("int8", (6, 4)), "int8"),
        ws=(0.01, "float32"),
        wz=(0, "int8"),
    )
    nodes = [
        node("QuantizeLinear", "x s0 z0", "q"),
        node("QLinearMatMul", "q s0 z0 w ws wz s1 z1", "r"),
        node("DequantizeLinear", "r s1 z1", "y"),
    ]
    found = assert_within_a_step(quantized_model(nodes, constants, ("N", 6), 13), 0.1)
    (dense,) = layers(found.ann.graph)
    assert (np.rint(dense.weight / dense.step[:, None]) == constants["w"][0].T).all()


PAIRS = {
    "QLinearAdd": ("q s0 z0 q s0 z0 s1 z1", {}, 0.05),
    "QLinearMul": ("q s0 z0 q s0 z0 s1 z1", {}, 0.05),
    "QLinearSigmoid": ("q s0 z0 s1 z1", {}, 0.05),
    "QLinearLeakyRelu": ("q s0 z0 s1 z1", {"alpha": 0.3}, 0.05),
    "QLinearAveragePool": ("q s0 z0 s1 z1", {"kernel_shape": [2, 2], "strides": [2, 2]}, 0.05),
    "QLinearGlobalAveragePool": ("q s0 z0 s1 z1", {}, 0.005),
    "QLinearConcat": ("s1 z1 q s0 z0 q s0 z0", {"axis": 1}, 0.05),
}


@pytest.mark.parametrize("op", PAIRS)
def test_operators_of_onnxruntime_on_integers(op):
    inputs, attributes, step = PAIRS[op]
    step = 0.01 if op == "QLinearSigmoid" else step
    nodes = [
        node("QuantizeLinear", "x s0 z0", "q"),
        node(op, inputs, "r", domain=MICROSOFT, **attributes),
        node("DequantizeLinear", "r s1 z1", "y"),
    ]
    made = quantized_model(nodes, constants_of((0.03, 120), (step, 100)), opset=13)
    found = imported(made)
    x = inputs_of(made)
    (expected,) = session(made).run(None, {"x": x})
    (actual,) = evaluate_all(found, x)
    # onnxruntime adds its own rounding of scales and tables
    apart = np.abs(actual - expected) / step
    assert apart.max() < 2.01
    assert apart.mean() < 0.1


def test_convolution_with_channels_last():
    constants = constants_of(
        (0.02, 120),
        (0.1, 100),
        w=(weights("int8", (4, 3, 3, 3)), "int8"),
        ws=(0.01, "float32"),
        wz=(0, "int8"),
    )
    nodes = [
        node("QuantizeLinear", "x s0 z0", "q"),
        node("Transpose", "q", "last", perm=[0, 2, 3, 1]),
        node(
            "QLinearConv",
            "last s0 z0 w ws wz s1 z1",
            "r",
            domain=MICROSOFT,
            channels_last=1,
            kernel_shape=[3, 3],
        ),
        node("Transpose", "r", "first", perm=[0, 3, 1, 2]),
        node("DequantizeLinear", "first s1 z1", "y"),
    ]
    assert_within_a_step(quantized_model(nodes, constants, opset=13), 0.1)


def test_integers_of_dynamic_quantization_multiply_real_values():
    weight = weights("uint8", (6, 4))
    constants = {
        "w": (weight, "uint8"),
        "ws": (0.01, "float32"),
        "wz": (120, "uint8"),
        "b": (rng().normal(size=4), "float32"),
    }
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("MatMulInteger", "q w z wz", "i"),
        node("Cast", "i", "f", to=1),
        node("Mul", "s ws", "scale"),
        node("Mul", "f scale", "g"),
        node("Add", "g b", "y"),
    ]
    made = quantized_model(nodes, constants, ("N", 6), 13)
    found, x = imported(made), inputs_of(made)
    real = x @ ((weight - 120) * np.float32(0.01)) + constants["b"][0]
    (actual,) = evaluate_all(found, x)
    np.testing.assert_allclose(actual, real, rtol=1e-4, atol=1e-4)
    (dense,) = layers(found.ann.graph)
    assert (np.rint(dense.weight / dense.step[:, None]) == weight.T - 120).all()
    assert [f.code for f in found.findings].count("dynamic-quantization") == 1


def test_convolution_of_dynamic_quantization():
    weight = weights("int8", (4, 3, 3, 3))
    constants = {"w": (weight, "int8"), "ws": (0.01, "float32"), "wz": (0, "int8")}
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("ConvInteger", "q w z wz", "i", pads=[1, 1, 1, 1]),
        node("Cast", "i", "f", to=1),
        node("Mul", "s ws", "scale"),
        node("Mul", "f scale", "y"),
    ]
    made = quantized_model(nodes, constants, opset=13)
    real = assert_same(
        model(
            [node("Conv", "x w", "y", pads=[1, 1, 1, 1])],
            constants={"w": (weight * 0.01).astype(np.float32)},
        )
    )
    x = inputs_of(made)
    np.testing.assert_allclose(
        evaluate_all(imported(made), x)[0], evaluate_all(real, x)[0], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("op", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_fused_products_of_integers(op):
    constants = constants_of(
        (0.02, 120),
        w=(weights("int8", (6, 4)), "int8"),
        ws=(0.01, "float32"),
        wz=(0, "int8"),
        b=(rng().normal(size=4), "float32"),
    )
    nodes = [
        node("QuantizeLinear", "x s0 z0", "q"),
        node(op, "q w s0 ws z0 wz b", "y", domain=MICROSOFT),
    ]
    if op == "DynamicQuantizeMatMul":
        nodes = [node(op, "x w ws wz b", "y", domain=MICROSOFT)]
    made = quantized_model(nodes, constants, ("N", 6), 13)
    if op == "MatMulIntegerToFloat":
        assert_same(made, rtol=1e-3)
    x = inputs_of(made)
    if op == "MatMulIntegerToFloat":
        x = np.clip(np.rint(x / 0.02), -120, 135) * np.float32(0.02)
    real = x @ (constants["w"][0] * np.float32(0.01)) + constants["b"][0]
    np.testing.assert_allclose(evaluate_all(imported(made), x)[0], real, rtol=1e-3, atol=1e-3)


def test_gemm_on_integers():
    constants = constants_of(
        (0.02, 120),
        (0.1, 100),
        w=(weights("int8", (4, 6)), "int8"),
        ws=(0.01, "float32"),
        wz=(0, "int8"),
        b=(rng().integers(-900, 900, 4), "int32"),
    )
    nodes = [
        node("QuantizeLinear", "x s0 z0", "q"),
        node("QGemm", "q s0 z0 w ws wz b s1 z1", "r", domain=MICROSOFT, transB=1, alpha=1.0),
        node("DequantizeLinear", "r s1 z1", "y"),
    ]
    assert_within_a_step(quantized_model(nodes, constants, ("N", 6), 13), 0.1)
