"""Grids of quantized ONNX files: which operators may share one, and which integers may move."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from onnx_models import evaluate_all, imported, node, refused, session
from quantized_models import MICROSOFT, assert_within_a_step, inputs_of, pair, quantized_model
from snn_compile.codings.graded import Graded
from snn_compile.errors import CompileErrors, UnsupportedError
from snn_compile.ir.spiking import GradedNeurons, PiecewiseLinearNeurons

STEPS = {
    "s1": (0.03, "float32"),
    "z1": (120, "uint8"),
    "s2": (0.05, "float32"),
    "z2": (20, "uint8"),
}
CHANNELS = [0.1, 0.01, 0.03]


def by_channel(source, target):
    return [
        node("QuantizeLinear", f"{source} s z", f"{target}_q", axis=1),
        node("DequantizeLinear", f"{target}_q s z", target, axis=1),
    ]


def assert_close(made, step):
    """Equal, but for a few sums that fall on either side of the border of two steps."""
    x = inputs_of(made) * 3
    (expected,) = session(made).run(None, {"x": x})
    (actual,) = evaluate_all(imported(made), x)
    apart = np.abs(actual - expected)
    assert apart.max() < 1.01 * step
    assert (apart > 0.01 * step).mean() < 0.02


@pytest.mark.parametrize("op", ["Relu", "MaxPool", "Identity"])
def test_the_input_has_only_one_grid(op):
    more = {"kernel_shape": [2, 2]} if op == "MaxPool" else {}
    nodes = [*pair("x", "a", "s1", "z1"), node(op, "a", "b", **more), *pair("b", "y", "s2", "z2")]
    assert_within_a_step(quantized_model(nodes, STEPS, opset=13), 0.05)


def test_a_product_has_no_limits_of_its_own():
    nodes = [
        node("QuantizeLinear", "x s1 z1", "q"),
        node("LeakyRelu", "x", "l"),
        node("QuantizeLinear", "l s1 z1", "p"),
        node("QLinearMul", "q s1 z1 p s1 z1 s2 z2", "u", domain=MICROSOFT),
        node("DequantizeLinear", "u s2 z2", "y"),
    ]
    constants = {**STEPS, "z2": (200, "uint8")}
    assert_close(quantized_model(nodes, constants, opset=13), 0.05)


@pytest.mark.parametrize("zeros", [[0, 0, 0], [155, 155, 155], [155, 10, 0]])
@pytest.mark.parametrize("op", ["Identity", "Relu", "Clip"])
def test_a_grid_of_each_channel_has_ends_of_each_channel(op, zeros):
    constants = {
        "s": (CHANNELS, "float32"),
        "z": (zeros, "uint8"),
        "low": (0.0, "float32"),
        "high": (6.0, "float32"),
    }
    nodes = [node(op, "x low high" if op == "Clip" else "x", "c"), *by_channel("c", "y")]
    assert_close(quantized_model(nodes, constants, opset=13), 0.1)


def test_a_grid_of_all_channels_behind_those_of_each():
    constants = {"s": ([0.01, 0.02, 0.05], "float32"), "z": ([0, 0, 0], "uint8")}
    constants |= {"t": (0.01, "float32"), "u": (0, "uint8")}
    nodes = [
        node("Relu", "x", "r"),
        *by_channel("r", "p"),
        node("Flatten", "p", "f"),
        *pair("f", "y", "t", "u"),
    ]
    assert_close(quantized_model(nodes, constants, opset=13), 0.01)


@pytest.mark.parametrize(("kind", "zero"), [("uint8", 255), ("int8", 127)])
@pytest.mark.parametrize("op", ["Identity", "Relu", "Sigmoid"])
def test_a_grid_without_positive_values(op, kind, zero):
    constants = {"s": (0.5, "float32"), "z": (zero, kind)}
    made = quantized_model([node(op, "x", "r"), *pair("r", "y", "s", "z")], constants, opset=13)
    assert_close(made, 0.5)


@pytest.mark.parametrize(("levels", "kind"), [(155, PiecewiseLinearNeurons), (127, GradedNeurons)])
def test_payloads_end_with_the_grid(levels, kind):
    place = {"id": "p", "inputs": ("s",), "shape": (2, 1, 1), "origin": None}
    coding = Graded(8).on_levels(levels)
    made = coding.neurons(place, scale=np.ones(2), bias=np.zeros((2, 1, 1)))
    assert type(made) is kind
    assert (made.high if kind is PiecewiseLinearNeurons else made.levels) == levels
    relay = coding.neurons(place, scale=np.ones(2), bias=np.zeros((2, 1, 1)), relay=True)
    assert isinstance(relay, GradedNeurons)


# Integers of each channel.


def moved(*nodes, **constants):
    made = {"s": (CHANNELS, "float32"), "z": ([1, 2, 3], "int8"), **constants}
    first = node("QuantizeLinear", "x s z", "q", axis=1)
    output_type = TensorProto.INT8 if nodes[-1].op_type == "Flatten" else TensorProto.FLOAT
    return quantized_model([first, *nodes], made, ("N", 3, 3, 3), output_type=output_type)


MOVED = {
    "gathered": moved(
        node("Gather", "q i", "g", axis=1),
        node("DequantizeLinear", "g s z", "y", axis=1),
        i=([2, 0, 1], "int64"),
    ),
    "flattened": moved(node("Flatten", "q", "y")),
    "padded": moved(
        node("Pad", "q p one", "w"),
        node("DequantizeLinear", "w s z", "y", axis=1),
        p=([0, 0, 1, 1, 0, 0, 1, 1], "int64"),
        one=(1, "int8"),
    ),
    "along another axis": moved(node("DequantizeLinear", "q s z", "y", axis=2)),
    "with one scale": moved(
        node("DequantizeLinear", "q t u", "y"), t=(0.01, "float32"), u=(0, "int8")
    ),
}


@pytest.mark.parametrize("case", MOVED)
def test_integers_with_scales_of_their_channels_stay_there(case):
    error = refused(MOVED[case])
    assert isinstance(error, UnsupportedError)
    assert "scale for each channel" in error.message


def test_integers_with_scales_of_their_channels_are_pooled():
    made = moved(
        node("MaxPool", "q", "m", kernel_shape=[2, 2]),
        node("DequantizeLinear", "m s z", "y", axis=1),
    )
    assert_close(made, 0.1)


# Readers of a dynamic quantization.

DYNAMIC = {
    "w": (np.arange(24).reshape(6, 4) - 9, "int8"),
    "ws": (0.01, "float32"),
    "wz": (0, "int8"),
}
READERS = {
    "no zero point": [node("MatMulInteger", "q w", "i"), *[node("Mul", "f m", "y")]],
    "no scale": [node("MatMulInteger", "q w z wz", "i"), node("Mul", "f ws", "y")],
    "a scale alone": [node("Mul", "x s", "y")],
    "another scale": [node("DequantizeLinear", "q ws z", "y")],
    "a rectifier": [node("Cast", "q", "c", to=1), node("Relu", "c", "y")],
    "fused, no zero point": [node("MatMulIntegerToFloat", "q w s ws", "y", domain=MICROSOFT)],
}


@pytest.mark.parametrize("case", READERS)
def test_a_dynamic_quantization_is_read_as_a_whole(case):
    nodes = [node("DynamicQuantizeLinear", "x", "q s z"), *READERS[case]]
    if "i" in {name for one in nodes for name in one.output}:
        nodes[-1:-1] = [node("Cast", "i", "f", to=1), node("Mul", "s ws", "m")]
    error = refused(quantized_model(nodes, DYNAMIC, ("N", 6), 13))
    first = error.errors[0] if isinstance(error, CompileErrors) else error
    assert first.origin.op == "DynamicQuantizeLinear"
    assert "static" in first.hint


def test_a_moved_dynamic_quantization_is_read_in_parts():
    """The value is flattened as integers, and the scales follow one after another."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("Flatten", "q", "flat"),
        node("MatMulInteger", "flat w z wz", "i"),
        node("Cast", "i", "f", to=1),
        node("Mul", "ws f", "g"),
        node("Mul", "g s", "y"),
    ]
    made = quantized_model(nodes, DYNAMIC, ("N", 6), 13)
    x = inputs_of(made)
    real = x @ (DYNAMIC["w"][0] * np.float32(0.01))
    np.testing.assert_allclose(evaluate_all(imported(made), x)[0], real, rtol=1e-4, atol=1e-4)


# Arithmetic on integers.


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        ("Add", TensorProto.UINT8),
        ("Mul", TensorProto.UINT8),
        ("Sub", TensorProto.UINT8),
        ("Mul", TensorProto.INT32),  # sums in 32 bits: test_onnx_whole_sums.py
    ],
)
def test_arithmetic_on_integers(op, kind):
    """It wraps around, or its result is rounded later."""
    nodes = [
        node("QuantizeLinear", "x s1 z1", "q"),
        node("Cast", "q", "i", to=kind),
        node(op, "i i", "a"),
        node("Cast", "a", "y", to=TensorProto.FLOAT),
    ]
    assert refused(quantized_model(nodes, STEPS, opset=14)).code == "integer-arithmetic"


@pytest.mark.parametrize("op", ["Mul", "ReduceMean"])
def test_arithmetic_on_a_product_of_integers(op):
    nodes = [
        node("QuantizeLinear", "x s1 z1", "q"),
        node("MatMulInteger", "q w z1", "i"),
        node(op, "i i" if op == "Mul" else "i", "j"),
        node("Cast", "j", "y", to=TensorProto.FLOAT),
    ]
    error = refused(quantized_model(nodes, {**STEPS, **DYNAMIC}, ("N", 6), 13))
    assert error.code == "integer-arithmetic"
    assert error.origin.node == "j"


def test_integers_of_a_product_are_rectified():
    nodes = [
        node("QuantizeLinear", "x s1 z1", "q"),
        node("MatMulInteger", "q w z1", "i"),
        node("Relu", "i", "j"),
        node("Cast", "j", "y", to=TensorProto.FLOAT),
    ]
    assert_close(quantized_model(nodes, {**STEPS, **DYNAMIC}, ("N", 6), 14), 20.0)


def test_blocks_take_no_more_memory_than_the_weights(monkeypatch):
    monkeypatch.setattr(np, "repeat", None)
    constants = {"w": (np.ones((3, 8, 8)), "int8"), "s": (np.ones((1, 8, 8)), "float32")}

    def of(block):
        first = node("DequantizeLinear", "w s", "wd", axis=0, block_size=block)
        return quantized_model([first, node("Mul", "x wd", "y")], constants)

    assert imported(of(2_000_000))
    assert refused(of(-1)).code == "invalid-model"
    assert refused(of(2)).code == "invalid-model"
