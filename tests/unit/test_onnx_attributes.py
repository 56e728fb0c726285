"""What a file states of an operator is read, known to mean nothing, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import defs, helper
from onnx.reference import ReferenceEvaluator

from onnx_models import evaluate_all, imported, model, node, ops, refused
from snn_compile.errors import CompileError, ModelError, UnsupportedError
from snn_frontends.onnx import frontend, operators
from snn_frontends.onnx.operators import OPERATORS

IMAGE = ("N", 4, 8, 8)
K = [2, 2]


def real(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def test_the_newest_operator_set_is_the_one_that_is_pinned():
    """Whoever raises the pin looks at what has changed in every operator."""
    assert operators.NEWEST_OPSET == defs.onnx_opset_version()
    for name, operator in OPERATORS.items():
        assert operator.since == defs.get_schema(name).since_version, name


@pytest.mark.parametrize(("stated", "refuses"), [(2, True), (1, False)])
def test_an_attribute_that_its_handler_does_not_read(monkeypatch, stated, refuses):
    def careless(call):
        return call.tensor()

    monkeypatch.setitem(OPERATORS, "Flatten", replace(OPERATORS["Flatten"], handler=careless))
    made = model([node("Flatten", "x", "y", name="bad", axis=stated)], IMAGE)
    if not refuses:
        assert ops(imported(made)) == []
        return
    error = refused(made)
    assert (type(error), error.code) == (UnsupportedError, "unsupported-op")
    assert (error.origin.node, error.origin.op) == ("bad", "Flatten")
    assert "'axis' is 2" in error.message
    assert "1" in error.hint


def test_an_attribute_without_a_default(monkeypatch):
    def careless(call):
        return call.tensor()

    monkeypatch.setitem(OPERATORS, "Concat", replace(OPERATORS["Concat"], handler=careless))
    assert "'axis' is 1" in refused(model([node("Concat", "x", "y", axis=1)], IMAGE)).message


@pytest.mark.parametrize("folded", [False, True])
def test_an_attribute_that_no_version_has(folded):
    source = "c" if folded else "x"
    nodes = [node("Relu", source, "a", name="bad", consumed_inputs=[0]), node("Add", "x a", "y")]
    error = refused(model(nodes, IMAGE, {"c": real(8)}))
    assert (type(error), error.origin.node) == (ModelError, "bad")
    assert "consumed_inputs" in error.message
    of_a_shape = [node("Shape", "x", "s", name="bad", extra=1), node("Reshape", "x s", "y")]
    assert "extra" in refused(model(of_a_shape, IMAGE)).message


def test_an_attribute_stated_twice():
    bad = node("Flatten", "x", "y", name="bad", axis=1)
    bad.attribute.append(helper.make_attribute("axis", 2))
    assert isinstance(refused(model([bad], IMAGE)), ModelError)


@pytest.mark.parametrize("op", sorted({*OPERATORS} - {"Upsample"}))  # which is deprecated
def test_an_operator_that_has_changed(monkeypatch, op):
    """By name, whatever the version of the file; unchanged ones pass."""
    since = OPERATORS[op].since
    monkeypatch.setitem(OPERATORS, op, replace(OPERATORS[op], since=since - 1))
    schema = defs.get_schema(op)
    inputs = " ".join(["x"] * max(schema.min_input, 1))
    values = {"blocksize": 2, "axis": 1, "to": 1, "kernel_shape": [2, 2], "equation": "a->a"}
    values |= {"size": 3, "num_groups": 1}
    required = {
        name: values[name] for name, attribute in schema.attributes.items() if attribute.required
    }
    made = model([node(op, inputs, "y", name="bad", **required)], IMAGE, opset=28)
    error = refused(made)
    assert isinstance(error, UnsupportedError)
    assert f"operator set {since}" in error.message
    assert (error.origin.op, error.origin.node) == (op, "bad")
    other = "Neg" if op != "Neg" else "Relu"
    assert imported(model([node(other, "x", "y")], IMAGE, opset=28)).n_nodes == 1


def test_a_file_newer_than_what_was_tested(monkeypatch):
    monkeypatch.setattr(operators, "NEWEST_OPSET", 12)
    (finding,) = imported(model([node("Relu", "x", "y")])).findings
    assert (finding.code, finding.warning) == ("newer-opset", True)
    assert "12" in finding.message
    assert frontend.OLDEST_OPSET < 12


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("op", ["SpaceToDepth", "DepthToSpace"])
def test_the_order_within_a_block(op, mode):
    made = model([node(op, "x", "y", blocksize=2, mode=mode)], IMAGE, opset=28)
    x = np.random.default_rng(0).normal(size=(2, *IMAGE[1:])).astype(np.float32)
    (expected,) = ReferenceEvaluator(made).run(None, {"x": x})
    (found,) = evaluate_all(imported(made), x)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (node("MaxPool", "x", "y", kernel_shape=K, auto_pad="VALID", pads=[1] * 4), "pads"),
        (node("MaxPool", "x", "y", kernel_shape=K, auto_pad="SAME_LOWER", pads=[1] * 4), "pads"),
        (node("Split", "x", "y z", axis=1, num_outputs=3), "outputs"),
        (node("DepthToSpace", "x", "y", blocksize=2, mode="ABC"), "mode"),
    ],
)
def test_what_contradicts_itself(bad, said):
    error = refused(model([bad], IMAGE, opset=18))
    assert isinstance(error, ModelError)
    assert said in error.message


@pytest.mark.parametrize(
    "fine",
    [
        node("MaxPool", "x", "y", kernel_shape=[2, 2], auto_pad="VALID", pads=[0] * 4),
        node("MaxPool", "x", "y", kernel_shape=[2, 2], storage_order=1),
        node("ReduceMean", "x axes", "y", noop_with_empty_axes=1),
        node("Cast", "x", "y", to=1, saturate=0),
        node("Split", "x", "y z", axis=1, num_outputs=2),
        node("ArgMax", "x", "y", axis=1, keepdims=0, select_last_index=1),
        node("BatchNormalization", "x s s s s", "y", momentum=0.5),
        node("Dropout", "x", "y", seed=3),
    ],
)
def test_what_means_nothing_here(fine):
    constants = {"axes": np.array([2, 3]), "s": np.float32([1, 2, 3, 4])}
    assert imported(model([fine], IMAGE, constants, opset=19)).n_nodes == 1


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_constants_that_onnx_computes_by_a_later_meaning(op):
    """Before operator set 13, all axes from one on were one."""
    nodes = [node(op, "c", "a", name="bad", axis=1), node("Add", "x a", "y")]
    constants = {"c": real(1, 4, 8, 8)}
    error = refused(model(nodes, IMAGE, constants, opset=12))
    assert (type(error), error.origin.node) == (UnsupportedError, "bad")
    imported(model(nodes, IMAGE, constants, opset=13))


def test_a_function_with_the_name_of_an_operator():
    made = model([node("Relu", "x", "y", name="bad")], IMAGE)
    body = [node("Neg", "a", "b")]
    imports = [helper.make_opsetid("", 13)]
    made.functions.append(helper.make_function("", "Relu", ["a"], ["b"], body, imports))
    x = real(2, *IMAGE[1:])
    np.testing.assert_array_equal(evaluate_all(imported(made), x)[0], -x)


def test_two_versions_of_the_operator_set():
    made = model([node("Relu", "x", "y")], IMAGE)
    made.opset_import.append(helper.make_opsetid("ai.onnx", 7))
    error = refused(made)
    assert isinstance(error, CompileError)
    assert error.code == "opset"


@pytest.mark.parametrize("limit", ["low", "high"])
def test_limits_that_are_no_numbers(limit):
    constants = {"low": np.float32(0), "high": np.float32(6), limit: np.float32(np.nan)}
    error = refused(model([node("Clip", "x low high", "y", name="bad")], IMAGE, constants))
    assert (type(error), error.code) == (ModelError, "not-finite")
