"""``If`` and ``Loop`` whose conditions do not depend on the network's input."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_models import OPSETS, assert_same, imported, ints, model, node, ops, refused
from quantized_models import assert_within_a_step
from snn_compile import inspect_against, memory
from snn_compile.errors import CompileErrors, ModelError, UnsupportedError
from snn_frontends.onnx import unfolding

RNG = np.random.default_rng(10)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def graph(nodes, outputs, inputs=(), constants=None):
    """A graph inside an operator; inputs as (name, type, shape)."""
    return helper.make_graph(
        nodes,
        "inner",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs.split()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )


def branches(condition, outputs, then, otherwise, name=""):
    made = helper.make_node("If", [condition], outputs.split(), name=name)
    made.attribute.append(helper.make_attribute("then_branch", then))
    made.attribute.append(helper.make_attribute("else_branch", otherwise))
    return made


RELU = graph([node("Relu", "x", "t")], "t")
NEG = graph([node("Neg", "x", "t")], "t")


@pytest.mark.parametrize("taken", [True, False])
def test_the_branch_of_a_constant(taken):
    made = model([branches("c", "y", RELU, NEG)], constants={"c": np.array(taken)})
    assert ops(assert_same(made)) == ["Relu" if taken else "Affine"]


@pytest.mark.parametrize("opset", OPSETS[2:])
def test_a_condition_about_the_shape(opset):
    """As exporters write ``squeeze``: only where the axis has the length 1."""
    squeeze = node("Squeeze", "p", "t", axes=[3])
    if opset >= 13:
        squeeze = node("Squeeze", "p three", "t")
    nodes = [
        node("GlobalAveragePool", "x", "p"),
        node("Shape", "p", "s"),
        node("Gather", "s last", "n"),
        node("Equal", "n one", "c"),
        branches("c", "q", graph([squeeze], "t"), graph([node("Identity", "p", "t")], "t")),
        node("Flatten", "q", "f"),
        node("Gemm", "f w zero", "y"),
    ]
    constants = {
        "last": np.array(3), "one": np.array(1), "w": real(3, 2), "zero": np.zeros(2, np.float32),
    }  # fmt: skip
    if opset >= 13:
        constants["three"] = ints(3)
    assert_same(model(nodes, constants=constants, opset=opset))


def test_branches_with_weights_and_several_results(tmp_path):
    then = graph(
        [
            node("Conv", "x k", "c"), node("Relu", "c", "a"), node("Neg", "c", "dead"),
            node("Identity", "x", "same"),
        ],
        "a same c", constants={"k": real(2, 3, 3, 3)},
    )  # fmt: skip
    nodes = [branches("go", "a b unused", then, then, name="choice"), node("Identity", "b", "d")]
    nodes += [node("GlobalAveragePool", "a", "y"), node("GlobalAveragePool", "d", "z")]
    made = model(nodes, constants={"go": np.array(True)}, outputs="y z")
    assert "Conv" in ops(assert_same(made))
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    report = inspect_against(path)
    assert report.first is None
    assert "Relu" in {layer.origin.op for layer in report.layers}


def test_branches_inside_branches():
    inner = branches("d", "t", NEG, RELU)
    made = model(
        [branches("c", "y", graph([inner], "t"), RELU)],
        constants={"c": np.array(True), "d": np.array(False)},
    )
    assert ops(assert_same(made)) == ["Relu"]


def test_a_softmax_that_only_a_branch_reads_is_not_left_off():
    nodes = [
        node("Softmax", "x", "s", name="bad", axis=1),
        branches("c", "y", graph([node("Relu", "s", "t")], "t"), RELU),
    ]
    error = refused(model(nodes, constants={"c": np.array(True)}))
    assert error.origin.node == "bad"


COUNTER = [("i", TensorProto.INT64, ()), ("c", TensorProto.BOOL, ())]
STATE = ("h", TensorProto.FLOAT, None)


def loop(inputs, outputs, body, name="loop"):
    made = node("Loop", inputs, outputs, name)
    made.attribute.append(helper.make_attribute("body", body))
    return made


def body(nodes, outputs, states=(STATE,)):
    made = graph(nodes, outputs, [*COUNTER, *states])
    made.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    return made


STEP = body(
    [node("Identity", "c", "c2"), node("MatMul", "h w", "m"), node("Relu", "m", "h2")], "c2 h2"
)


@pytest.mark.parametrize("opset", OPSETS)
def test_a_layer_applied_several_times(opset):
    constants = {"n": np.array(3), "go": np.array(True), "w": real(4, 4)}
    result = assert_same(model([loop("n go x", "y", STEP)], ("N", 4), constants, opset=opset))
    assert ops(result).count("Dense") == 3


@pytest.mark.parametrize("opset", [11, 13])
def test_values_of_all_iterations_are_stacked(opset):
    inner = body(
        [
            node("Identity", "c", "c2"), node("Gather", "x i", "part", axis=1),
            node("Add", "h part", "h2"), node("Relu", "h2", "out"),
        ],
        "c2 h2 out",
    )  # fmt: skip
    first = node("Gather", "x zero", "start", axis=1)
    nodes = [
        first,
        loop("n go start", "last all", inner),
        node("Transpose", "all", "y", perm=[1, 0, 2]),
    ]
    constants = {"n": np.array(5), "go": np.array(True), "zero": np.array(0)}
    made = model(nodes, (1, 5, 4), constants, "y last", opset=opset)
    assert_same(made)


def test_a_condition_that_counts():
    """``while i < 2``: no number of iterations is given."""
    inner = body(
        [node("Less", "i one", "c2"), node("Neg", "h", "n"), node("Relu", "n", "h2")], "c2 h2"
    )
    made = model([loop("- go x", "y", inner)], ("N", 4), {"go": np.array(True), "one": np.array(1)})
    assert ops(assert_same(made)).count("Relu") == 2


@pytest.mark.parametrize(("n", "go"), [(0, True), (3, False)])
def test_no_iteration_at_all(n, go):
    constants = {"n": np.array(n), "go": np.array(go), "w": real(4, 4), "v": real(4, 2)}
    nodes = [loop("n go x", "h", STEP), node("MatMul", "h v", "y")]
    assert ops(assert_same(model(nodes, ("N", 4), constants))) == ["Dense"]


def test_a_loop_inside_a_loop():
    inner = loop(
        "two c h", "h2", body([node("Identity", "c", "c2"), node("MatMul", "h w", "h3")], "c2 h3")
    )
    outer = body([node("Identity", "c", "c4"), inner], "c4 h2")
    constants = {"two": np.array(2), "go": np.array(True), "w": real(4, 4)}
    result = assert_same(model([loop("two go x", "y", outer)], ("N", 4), constants))
    assert ops(result).count("Dense") == 4


DEPENDS = {
    "condition": [
        node("ReduceMax", "x", "c", keepdims=0), branches("c", "y", RELU, NEG, "bad"),
    ],
    "iterations": [node("ReduceMax", "x", "n", keepdims=0), loop("n go x", "y", STEP, "bad")],
}  # fmt: skip


@pytest.mark.parametrize("name", DEPENDS)
def test_what_depends_on_the_input(name):
    constants = {"go": np.array(True), "w": real(4, 4)}
    used = {one for made in DEPENDS[name] for one in made.input}
    constants = {k: v for k, v in constants.items() if k in used or k == "w"}
    error = refused(model(DEPENDS[name], (1, 4), constants))
    assert (type(error), error.origin.node) == (UnsupportedError, "bad")
    assert "depends on the network's input" in error.message
    assert "onnx-simplifier" in error.hint


HOSTILE = {
    "count": {"n": np.array(1 << 60), "go": np.array(True), "w": real(4, 4)},
    "endless": {"go": np.array(True), "w": real(4, 4)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_loops(name, monkeypatch):
    assert unfolding.MAX_NODES == 5_000
    monkeypatch.setattr(unfolding, "MAX_NODES", 300)
    inputs = "n go x" if name == "count" else "- go x"
    error = refused(model([loop(inputs, "y", STEP, "bad")], ("N", 4), HOSTILE[name]))
    assert (type(error), error.code, error.origin.node) == (ModelError, "too-large", "bad")
    assert "300 operators" in error.message


def test_an_empty_body_that_never_ends(monkeypatch):
    monkeypatch.setattr(unfolding, "MAX_NODES", 300)
    empty = body([], "c h")
    error = refused(model([loop("- go x", "y", empty, "bad")], ("N", 4), {"go": np.array(True)}))
    assert error.code == "too-large"


INVALID = {
    "outputs": branches("c", "y z", RELU, NEG, "bad"),
    "no graph": helper.make_node("If", ["c"], ["y"], name="bad", then_branch=RELU),
    "body": loop("c c x x", "y", STEP, "bad"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_control_flow(name):
    constants = {"c": np.array(False), "w": real(4, 4)}
    error = refused(model([INVALID[name]], ("N", 4), constants))
    assert (type(error), error.origin.node) == (ModelError, "bad")


def test_names_that_meet():
    then = graph([node("Relu", "x", "t"), node("Neg", "t", "u")], "u")
    nodes = [
        node("Neg", "x", "y/then_branch/t"), branches("c", "y", then, NEG),
        node("Add", "y y/then_branch/t", "z"),
    ]  # fmt: skip
    made = model(nodes, constants={"c": np.array(True)}, outputs="z")
    assert "twice" in refused(made).message


def test_long_names_that_begin_alike():
    def times(value, factor, to):
        inner = graph([node("Mul", f"{value} w", "t")], "t", constants={"w": np.float32(factor)})
        return branches("c", to, inner, inner)

    first, second = "a" * 205 + "1", "a" * 205 + "2"
    nodes = [times("x", 2, first), times(first, 3, second), node("Identity", second, "y")]
    assert_same(model(nodes, constants={"c": np.array(True)}))


def test_the_network_does_not_depend_on_the_names_of_branches():
    made = model([branches("c", "y", RELU, NEG)], constants={"c": np.array(True)})
    result = imported(made)
    assert [n.id for n in result.ann.graph] == ["x", "y", "y.output"]
    assert result.ann.graph["y"].origin.op == "Relu"


@pytest.mark.parametrize("start", ["x", "one"])
def test_values_that_double(monkeypatch, start):
    """Refused at the limit of memory, whether they depend on the input or not."""
    monkeypatch.setenv(memory.VARIABLE, str(8 << 20))
    growing = body([node("Identity", "c", "c2"), node("Concat", "h h", "h2", axis=1)], "c2 h2")
    nodes = [loop(f"n go {start}", "h", growing), node("ReduceSum", "h", "s", keepdims=1)]
    nodes.append(node("Add", "s x", "y"))
    constants = {"n": np.array(1000), "go": np.array(True), "one": np.ones((1, 4), np.float32)}
    tracemalloc.start()
    error = refused(model(nodes, (1, 4), constants))
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
    errors = error.errors if isinstance(error, CompileErrors) else (error,)
    assert errors[0].code == "too-large"


def test_operators_that_stand_for_others_inside_control_flow():
    """Those of onnxruntime and quantized ones are expanded there, too."""
    constants = {"k": real(3, 3, 1, 1), "s": np.float32(0.05), "z": np.int8(3)}
    constants |= {"c": np.array(True), "twice": np.array(2)}
    fused = node("FusedConv", "x k", "t", domain="com.microsoft", activation="Relu")
    nodes = [branches("c", "q", graph([fused], "t"), NEG)]
    inner = [
        node("Identity", "go", "on"), node("QuantizeLinear", "v s z", "i"),
        node("QLinearAdd", "i s z i s z s2 z", "j", domain="com.microsoft"),
        node("DequantizeLinear", "j s2 z", "w"),
    ]  # fmt: skip
    body = graph(
        inner, "on w", [("at", TensorProto.INT64, ()), ("go", TensorProto.BOOL, ()),
                        ("v", TensorProto.FLOAT, None)], {"s2": np.float32(0.1)},
    )  # fmt: skip
    body.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    nodes.append(node("Loop", "twice - q", "y"))
    nodes[-1].attribute.append(helper.make_attribute("body", body))
    made = model(nodes, constants=constants)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert_within_a_step(made, 0.1)


def test_what_cannot_be_expanded_inside_control_flow_is_named():
    unknown = node("NhwcMaxPool", "x", "t", domain="com.microsoft")
    made = model([branches("c", "y", graph([unknown], "t"), NEG)], constants={"c": np.array(True)})
    assert "com.microsoft" in str(refused(made))
