"""Pairs of QuantizeLinear and DequantizeLinear: what they compute, and their weights."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from onnx_models import assert_same, evaluate_all, imported, node, ops, refused, session
from quantized_models import (
    TYPES,
    assert_within_a_step,
    inputs_of,
    layers,
    pair,
    qdq,
    quantized_model,
    rng,
    weights,
)
from snn_compile.ir import ann


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
