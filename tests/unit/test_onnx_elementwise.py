"""Activations and arithmetic, imported and compared with onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import NEWEST, OPSETS, assert_same, imported, model, node, ops

RNG = np.random.default_rng(2)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("shape", [("N", 3, 4, 5), ("N", 7), (4, 2, 3)])
def test_relu(opset, shape):
    assert ops(assert_same(model([node("Relu", "x", "y")], shape, opset=opset))) == ["Relu"]


@pytest.mark.parametrize("order", ["x z", "z x"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1)])
def test_maximum_with_zero_is_a_rectifier(order, shape):
    zero = {"z": np.zeros(shape, np.float32)}
    assert ops(assert_same(model([node("Max", order, "y")], constants=zero))) == ["Relu"]


def test_cast_to_the_type_of_another_value_is_nothing():
    made = model([node("CastLike", "x c", "y")], constants={"c": np.float32(1)}, opset=NEWEST)
    assert ops(assert_same(made)) == []


def test_expand_to_its_own_shape_is_nothing():
    constants = {"s": np.array([1, 1, 8])}
    assert ops(assert_same(model([node("Expand", "x s", "y")], constants=constants))) == []


@pytest.mark.parametrize("high", [6.0, 0.5, None, np.finfo(np.float32).max, np.inf])
@pytest.mark.parametrize("opset", OPSETS)
def test_clip(opset, high):
    if opset < 11:
        limits = {"min": 0.0} | ({} if high is None else {"max": high})
        result = assert_same(model([node("Clip", "x", "y", **limits)], opset=opset))
    else:
        constants = {"low": np.float32(0)} | ({} if high is None else {"high": np.float32(high)})
        made = model(
            [node("Clip", " ".join(["x", *constants]), "y")], constants=constants, opset=opset
        )
        result = assert_same(made)
    assert result.ann.graph["y"].cap == (high if high in (6.0, 0.5) else None)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("slope", [0.1, 0.0, 2.0, -0.5])
def test_leaky_relu(opset, slope):
    result = assert_same(model([node("LeakyRelu", "x", "y", "act", alpha=slope)], opset=opset))
    expected = ["Relu", "Affine", "Relu", "Affine", "Add"] if slope else ["Relu"]
    assert ops(result) == expected
    assert "act" in result.ann.graph


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("shape", [(3, 1, 1), (1,), (3, 8, 8), (1, 3, 1, 1)])
def test_prelu(opset, shape):
    assert_same(
        model([node("PRelu", "x slope", "y")], constants={"slope": real(*shape)}, opset=opset)
    )


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("order", ["x c", "c x"])
@pytest.mark.parametrize("shape", [(), (1,), (8,), (3, 1, 1), (1, 3, 1, 1), (3, 8, 8)])
def test_arithmetic_with_a_constant(opset, op, order, shape):
    if (op, order) == ("Div", "c x"):
        return
    result = assert_same(model([node(op, order, "y")], constants={"c": real(*shape)}, opset=opset))
    assert ops(result) == ["Affine"]
    (affine,) = [n for n in result.ann.graph if n.id == "y"]
    assert affine.scale.ndim == affine.shift.ndim == 3


@pytest.mark.parametrize("op", ["Add", "Sub"])
def test_two_activations(op):
    made = model([node("Relu", "x", "r"), node(op, "x r", "y", "join")])
    result = assert_same(made)
    assert ops(result) == (["Relu", "Add"] if op == "Add" else ["Relu", "Affine", "Add"])


@pytest.mark.parametrize("opset", [8, 13])
def test_sum(opset):
    nodes = [node("Relu", "x", "r"), node("Neg", "x", "n"), node("Sum", "x r c n", "y")]
    result = assert_same(model(nodes, constants={"c": real(3, 1, 1)}, opset=opset))
    assert ops(result) == ["Relu", "Affine", "Add", "Affine"]
    assert ops(assert_same(model([node("Sum", "x", "s"), node("Relu", "s", "y")]))) == ["Relu"]


def test_a_value_added_to_itself_is_scaled():
    assert ops(assert_same(model([node("Add", "x x", "y")]))) == ["Affine"]
    made = model([node("Relu", "x", "r"), node("Sum", "x x r x c", "y")], constants={"c": real(8)})
    assert ops(assert_same(made)) == ["Relu", "Affine", "Add", "Affine"]
    assert_same(model([node("Sub", "x x", "y")]))


@pytest.mark.parametrize("opset", OPSETS)
def test_dropout_is_nothing(opset):
    assert ops(assert_same(model([node("Dropout", "x", "y")], opset=opset))) == []


def test_dropout_with_a_ratio_and_no_training():
    made = model(
        [node("Dropout", "x r t", "d"), node("Relu", "d", "y")],
        constants={"r": np.float32(0.5), "t": np.array(False)},
    )
    assert ops(assert_same(made)) == ["Relu"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("tail", [[], [node("Identity", "s", "y")], [node("Flatten", "s", "y")]])
def test_final_softmax_is_dropped_with_a_finding(opset, op, tail):
    nodes = [node("Relu", "x", "r"), node(op, "r", "s" if tail else "y", "prob", axis=1), *tail]
    result = imported(model(nodes, ("N", 5), opset=opset))
    assert ops(result) == ["Relu"]
    assert [(o.id, o.shape) for o in result.ann.outputs] == [("y", (5,))]
    (finding,) = result.findings
    assert (finding.code, finding.origin.node, finding.warning) == (
        "softmax-dropped",
        "prob",
        False,
    )


def test_final_arg_max_is_dropped_with_a_finding():
    nodes = [
        node("Relu", "x", "r"),
        node("Softmax", "r", "p", axis=1),
        node("ArgMax", "p", "y", axis=1, keepdims=0),
    ]
    result = imported(model(nodes, ("N", 5), output_type=7))
    assert [f.code for f in result.findings] == ["softmax-dropped", "argmax-dropped"]
    assert ops(result) == ["Relu"]


def test_float_casts_are_nothing():
    nodes = [node("Cast", "x", "d", to=11), node("Cast", "d", "f", to=1), node("Relu", "f", "y")]
    assert ops(assert_same(model(nodes, opset=NEWEST))) == ["Relu"]
