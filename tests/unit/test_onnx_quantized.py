"""Quantized ONNX files: what they compute, against onnxruntime, and their weights."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_models import assert_same, evaluate_all, imported, model, node, ops, refused, session
from quantized_models import (
    MICROSOFT,
    TYPES,
    assert_within_a_step,
    inputs_of,
    pair,
    qdq,
    quantized_model,
    weights,
)
from snn_compile.errors import CompileErrors
from snn_compile.ir import ann


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def layers(graph) -> list[ann.Conv | ann.Dense]:
    return [n for n in graph if isinstance(n, ann.Conv | ann.Dense)]


# Pairs of QuantizeLinear and DequantizeLinear.


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"opset": 10}, 0.2),
        ({"opset": 13, "axis": 0}, 0.2),
        ({"opset": 19, "kind": "int8", "zero": -128}, 0.2),
        ({"weight_kind": "uint8", "weight_zero": 128}, 0.2),
        ({"weight_kind": "uint8", "weight_zero": 97}, 0.2),
        ({"weight_kind": "int4", "axis": 0}, 0.2),
        ({"weight_kind": "uint4", "weight_zero": 8}, 0.2),
        ({"kind": "int16", "axis": 0, "zero": -32768}, 0.2 * 255 / 65535),
        ({"kind": "uint16"}, 0.2 * 255 / 65535),
        ({"kind": "int8", "zero": 0}, 0.2),
        ({"kind": "uint8", "zero": 40}, 0.2),
    ],
)
def test_pairs_round_as_in_onnxruntime(options, step):
    if step < 0.1:  # 16 bits: the order of a sum decides more often
        made = qdq(**options)
        x = inputs_of(made)
        (expected,) = session(made).run(None, {"x": x})
        (actual,) = evaluate_all(imported(made), x)
        assert np.abs(actual - expected).max() < 4 * step
        return
    found = assert_within_a_step(qdq(**options), step)
    for layer in layers(found.ann.graph):
        integers = layer.weight.reshape(len(layer.weight), -1) / layer.step[:, None]
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)


def test_steps_are_those_of_the_file():
    made = qdq(axis=0)
    conv, dense = layers(imported(made).ann.graph)
    file = weights("int8", (5, 3, 3, 3))
    assert (np.rint(conv.weight / conv.step[:, None, None, None]) == file).all()
    assert (np.rint(dense.weight / dense.step[:, None]) == weights("int8", (4, 320))).all()
    np.testing.assert_allclose(conv.step, np.linspace(0.01, 0.02, 5), rtol=1e-6)


def test_a_pair_that_clips_at_0_is_the_rectifier():
    found = imported(qdq())
    assert ops(found) == ["Conv", "Relu", "Reshape", "Dense", "Function"]
    relu = next(n for n in found.ann.graph if isinstance(n, ann.Relu))
    assert relu.levels == 255
    np.testing.assert_allclose(relu.full_scale, 255 * np.float32(0.12), rtol=1e-6)
    entry = found.ann.input
    assert entry.ends == (-128, 127)
    np.testing.assert_allclose(entry.step, 0.03, rtol=1e-6)


@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Tanh", "HardSwish"])
def test_a_function_rounds_to_the_grid_behind_it(op):
    constants = {"s": (0.01, "float32"), "z": (100 if op == "Tanh" else 3, "uint8")}
    made = quantized_model(
        [
            node(op, "x", "r"),
            *pair("r", "p", "s", "z"),
            node("MaxPool", "p", "m", kernel_shape=[2, 2], strides=[2, 2]),
            *pair("m", "y", "s", "z"),
        ],
        constants,
    )
    found = assert_within_a_step(made, 0.01)
    assert ops(found) == (["Relu", "MaxPool"] if op == "Relu" else ["Function", "MaxPool"])


def test_a_rectifier_of_a_grid_is_on_that_grid():
    constants = {"s": (0.05, "float32"), "z": (0, "int8")}
    made = quantized_model([*pair("x", "p", "s", "z"), node("Relu", "p", "y")], constants)
    made.graph.node.insert(0, node("Neg", "x", "n"))
    made.graph.node[1].input[0] = "n"
    found = assert_within_a_step(made, 0.05)
    assert "Function" not in ops(found)
    (relu,) = (n for n in found.ann.graph if isinstance(n, ann.Relu))
    assert relu.levels == 127


def test_copies_of_a_pair_are_one_population():
    constants = {"s": (0.05, "float32"), "z": (0, "uint8")}
    made = quantized_model(
        [
            node("Relu", "x", "r"),
            *pair("r", "a", "s", "z"),
            *pair("r", "b", "s", "z"),
            node("Add", "a b", "y"),
        ],
        constants,
    )
    assert ops(assert_within_a_step(made, 0.1)) == ["Relu", "Add"]


def test_scales_of_the_channels_of_an_activation():
    constants = {"s": ([0.01, 0.02, 0.05], "float32"), "z": ([0, 0, 0], "uint8")}
    nodes = [
        node("QuantizeLinear", "x s z", "q", axis=1),
        node("DequantizeLinear", "q s z", "y", axis=1),
    ]
    found = assert_within_a_step(quantized_model(nodes, constants), 0.01)
    np.testing.assert_allclose(found.ann.input.step, [0.01, 0.02, 0.05], rtol=1e-6)


def test_integers_may_move_between_quantization_and_its_inverse():
    constants = {
        "s": (0.02, "float32"),
        "z": (7, "uint8"),
        "p": ([0, 0, 1, 1, 0, 0, 1, 1], "int64"),
        "seven": (7, "uint8"),
        "to": ([0, -1], "int64"),
    }
    TYPES.setdefault("int64", (TensorProto.INT64, 0, 0))
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("Pad", "q p seven", "padded"),
        node("MaxPool", "padded", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", "m", "t", perm=[0, 2, 3, 1]),
        node("Concat", "t t", "c", axis=3),
        node("Reshape", "c to", "r"),
        node("DequantizeLinear", "r s z", "y"),
    ]
    assert_within_a_step(quantized_model(nodes, constants), 0.02)


def test_another_scale_than_that_of_the_quantization():
    constants = {
        "s": (0.02, "float32"),
        "z": (7, "uint8"),
        "t": (0.5, "float32"),
        "u": (3, "uint8"),
    }
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q t u", "y")]
    assert_within_a_step(quantized_model(nodes, constants), 0.5)


def test_integers_cast_to_numbers():
    constants = {"s": (0.02, "float32"), "z": (7, "uint8")}
    nodes = [node("QuantizeLinear", "x s z", "q"), node("Cast", "q", "y", to=1)]
    assert_within_a_step(quantized_model(nodes, constants), 1.0)


@pytest.mark.parametrize("scales", [[0.02], [0.02, 0.03, 0.04]])
def test_an_output_of_integers(scales):
    constants = {"s": (scales, "float32"), "z": ([7] * len(scales), "uint8")}
    nodes = [node("Relu", "x", "r"), node("QuantizeLinear", "r s z", "y", axis=1)]
    made = quantized_model(nodes, constants, output_type=TensorProto.UINT8)
    x = inputs_of(made)
    (expected,) = session(made).run(None, {"x": x})
    np.testing.assert_allclose(evaluate_all(imported(made), x)[0], expected, atol=1e-3)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT8])
def test_an_input_of_integers(kind):
    constants = {
        "s": (0.02, "float32"),
        "z": (7, "uint8" if kind == TensorProto.UINT8 else "int8"),
        "w": (weights("int8", (4, 3, 1, 1)), "int8"),
        "ws": (0.01, "float32"),
    }
    nodes = [
        node("DequantizeLinear", "x s z", "xd"),
        node("DequantizeLinear", "w ws", "wd"),
        node("Conv", "xd wd", "y"),
    ]
    made = quantized_model(nodes, constants)
    made.graph.input[0].type.tensor_type.elem_type = kind
    low, high = (0, 255) if kind == TensorProto.UINT8 else (-128, 127)
    x = rng().integers(low, high, (4, 3, 8, 8), endpoint=True)
    typed = x.astype(np.uint8 if kind == TensorProto.UINT8 else np.int8)
    (expected,) = session(made).run(None, {"x": typed})
    found = imported(made)
    np.testing.assert_allclose(evaluate_all(found, x)[0], expected, rtol=1e-4, atol=1e-3)
    assert found.ann.input.ends == (low, high)
    assert found.ann.input.step == [1.0]


def test_pixels_cast_to_numbers():
    nodes = [
        node("Cast", "x", "f", to=TensorProto.FLOAT),
        node("Div", "f d", "y"),
    ]
    made = quantized_model(nodes, {"d": (255.0, "float32")})
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = rng().integers(0, 255, (4, 3, 8, 8))
    np.testing.assert_allclose(evaluate_all(imported(made), x)[0], x / 255, rtol=1e-5)


def test_integers_of_another_type():
    constants = {"s": (0.02, "float32"), "z": (7, "uint8"), "t": (7, "int32")}
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("Cast", "q", "i", to=TensorProto.INT32),
        node("DequantizeLinear", "i s t", "y"),
    ]
    found = imported(quantized_model(nodes, constants))
    x = inputs_of(quantized_model(nodes, constants))
    expected = (np.clip(np.rint(x / np.float32(0.02)) + 7, 0, 255) - 7) * np.float32(0.02)
    np.testing.assert_allclose(evaluate_all(found, x)[0], expected, rtol=1e-5)
    nodes[1].attribute[0].i = TensorProto.INT8
    assert "int8" in refused(quantized_model(nodes, constants)).message


def test_clipped_integers_as_brevitas_writes_them():
    constants = {
        "s": (0.2, "float32"),
        "z": (0, "int8"),
        "low": (-4, "int8"),
        "high": (3, "int8"),
        "w": (rng().normal(size=(4, 3, 1, 1)), "float32"),
        "ws": (0.2, "float32"),
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("Clip", "q low high", "c"),
        node("DequantizeLinear", "c s z", "xd"),
        node("QuantizeLinear", "w ws z", "wq"),
        node("Clip", "wq low high", "wc"),
        node("DequantizeLinear", "wc ws z", "wd"),
        node("Conv", "xd wd", "y"),
    ]
    found = assert_same(quantized_model(nodes, constants))
    (conv,) = layers(found.ann.graph)
    assert (np.abs(conv.weight / conv.step[:, None, None, None]) < 4.01).all()
    assert found.ann.input.ends == (-4, 3)


def test_blocks_of_weights_are_read_without_their_integers():
    constants = {
        "w": (weights("int8", (4, 8)), "int8"),
        "ws": (0.01 + rng().random((4, 2)), "float32"),
    }
    nodes = [
        node("DequantizeLinear", "w ws", "wd", axis=1, block_size=4),
        node("Gemm", "x wd", "y", transB=1),
    ]
    made = quantized_model(nodes, constants, ("N", 8))
    (dense,) = layers(imported(made).ann.graph)
    assert dense.step is None
    expected = weights("int8", (4, 8)) * np.repeat(constants["ws"][0], 4, axis=1)
    np.testing.assert_allclose(dense.weight, expected, rtol=1e-6)


# Operators on integers.


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


# What the optimizer of onnxruntime has fused.


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu", []),
        ("LeakyRelu", [0.2]),
        ("Clip", [0.0, 0.7]),
        ("HardSigmoid", [0.3, 0.4]),
        ("Sigmoid", []),
        ("Tanh", []),
        ("", []),
    ],
)
@pytest.mark.parametrize("opset", [9, 13])
def test_fused_convolution(activation, parameters, opset):
    stated = {"activation": activation} if activation else {}
    stated |= {"activation_params": parameters} if parameters else {}
    w = rng().normal(size=(3, 3, 3, 3)).astype(np.float32)
    b = rng(1).normal(size=3).astype(np.float32)
    fused = node("FusedConv", "x w b", "y", domain=MICROSOFT, pads=[1, 1, 1, 1], **stated)
    constants = {"w": (w, "float32"), "b": (b, "float32")}
    assert_same(quantized_model([fused], constants, opset=opset), rtol=1e-3)
    summed = node("FusedConv", "x w b x", "y", domain=MICROSOFT, pads=[1, 1, 1, 1], **stated)
    assert_same(quantized_model([summed], constants, opset=opset), rtol=1e-3)


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Sigmoid"])
def test_fused_gemm(activation):
    stated = {"activation": activation} if activation else {}
    stated |= {"activation_alpha": 0.3} if activation == "LeakyRelu" else {}
    constants = {
        "w": (rng().normal(size=(4, 6)), "float32"),
        "b": (rng().normal(size=4), "float32"),
    }
    fused = node("FusedGemm", "x w b", "y", domain=MICROSOFT, transB=1, alpha=0.5, **stated)
    assert_same(quantized_model([fused], constants, ("N", 6), 13))


def test_fused_mat_mul():
    constants = {"w": (rng().normal(size=(4, 6)), "float32")}
    fused = node("FusedMatMul", "x w", "y", domain=MICROSOFT, transB=1, alpha=0.25)
    assert_same(quantized_model([fused], constants, ("N", 6), 13))


# Quantizers of QONNX.


def qonnx(bits=4, domain="qonnx.custom_op.general", op="Quant", scale=0.25, **attributes):
    w = rng().normal(size=(3, 3, 1, 1)).astype(np.float32)
    constants = {
        "w": (w, "float32"),
        "ws": ([[[[0.1]]], [[[0.2]]], [[[0.3]]]], "float32"),
        "zero": (0.0, "float32"),
        "bits": (float(bits), "float32"),
        "s": (scale, "float32"),
    }
    more = [] if op != "Quant" else ["zero", "bits"]
    nodes = [
        node(op, " ".join(["w", "ws", *more]), "wd", domain=domain, **attributes),
        node("Conv", "x wd", "c"),
        node(op, " ".join(["c", "s", *more]), "y", domain=domain, **attributes),
    ]
    made = quantized_model(nodes, constants, opset=13)
    made.opset_import.append(helper.make_opsetid(domain, 1))
    return made, w


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "ends"),
    [(4, 1, 0, (-8, 7)), (4, 1, 1, (-7, 7)), (3, 0, 0, (0, 7)), (8, 1, 0, (-128, 127))],
)
@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
def test_quantizers_of_any_width(bits, signed, narrow, ends, domain):
    attributes = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
    made, w = qonnx(bits, domain, **attributes)
    step = np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1, 1)
    wd = np.clip(np.rint(w / step), *ends) * step
    x = inputs_of(made)
    c = np.einsum("nihw,oi->nohw", x, wd[:, :, 0, 0])
    expected = np.clip(np.rint(c / 0.25), *ends) * 0.25
    found = imported(made)
    (actual,) = evaluate_all(found, x)
    assert np.abs(actual - expected).max() < 0.26
    assert (np.abs(actual - expected) > 0.01).mean() < 0.01
    (conv,) = layers(found.ann.graph)
    np.testing.assert_allclose(conv.step, step.ravel(), rtol=1e-6)


def test_bipolar_quantizer():
    made, w = qonnx(op="BipolarQuant")
    step = np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1, 1)
    wd = np.where(w >= 0, step, -step)
    x = inputs_of(made)
    c = np.einsum("nihw,oi->nohw", x, wd[:, :, 0, 0])
    expected = np.where(c >= 0, 0.25, -0.25)
    near = np.abs(c) < 1e-5
    (actual,) = evaluate_all(imported(made), x)
    assert ((actual == expected) | near).all()


# Refusals.


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
