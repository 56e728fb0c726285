"""Folding, names, dead nodes, and the order of nodes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from onnx_models import NEWEST, OPSETS, assert_same, evaluate_all, imported, ints, model, node, ops
from snn_compile.errors import ModelError, Origin
from snn_frontends.onnx import OnnxFrontend


def constant(name, value):
    return node("Constant", "", name, value=numpy_helper.from_array(np.asarray(value), name))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_shape_arithmetic_is_folded(opset, batch):
    """The way in which older exporters write ``x.view(x.size(0), -1)``."""
    unsqueeze = node("Unsqueeze", "g", "u", axes=[0])
    constants = {"zero": np.array(0), "rest": ints(-1)}
    if opset >= 13:
        unsqueeze, constants["first"] = node("Unsqueeze", "g first", "u"), ints(0)
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "g"),
        unsqueeze,
        node("Concat", "u rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    result = assert_same(model(nodes, (batch, 3, 4, 4), constants, opset=opset))
    assert ops(result) == ["Reshape"]
    assert (result.n_nodes, result.n_folded) == (5, 4)


def test_part_of_a_shape():
    nodes = [node("Shape", "x", "s", start=1, end=3), node("Concat", "b s r", "t", axis=0)]
    nodes.append(node("Reshape", "x t", "y"))
    assert_same(model(nodes, (2, 4, 3, 2), {"b": ints(2), "r": ints(2)}, opset=NEWEST))


def test_constants_are_folded_through_any_operator():
    nodes = [
        constant("n", ints(3, 1, 1)),
        node("ConstantOfShape", "n", "z", value=numpy_helper.from_array(np.float32([2]), "")),
        constant("eight", np.int64(8)),
        constant("zero", np.int64(0)),
        constant("one", np.int64(1)),
        node("Range", "zero eight one", "r"),
        node("Cast", "r", "f", to=1),
        node("Expand", "f full", "e"),
        node("Mul", "e z", "c"),
        node("Sigmoid", "c", "g"),
        node("Add", "x g", "y"),
    ]
    result = assert_same(model(nodes, constants={"full": ints(3, 8, 8)}))
    assert ops(result) == ["Affine"]
    assert result.n_folded == 10


def test_quantized_weights_are_folded():
    constants = {
        "q": np.arange(-12, 12, dtype=np.int8).reshape(4, 6),
        "s": np.float32(0.1),
        "z": np.int8(1),
    }
    nodes = [node("DequantizeLinear", "q s z", "w"), node("MatMul", "x w", "y")]
    assert ops(assert_same(model(nodes, ("N", 4), constants))) == ["Dense"]


@pytest.mark.parametrize(
    ("attribute", "value"), [("value_float", 2.0), ("value_floats", [1.0, 2.0])]
)
def test_constants_in_their_short_forms(attribute, value):
    nodes = [node("Constant", "", "c", **{attribute: value}), node("Mul", "x c", "y")]
    assert_same(model(nodes, ("N", 2)))


def test_random_constants_are_not_frozen():
    from snn_compile.errors import UnsupportedError

    nodes = [node("RandomNormal", "", "c", shape=[8]), node("Add", "x c", "y")]
    with pytest.raises(UnsupportedError) as caught:
        imported(model(nodes))
    assert caught.value.origin.op == "RandomNormal"


def test_names_and_origins(tmp_path):
    nodes = [
        node("Relu", "x", "a", name="same"),
        node("Relu", "a", "b", name="same"),
        node("Relu", "b", "c"),
        node("LeakyRelu", "c", "logits", name="last"),
    ]
    path = tmp_path / "named.onnx"
    path.write_bytes(model(nodes, outputs="logits").SerializeToString())
    result = OnnxFrontend().read(path)
    ids = [n.id for n in result.ann.graph]
    assert ids[:4] == ["x", "a", "b", "c"]
    assert ids[4:] == [
        "last.positive", "last.mirrored", "last.negative", "last.slope", "last", "logits",
    ]  # fmt: skip
    assert result.ann.graph["last.slope"].origin == Origin(str(path), "last", "LeakyRelu")
    assert result.ann.graph["a"].origin == Origin(str(path), "a", "Relu")
    assert (result.ann.file, result.ann.opset) == (str(path), 13)


def test_an_output_with_the_name_of_its_producer():
    result = imported(model([node("Relu", "x", "y")]))
    assert [n.id for n in result.ann.graph] == ["x", "y", "y.output"]


def test_ids_never_clash():
    nodes = [
        node("Relu", "x", "y.output", name="x"),
        node("Split", "y.output", "a b", name="s", axis=1),
        node("Relu", "a", "c", name="s.0"),
        node("Relu", "b", "y", name="y"),
    ]
    result = assert_same(model(nodes, ("N", 4), outputs="c y"))
    assert len({n.id for n in result.ann.graph}) == len(result.ann.graph) == 8


def test_the_input_can_be_an_output():
    assert_same(model([node("Relu", "x", "y"), node("Identity", "x", "z")], outputs="y z"))


def test_dead_nodes_are_reported_and_left_out():
    nodes = [
        node("Relu", "x", "y"),
        node("Sigmoid", "x", "dead", name="unused"),
        node("Tanh", "dead", "deader"),
    ]
    result = assert_same(model(nodes))
    assert ops(result) == ["Relu"]
    found = [(f.code, f.origin.node) for f in result.findings]
    assert found == [("dead-node", "unused"), ("dead-node", "deader")]


def test_nodes_in_any_order():
    nodes = [node("Neg", "r", "y"), node("Relu", "x", "r")]
    assert ops(imported(model(nodes))) == ["Relu", "Affine"]


def test_several_outputs():
    nodes = [node("Relu", "x", "a"), node("Neg", "a", "b")]
    assert len(assert_same(model(nodes, outputs="b a")).ann.outputs) == 2


def test_a_newer_operator_set_is_read_with_a_warning():
    made = model([node("Relu", "x", "y")])
    made.opset_import[0].version = 999
    result = imported(made)
    assert [(f.code, f.warning) for f in result.findings] == [("newer-opset", True)]
    assert result.ann.opset == 999


def test_the_long_name_of_the_default_domain():
    nodes = [
        node("Neg", "c", "n", domain="ai.onnx"),
        node("Shape", "x", "s", domain="ai.onnx"),
        node("Reshape", "x s", "r", domain="ai.onnx"),
        node("Add", "r n", "y", domain="ai.onnx"),
    ]
    made = model(nodes, constants={"c": np.float32([1] * 8)})
    made.opset_import[0].domain = "ai.onnx"
    assert ops(imported(made)) == ["Affine"]


def test_other_domains_may_be_declared():
    made = model([node("Relu", "x", "y")])
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert imported(made).ann.opset == 13


def test_external_weights(tmp_path):
    import onnx

    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    made = model([node("MatMul", "x w", "y")], ("N", 64), {"w": weight})
    path = tmp_path / "big.onnx"
    onnx.save(made, path, save_as_external_data=True, location="big.bin", size_threshold=0)
    (dense,) = [n for n in OnnxFrontend().read(path).ann.graph if type(n).__name__ == "Dense"]
    np.testing.assert_array_equal(dense.weight, weight.T)


@pytest.mark.parametrize("size", [0, -1])
def test_odd_ways_to_leave_the_batch_open(size):
    made = model([node("Relu", "x", "y")])
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    assert imported(made).ann.input.shape == (3, 8, 8)
    made.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    assert imported(made).ann.input.shape == (3, 8, 8)


def sparse(dims, indices, values, name="w"):
    at = numpy_helper.from_array(np.array(indices, np.int64), "at")
    return helper.make_sparse_tensor(numpy_helper.from_array(np.float32(values), name), at, dims)


@pytest.mark.parametrize("places", [[1, 5, 6], [[0, 1], [1, 1], [1, 2]]])
@pytest.mark.parametrize("as_node", [False, True])
def test_sparse_constants(places, as_node):
    stated = sparse((2, 4), places, [1, 2, 3])
    nodes = [node("MatMul", "w x", "m"), node("Relu", "m", "y")]
    if as_node:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=stated))
    made = model(nodes, ("N", 4, 3))
    if not as_node:
        made.graph.sparse_initializer.append(stated)
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    dense = np.float32([[0, 1, 0, 0], [0, 2, 3, 0]])
    (found,) = evaluate_all(imported(made), x)
    np.testing.assert_allclose(found, np.maximum(dense @ x, 0), rtol=1e-5)


@pytest.mark.parametrize(
    ("dims", "places"),
    [((2, 4), [1, 5, 8]), ((2, 4), [-1, 2, 3]), ((2, 4), [1, 2]), ((2, -4), [0] * 3)],
)
def test_damaged_sparse_constants(dims, places):
    made = model([node("MatMul", "w x", "y")], ("N", 4, 3))
    made.graph.sparse_initializer.append(sparse(dims, places, [1, 2, 3]))
    with pytest.raises(ModelError):
        imported(made)
