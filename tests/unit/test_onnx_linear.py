"""Layers with weights, imported and compared with onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_models import NEWEST, OPSETS, assert_same, imported, model, node, ops

RNG = np.random.default_rng(1)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_conv(data):
    rank = data.draw(st.integers(1, 2))

    def pick(low, high):
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    groups = data.draw(st.sampled_from([1, 2, 4]))
    kernel, strides, dilations = pick(1, 3), pick(1, 3), pick(1, 2)
    attributes = {"strides": strides, "group": groups}
    mode = data.draw(st.sampled_from(["pads", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if mode == "pads":
        attributes["pads"] = pick(0, 2) + pick(0, 2)
    else:
        attributes["auto_pad"] = mode
    if not mode.startswith("SAME"):
        attributes["dilations"] = dilations
    size = [n + 5 for n in pick(0, 4)]
    bias = data.draw(st.booleans())
    constants = {"w": real(8, 4 // groups, *kernel)} | ({"b": real(8)} if bias else {})
    conv = node("Conv", " ".join(["x", *constants]), "y", **attributes)
    assert_same(model([conv], ("N", 4, *size), constants, opset=data.draw(st.sampled_from(OPSETS))))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("size", "stride"), [(7, 2), (8, 2), (9, 3), (5, 1)])
def test_conv_same_with_even_kernels(mode, size, stride):
    conv = node("Conv", "x w", "y", auto_pad=mode, strides=[stride, 1])
    assert_same(model([conv], ("N", 1, size, size), {"w": real(2, 1, 4, 2)}))


def test_conv_1d_is_lifted_to_two_dimensions():
    conv = node("Conv", "x w b", "y", name="c1", pads=[2, 0], strides=[2])
    result = assert_same(model([conv], ("N", 2, 9), {"w": real(4, 2, 3), "b": real(4)}))
    assert [n.id for n in result.ann.graph] == ["x", "c1.lift", "c1", "c1.lower", "y"]
    assert result.ann.graph["c1"].shape == (4, 1, 5)
    assert all(n.origin.node == "c1" and n.origin.op == "Conv" for n in list(result.ann.graph)[1:4])


def test_depthwise_with_multiplier():
    assert_same(model([node("Conv", "x w", "y", group=3)], constants={"w": real(6, 1, 3, 3)}))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("shape", [None, (), (5,), (1, 5), (1, 1), (1,)])
def test_gemm(opset, trans_b, shape):
    constants = {"w": real(5, 4) if trans_b else real(4, 5)}
    if shape is not None or opset < 11:  # C is optional since opset 11
        shape = shape or ()
        constants["c"] = real(*shape)
    gemm = node("Gemm", " ".join(["x", *constants]), "y", transB=trans_b, alpha=0.5, beta=2.0)
    result = assert_same(model([gemm], ("N", 4), constants, opset=opset))
    assert ops(result) == ["Dense"]


@pytest.mark.parametrize("batch", [1, 4, "N"])
def test_gemm_with_a_bias_for_every_row_of_a_fixed_batch(batch):
    bias = np.repeat(real(1, 5), 4 if batch == 4 else 1, axis=0)
    made = model([node("Gemm", "x w c", "y")], (batch, 3), {"w": real(3, 5), "c": bias})
    assert_same(made)


@pytest.mark.parametrize("opset", [7, 9, 13, NEWEST])
@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (("N", 6), (6, 4), ["Dense"]),
        (("N", 6), (6, 1), ["Dense"]),
        (("N", 1, 6), (6, 4), ["Reshape", "Dense", "Reshape"]),
        (("N", 5, 6), (6, 4), ["Transpose", "Reshape", "Conv", "Reshape", "Transpose"]),
        (("N", 5, 6), (1, 6, 4), ["Transpose", "Reshape", "Conv", "Reshape", "Transpose"]),
        (("N", 2, 5, 6), (6, 4), ["Transpose", "Reshape", "Conv", "Reshape", "Transpose"]),
        (("N", 1, 1, 6), (1, 1, 6, 4), ["Reshape", "Dense", "Reshape"]),
    ],
)
def test_mat_mul(opset, left, right, expected):
    made = model([node("MatMul", "x w", "y")], left, {"w": real(*right)}, opset=opset)
    assert ops(assert_same(made)) == expected


def test_mat_mul_from_the_left():
    made = model([node("MatMul", "w x", "y")], ("N", 5, 6), {"w": real(4, 5)})
    assert ops(assert_same(made)) == ["Reshape", "Conv", "Reshape"]


@pytest.mark.parametrize(
    ("operator", "shape", "weight"),
    [
        (node("MatMul", "x w", "y"), ("N", 3, 1), (1,)),
        (node("Einsum", "w x", "y", equation="c,abc->ab"), ("N", 2, 1), (1,)),
        (node("Einsum", "x w", "y", equation="abc,->acb"), ("N", 2, 3), ()),
    ],
)
def test_constants_of_a_single_number_are_a_factor(operator, shape, weight):
    assert_same(model([operator], shape, {"w": real(*weight)}))


def batch_norm_constants(channels):
    names = {"s": real(channels), "b": real(channels), "m": real(channels)}
    return names | {"v": np.abs(real(channels)) + np.float32(0.1)}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("shape", [("N", 3), ("N", 3, 4), ("N", 3, 4, 5)])
def test_batch_normalization(opset, shape):
    norm = node("BatchNormalization", "x s b m v", "y", epsilon=0.01)
    result = assert_same(model([norm], shape, batch_norm_constants(3), opset=opset))
    assert ops(result) == ["BatchNorm"]


def test_parameters_become_float32_and_float64_stays():
    half = {"w": real(4, 3).astype(np.float16)}
    made = model([node("MatMul", "x w", "y")], ("N", 4), half, elem_type=10, output_type=10)
    (dense,) = [n for n in imported(made).ann.graph if type(n).__name__ == "Dense"]
    assert dense.weight.dtype == dense.bias.dtype == np.float32
    double = {"w": RNG.normal(size=(4, 3))}
    made = model([node("MatMul", "x w", "y")], ("N", 4), double, elem_type=11, output_type=11)
    (dense,) = [n for n in imported(made).ann.graph if type(n).__name__ == "Dense"]
    assert dense.weight.dtype == np.float64
    np.testing.assert_array_equal(dense.weight, double["w"].T)


def test_constants_that_are_listed_as_inputs_are_not_inputs():
    made = model(
        [node("Gemm", "x w b", "y")],
        ("N", 4),
        {"w": real(4, 3), "b": real(3)},
        constants_are_inputs=True,
        opset=7,
    )
    assert imported(made).ann.input.id == "x"
