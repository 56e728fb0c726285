"""Elementwise operators become one function of one activation; compared with onnxruntime."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from onnx import helper

from onnx_models import NEWEST, assert_same, imported, model, node, ops, session
from snn_compile.errors import CompileError
from snn_compile.ir import ann
from snn_compile.ir.expression import ends, evaluate, number
from snn_compile.numerics import special
from snn_compile.sim.ann import evaluate as ann_values

F0 = np.float32(0)
SINGLE = {
    "sigmoid": node("Sigmoid", "x", "y"),
    "hard-sigmoid": node("HardSigmoid", "x", "y"),
    "hard-sigmoid-stated": node("HardSigmoid", "x", "y", alpha=0.4, beta=0.3),
    "tanh": node("Tanh", "x", "y"),
    "hard-swish": node("HardSwish", "x", "y"),
    "mish": node("Mish", "x", "y"),
    "gelu": node("Gelu", "x", "y"),
    "gelu-tanh": node("Gelu", "x", "y", approximate="tanh"),
    "erf": node("Erf", "x", "y"),
    "elu": node("Elu", "x", "y", alpha=0.7),
    "selu": node("Selu", "x", "y"),
    "celu": node("Celu", "x", "y", alpha=1.7),
    "softplus": node("Softplus", "x", "y"),
    "softsign": node("Softsign", "x", "y"),
    "abs": node("Abs", "x", "y"),
    "exp": node("Exp", "x", "y"),
    "round": node("Round", "x", "y"),
    "floor": node("Floor", "x", "y"),
    "ceil": node("Ceil", "x", "y"),
    "sign": node("Sign", "x", "y"),
    "sin": node("Sin", "x", "y"),
    "cos": node("Cos", "x", "y"),
    "thresholded": node("ThresholdedRelu", "x", "y", alpha=0.4),
    "shrink": node("Shrink", "x", "y", lambd=0.6, bias=0.25),
    "square": node("Mul", "x x", "y"),
    "clip": node("Clip", "x a b", "y"),
    "clip-below": node("Clip", "x a", "y"),
    "clip-above": node("Clip", "x - b", "y"),
    "max": node("Max", "x b", "y"),
    "min": node("Min", "a x", "y"),
    "cube": node("Pow", "x three", "y"),
    "of-a-base": node("Pow", "three x", "y"),
}
CONSTANTS = {
    "a": np.float32(-0.5),
    "b": np.float32(0.75),
    "half": np.float32(0.5),
    "one": np.float32(1),
    "three": np.float32(3),
    "six": np.float32(6),
    "root": np.float32(2**0.5),
    "cubic": np.float32(0.044715),
    "scale": np.float32((2 / np.pi) ** 0.5),
    "slope": np.float32([0.1, 0.4, 2.0]).reshape(3, 1, 1),
    "far": np.float32(9),
}
CHAINS = {
    "silu": [node("Sigmoid", "x", "s"), node("Mul", "x s", "y")],
    "hard-swish": [
        node("Add", "x three", "a1"),
        node("Clip", "a1 zero six", "c"),
        node("Div", "c six", "d"),
        node("Mul", "d x", "y"),
    ],
    "gelu": [
        node("Div", "x root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "p"),
        node("Mul", "x p", "m"),
        node("Mul", "m half", "y"),
    ],
    "gelu-tanh": [
        node("Pow", "x three", "p"),
        node("Mul", "p cubic", "c"),
        node("Add", "x c", "s"),
        node("Mul", "s scale", "t"),
        node("Tanh", "t", "h"),
        node("Add", "h one", "q"),
        node("Mul", "x half", "w"),
        node("Mul", "w q", "y"),
    ],
    "mish": [node("Softplus", "x", "s"), node("Tanh", "s", "t"), node("Mul", "x t", "y")],
    "log-sigmoid": [node("Sigmoid", "x", "s"), node("Log", "s", "y")],
    "tanh-shrink": [node("Tanh", "x", "t"), node("Sub", "x t", "y")],
    "softsign": [node("Abs", "x", "a1"), node("Add", "a1 one", "p"), node("Div", "x p", "y")],
    "reciprocal": [node("Exp", "x", "e"), node("Add", "e one", "p"), node("Reciprocal", "p", "y")],
    "divisor": [node("Exp", "x", "e"), node("Add", "e one", "p"), node("Div", "half p", "y")],
    "root": [node("Abs", "x", "a1"), node("Sqrt", "a1", "y")],
    "of-channels": [
        node("Mul", "x slope", "m"),
        node("Sigmoid", "m", "s"),
        node("Mul", "x s", "y"),
    ],
    "maximum": [node("Tanh", "x", "t"), node("Neg", "x", "n"), node("Max", "t n", "y")],
    "after-a-rectifier": [node("Relu", "x", "r"), node("Tanh", "r", "y")],
    "rectified": [node("Tanh", "x", "t"), node("Relu", "t", "y")],
    "where": [
        node("Greater", "x b", "g"),
        node("Less", "x a", "l"),
        node("Or", "g l", "o"),
        node("Where", "o x zero", "y"),
    ],
    "where-not": [
        node("LessOrEqual", "x b", "g"),
        node("Not", "g", "n"),
        node("Cast", "n", "f", to=1),
        node("Mul", "f x", "y"),
    ],
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_operator_is_one_function(name):
    made = model([SINGLE[name]], constants=_read([SINGLE[name]]), opset=NEWEST)
    assert ops(assert_same(made)) == ["Function"]


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_one_function(name):
    made = model(CHAINS[name], constants=_read(CHAINS[name]), opset=NEWEST)
    found = ops(assert_same(made))
    assert [kind for kind in found if kind != "Affine"] == ["Function"]


def _read(nodes):
    known = {**CONSTANTS, "zero": F0}
    return {name: known[name] for each in nodes for name in each.input if name in known}


@pytest.mark.parametrize("op", ["Gelu", "FastGelu", "QuickGelu", "BiasGelu"])
def test_what_onnxruntimes_optimizer_makes(op):
    biased = {"BiasGelu": "x c"}.get(op, "x")
    constants = {"c": np.linspace(-1, 1, 5, dtype=np.float32)} if op == "BiasGelu" else {}
    made = model([node(op, biased, "y", domain="com.microsoft")], ("N", 5), constants)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert ops(assert_same(made, rtol=1e-3)) == ["Function"]


def test_a_sum_with_a_linear_layer_between_is_none():
    weight = np.ones((3, 3, 1, 1), np.float32)
    nodes = [node("Tanh", "x", "t"), node("Conv", "t w", "c"), node("Add", "c x", "y")]
    found = ops(assert_same(model(nodes, constants={"w": weight})))
    assert found == ["Function", "Conv", "Add"]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Conv", "x w", "c"), node("Div", "c x", "y")], "dividing by an activation"),
        (
            [node("Conv", "x w", "c"), node("Greater", "c x", "g"), node("Cast", "g", "y", to=1)],
            "compares two",
        ),
        ([node("Pow", "x slope", "y")], "exponents"),
    ],
)
def test_what_is_no_function_of_one_activation(nodes, words):
    constants = {"w": np.ones((3, 3, 1, 1), np.float32), "slope": CONSTANTS["slope"]}
    used = {k: v for k, v in constants.items() if any(k in each.input for each in nodes)}
    with pytest.raises(CompileError) as caught:
        imported(model(nodes, constants=used, opset=NEWEST))
    assert words in str(caught.value)


def test_a_constant_beside_an_input_of_one_axis():
    """Without a batch, a sample of it is one number."""
    nodes = [node("Less", "x low", "l"), node("Cast", "l", "y", to=1)]
    result = imported(model(nodes, (3,), {"low": np.array(0.25, np.float32)}))
    x = np.random.default_rng(0).normal(size=(8, *result.ann.input.shape))
    assert np.array_equal(ann_values(result.ann, x).ravel(), (x < 0.25).ravel())


def test_a_long_chain_is_cut():
    names = ["x", *(f"v{k}" for k in range(400)), "y"]
    made = model([node("Tanh", a, b) for a, b in pairwise(names)], ("N", 3))
    result = imported(made)
    assert 2 <= ops(result).count("Function") <= 4
    x = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    expected = session(made).run(None, {"x": x})[0]
    value = x.T.astype(np.float64)
    for each in result.ann.graph:
        if isinstance(each, ann.Function):
            value = evaluate(each.expression, value)
    np.testing.assert_allclose(value.T, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", True),
        ("tanh", False),
        ("softplus", True),
        ("square", True),
        ("abs", True),
        ("clip-below", False),
        ("max", True),
        ("gelu", False),
    ],
)
def test_bounds_tell_which_functions_are_never_negative(name, expected):
    made = model([SINGLE[name]], constants=_read([SINGLE[name]]), opset=NEWEST)
    (function,) = (n for n in imported(made).ann.graph if isinstance(n, ann.Function))
    assert function.non_negative == expected
    low, high = ends(function.expression)
    y = evaluate(function.expression, np.linspace(-9, 9, 1001)[None])
    assert low <= y.min()
    assert y.max() <= high


@pytest.mark.parametrize("base", [0.5, 0.104976244, 0.14976244])
def test_a_base_has_the_same_logarithm_on_every_machine(base):
    made = model([node("Pow", "b x", "y")], ("N", 3), {"b": np.float32(base)})
    (function,) = (n for n in imported(made).ann.graph if isinstance(n, ann.Function))
    factor = function.expression.operands[0].operands[1]
    assert factor == number(special.log(np.float32(base)))
