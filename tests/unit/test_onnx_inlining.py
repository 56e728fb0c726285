"""Functions that a model defines are replaced by their operators; hostile ones are refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_models import assert_same, evaluate_all, imported, ints, model, node, ops, refused
from snn_compile import inspect_against, memory
from snn_compile.errors import ModelError, UnsupportedError

RNG = np.random.default_rng(6)
IMPORTS = [helper.make_opsetid("", 13), helper.make_opsetid("mine", 1)]


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def function(name, inputs, outputs, nodes, attributes=(), defaults=(), imports=IMPORTS):
    return helper.make_function(
        "mine", name, inputs.split(), outputs.split(), nodes, imports, attributes, defaults
    )


def reference(op, inputs, outputs, **names):
    """An operator whose attributes are those of the call."""
    made = node(op, inputs, outputs)
    for name, outer in names.items():
        kind = onnx.AttributeProto.FLOAT if name in ("alpha", "epsilon") else 7
        made.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=outer, type=kind))
    return made


def calling(nodes, functions, shape=("N", 2, 6, 6), constants=None, outputs="y"):
    made = model(nodes, shape, constants, outputs)
    made.opset_import.append(helper.make_opsetid("mine", 1))
    made.functions.extend(functions)
    return made


BLOCK = function(
    "Block", "a k", "b",
    [
        reference("Conv", "a k", "c", pads="pads"), reference("LeakyRelu", "c", "l", alpha="slope"),
        node("Constant", "", "one", value_float=0.5), node("Add", "l one", "b"),
    ],
    ["pads"], [helper.make_attribute("slope", 0.25)],
)  # fmt: skip


def call(inputs, outputs, op="Block", **attributes):
    return node(op, inputs, outputs, domain="mine", **attributes)


def test_a_block_that_is_called_twice(tmp_path):
    nodes = [
        call("x k", "h", pads=[1] * 4), call("h k", "g", pads=[0] * 4, slope=0.5),
        node("GlobalAveragePool", "g", "y"),
    ]  # fmt: skip
    made = calling(nodes, [BLOCK], constants={"k": real(2, 2, 3, 3)})
    result = assert_same(made)
    origins = {one.origin.node for one in result.ann.graph if one.origin.op == "Conv"}
    assert len(origins) == 2
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    report = inspect_against(path)
    assert report.first is None
    assert {"Conv", "LeakyRelu"} <= {layer.origin.op for layer in report.layers}


def test_functions_inside_functions_and_what_they_pass_on():
    functions = [
        function("Pass", "a b", "b a2", [node("Relu", "a", "a2")]),
        function("Outer", "a", "c", [call("a a", "p q", "Pass"), node("Sub", "q p", "c")]),
        function("Maybe", "a b", "c", [node("Clip", "a b", "c")]),
    ]
    nodes = [call("x", "h", "Outer"), call("h", "i", "Maybe"), call("i", "y", "Outer")]
    x = real(2, 2, 6, 6)
    (found,) = evaluate_all(imported(calling(nodes, functions)), x)
    once = np.maximum(x, 0) - x  # onnxruntime refuses inputs that are passed on
    np.testing.assert_array_equal(found, np.maximum(once, 0) - once)


def test_results_that_nobody_reads():
    two = function("Two", "a", "b c", [node("Relu", "a", "b"), node("Neg", "a", "c")])
    result = assert_same(calling([call("x", "- y", "Two")], [two]))
    assert ops(result) == ["Affine"]


def test_names_that_meet():
    """A value of the model has the name that a value of the function would get."""
    one = function("One", "a", "b", [node("Relu", "a", "t"), node("Neg", "t", "b")])
    nodes = [node("Neg", "x", "h/t"), call("x", "h", "One"), node("Add", "h h/t", "y")]
    assert_same(calling(nodes, [one]))


def test_overloads():
    first, second = (function("F", "a", "b", [node(op, "a", "b")]) for op in ("Relu", "Neg"))
    second.overload = "other"
    other = call("h", "y", "F")
    other.overload = "other"
    made = calling([call("x", "h", "F"), other], [first, second])
    x = real(1, 2, 6, 6)
    np.testing.assert_array_equal(evaluate_all(imported(made), x)[0], -np.maximum(x, 0))


def doubling(depth):
    body = [call("a", "h", "F1"), call("h", "b", "F1")]
    functions = [function("F0", "a", "b", body)]
    for k in range(1, depth):
        body = [call("a", "h", f"F{k + 1}"), call("h", "b", f"F{k + 1}")]
        functions.append(function(f"F{k}", "a", "b", body))
    return [*functions, function(f"F{depth}", "a", "b", [node("Relu", "a", "b")])]


HOSTILE = {
    "doubled": (doubling(60), "operators"),
    "deep": (
        [function(f"F{k}", "a", "b", [call("a", "b", f"F{k + 1}")]) for k in range(500)],
        "64 deep",
    ),
    "itself": ([function("F0", "a", "b", [call("a", "b", "F0")])], "calls itself"),
    "in a circle": (
        [
            function("F0", "a", "b", [call("a", "b", "F1")]),
            function("F1", "a", "b", [call("a", "b", "F0")]),
        ],
        "calls itself",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_functions(name):
    functions, words = HOSTILE[name]
    error = refused(calling([call("x", "y", "F0")], functions))
    assert (type(error), error.code) == (ModelError, "too-large")
    assert words in error.message
    assert error.hint


def test_weights_that_multiply(monkeypatch):
    large = numpy_helper.from_array(np.zeros(1 << 16, np.float32))
    weights = function(
        "F", "a", "b", [node("Constant", "", "c", value=large), node("Relu", "a", "b")]
    )
    nodes = [call(f"h{k}" if k else "x", f"h{k + 1}", "F") for k in range(64)]
    made = calling([*nodes, node("Relu", "h64", "y")], [weights])
    imported(made)
    monkeypatch.setenv(memory.VARIABLE, str(8 << 20))
    error = refused(made)
    assert (error.code, type(error)) == ("too-large", ModelError)
    assert "8 MiB" in error.message


def test_another_operator_set():
    """ReduceMean of set 18 has its axes as an input."""
    newer = [helper.make_opsetid("", 18)]
    body = [node("ReduceMean", "a axes", "b")]
    later = function("F", "a axes", "b", body, imports=newer)
    error = refused(calling([call("x i", "y", "F")], [later], constants={"i": ints(1)}))
    assert (type(error), error.origin.op) == (UnsupportedError, "ReduceMean")
    assert_same(
        calling(
            [call("x", "y", "F")],
            [function("F", "a", "b", [node("Relu", "a", "b")], imports=newer)],
        )
    )


def test_too_many_inputs():
    error = refused(calling([call("x x x", "y")], [BLOCK]))
    assert isinstance(error, ModelError)
