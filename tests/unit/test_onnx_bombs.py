"""Small files that claim much: refused before anything of that size is there."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_models import imported, ints, model, node, ops
from snn_compile import memory
from snn_compile.errors import CompileError, CompileErrors, ModelError
from snn_frontends.onnx import folding
from snn_frontends.onnx.builder import Builder

BUDGET = 8 << 20


def first_error(made) -> CompileError:
    with pytest.raises(CompileError) as caught:
        imported(made)
    error = caught.value
    return error.errors[0] if isinstance(error, CompileErrors) else error


HUGE = ints(1 << 13, 1 << 13)
COLUMN, ROW = np.ones((1 << 13, 1), np.float32), np.ones((1, 1 << 13), np.float32)
FOLDED = {
    "filled": (node("ConstantOfShape", "s", "c"), {"s": HUGE}),
    "filled-beyond": (node("ConstantOfShape", "s", "c"), {"s": ints(1 << 62, 1 << 62)}),
    "expanded": (node("Expand", "a s", "c"), {"a": np.float32([1]), "s": HUGE}),
    "tiled": (node("Tile", "a s", "c"), {"a": np.ones((1, 1), np.float32), "s": HUGE}),
    "counted": (
        node("Range", "a b d", "c"),
        {"a": np.float32(0), "b": np.float32(1e9), "d": np.float32(1)},
    ),
    "padded": (node("Pad", "a s", "c"), {"a": np.float32([1]), "s": ints(0, 1 << 40)}),
    "one-hot": (
        node("OneHot", "a s v", "c"),
        {"a": ints(1, 2), "s": ints(1 << 40), "v": np.float32([0, 1])},
    ),
    "added": (node("Add", "a b", "c"), {"a": COLUMN, "b": ROW}),
    "multiplied": (node("MatMul", "a b", "c"), {"a": COLUMN, "b": ROW}),
    "chosen": (node("Where", "t a b", "c"), {"t": np.array(True), "a": COLUMN, "b": ROW}),
    "gathered": (node("Gather", "a i", "c"), {"a": ROW, "i": np.zeros(1 << 13, np.int64)}),
}


@pytest.mark.parametrize("name", FOLDED)
def test_constants(monkeypatch, name):
    monkeypatch.setenv(memory.VARIABLE, str(BUDGET))
    bad, constants = FOLDED[name]
    bad.name = "bad"
    made = model([bad, node("Add", "x c", "y")], constants=constants)
    tracemalloc.start()
    error = first_error(made)
    assert tracemalloc.get_traced_memory()[1] < 2 * BUDGET
    tracemalloc.stop()
    assert (type(error), error.code, error.origin.node) == (ModelError, "too-large", "bad")
    assert "8 MiB" in error.message
    assert "--max-memory" in error.hint


def test_all_constants_together(monkeypatch):
    """Each of them is small enough."""
    monkeypatch.setenv(memory.VARIABLE, str(BUDGET))
    nodes = [node("ConstantOfShape", "s", f"c{k}", name=f"n{k}") for k in range(20)]
    total = node("Sum", " ".join(["x", *(f"c{k}" for k in range(20))]), "y")
    error = first_error(model([*nodes, total], constants={"s": ints(100, 1000)}))
    assert (error.code, error.exit_code) == ("too-large", 3)
    assert "other constants" in error.message


@pytest.mark.parametrize(
    ("dims", "code"), [((1 << 40, 3), "invalid-model"), ((-1, 3), "invalid-model")]
)
def test_tensors_that_say_they_are_larger(dims, code):
    made = model([node("Add", "x w", "y", name="bad")], constants={"w": np.ones(3, np.float32)})
    made.graph.initializer[0].dims[:] = dims
    error = first_error(made)
    assert (type(error), error.code, error.origin.node) == (ModelError, code, "bad")
    assert "'w'" in error.message


def test_sparse_constants():
    values = numpy_helper.from_array(np.float32([1]), "v")
    sparse = helper.make_sparse_tensor(
        values, numpy_helper.from_array(ints(0), "i"), [1 << 20, 1 << 20]
    )
    bad = helper.make_node("Constant", [], ["c"], name="bad", sparse_value=sparse)
    assert first_error(model([bad, node("Add", "x c", "y")])).origin.node == "bad"


def test_what_onnx_computes_slowly():
    """A step of Python for each element: fine for few of them."""
    wide = np.float32([1, 1, 99, 99])
    image, scale = np.ones((1, 1, 4, 4), np.float32), np.float32([1, 1, 2, 2])
    nodes = [node("Resize", "a - s", "c", name="bad"), node("Add", "x c", "y")]
    imported(model(nodes, constants={"a": image, "s": scale}, opset=13))
    error = first_error(model(nodes, constants={"a": image, "s": scale * wide}))
    assert error.code == "too-large"
    assert "work" in error.message


def test_products_that_take_minutes(monkeypatch):
    monkeypatch.setattr(folding, "MAX_WORK", 1 << 17)
    nodes = [node("MatMul", f"p{k} p{k}", f"p{k + 1}", name=f"n{k}") for k in range(20)]
    made = model([*nodes, node("Add", "x p20", "y")], constants={"p0": np.eye(64)})
    error = first_error(made)
    assert error.code == "too-large"
    assert error.origin.node == "n4"


def test_texts_are_no_constants():
    words = helper.make_tensor("w", TensorProto.STRING, [1], [b"a" * 30 + b"!"])
    nodes = [
        node("RegexFullMatch", "w", "c", name="bad", pattern="(a+)+b"),
        node("Add", "x c", "y"),
    ]
    made = model(nodes, opset=20)
    made.graph.initializer.append(words)
    assert (error := first_error(made)).origin.node == "bad"
    assert error.code == "unsupported-op"


@pytest.mark.parametrize("kind", ["int64", "complex64", "bool"])
def test_parameters_are_floats(kind):
    constants = {"w": np.ones((2, 3, 1, 1), kind)}
    error = first_error(model([node("Conv", "x w", "y", name="bad")], constants=constants))
    assert (type(error), error.origin.node) == (ModelError, "bad")


@pytest.mark.parametrize(
    "bad",
    [
        node("Relu", "x", "y"),
        node("Concat", "x c", "y", axis=1),
        node("Concat", "x x", "y", axis=1),
        node("Pad", "x p", "y"),
    ],
)
def test_values_that_the_file_only_claims(monkeypatch, bad):
    monkeypatch.setenv(memory.VARIABLE, str(BUDGET))
    constants = {"c": np.ones((1, 1), np.float32), "p": ints(0, 0, 0, 1 << 40)}
    width = 1 << 20 if bad.op_type == "Pad" else 1 << 40
    tracemalloc.start()
    error = first_error(model([bad], (1, width), constants))
    assert tracemalloc.get_traced_memory()[1] < BUDGET
    tracemalloc.stop()
    assert (type(error), error.code) == (ModelError, "too-large")
    assert str(width) in error.message or "1099512676352" in error.message


GROWING = {
    "tile": (node("Tile", "x c", "y"), ints(1, 1, 1 << 30)),
    "expand": (node("Expand", "x c", "y"), ints(1 << 30, 1, 1, 4096)),
    "gather": (node("Gather", "x c", "y", axis=1), ints(*[0] * 1000)),
    "nearest": (node("Resize", "x - c", "y"), np.float32([1, 1, 1e5])),
    "linear": (node("Resize", "x - c", "y", mode="linear"), np.float32([1, 1, 300.5])),
    "interpolated": (node("Resize", "x - c", "y", mode="linear"), np.float32([1, 1, 1e5])),
    "cumulated": (node("CumSum", "x c", "y"), np.array(2)),
    "transposed": (
        node("ConvTranspose", "x c", "y", strides=[1 << 30]), np.ones((1, 1, 1), np.float32),
    ),
    "reflected": (node("Pad", "x c", "y", mode="edge"), ints(0, 0, 0, 0, 0, 1 << 40)),
}  # fmt: skip


@pytest.mark.parametrize("name", GROWING)
def test_operators_that_enlarge_a_value(monkeypatch, name):
    monkeypatch.setenv(memory.VARIABLE, str(BUDGET))
    bad, constant = GROWING[name]
    tracemalloc.start()
    error = first_error(model([bad], ("N", 1, 4096), {"c": constant}))
    assert tracemalloc.get_traced_memory()[1] < 2 * BUDGET
    tracemalloc.stop()
    assert (type(error), error.code) == (ModelError, "too-large")


def test_too_many_operators():
    nodes = [node("Relu", f"v{k}", f"v{k + 1}") for k in range(5_001)]
    nodes[0].input[0] = "x"
    error = first_error(model(nodes, outputs="v5001"))
    assert (error.code, error.exit_code) == ("too-large", 3)


def test_sums_with_more_ways_back_than_can_be_counted(monkeypatch):
    """Each sum reads a value twice, once through a rectifier."""
    asked = []
    node_of = Builder.node
    monkeypatch.setattr(Builder, "node", lambda self, name: asked.append(0) or node_of(self, name))
    nodes = []
    for k in range(14):
        nodes += [node("Relu", f"v{k}", f"r{k}"), node("Add", f"r{k} v{k}", f"v{k + 1}")]
    nodes[0].input[0] = nodes[1].input[1] = "x"
    result = imported(model([*nodes, node("Sigmoid", "v14", "y")]))
    assert ops(result) == ["Function"]
    assert len(asked) < 1000


def test_names_that_nobody_writes():
    error = first_error(model([node("Relu", "x", "y", name="n" * 5000)]))
    assert isinstance(error, ModelError)
    assert len(str(error)) < 500
    made = model([node("Relu", "x", "y")])
    made.doc_string = "long " * 5000
    made.metadata_props.add(key="notes", value="long " * 5000)
    assert imported(made).n_nodes == 1


LINEAR = {"mode": "linear"}
NOT_MADE = {
    "interpolated": (node("Resize", "x - s", "y", **LINEAR), (1, 1 << 14), {"s": [1, 1, 2.5]}),
    "cumulated": (node("CumSum", "x a", "y"), (1 << 14,), {"a": 1}),
    "neighbours": (node("LRN", "x", "y", size=3), (1 << 14, 1, 1), {}),
}


@pytest.mark.parametrize("name", NOT_MADE)
def test_matrices_along_long_axes(name):
    bad, shape, constants = NOT_MADE[name]
    given = {k: np.float32(v) if k == "s" else np.array(v) for k, v in constants.items()}
    tracemalloc.start()
    error = first_error(model([bad], ("N", *shape), given, opset=19))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.code == "too-large"
    assert "67,108,864 entries" in str(error)
    assert peak < BUDGET


INFINITE = {
    "no value above": (node("Clip", "x a b", "y"), {"a": np.inf, "b": np.inf}),
    "no value below": (node("Clip", "x - b", "y"), {"b": -np.inf}),
    "border": (node("Pad", "x p a", "y"), {"p": ints(0, 0, 1, 0, 0, 1), "a": np.inf}),
    "border of NaN": (node("Pad", "x p a", "y"), {"p": ints(0, 0, 1, 0, 0, 1), "a": np.nan}),
    "scales": (node("Resize", "x - s", "y"), {"s": np.float32([1, 1, np.nan])}),
    "endless scales": (node("Resize", "x - s", "y"), {"s": np.float32([1, 1, np.inf])}),
}


@pytest.mark.parametrize("name", INFINITE)
def test_attributes_that_are_not_finite(name):
    bad, constants = INFINITE[name]
    given = {k: np.float32(v) if np.ndim(v) == 0 else v for k, v in constants.items()}
    error = first_error(model([bad], ("N", 1, 4), given, opset=19))
    assert error.code in {"not-finite", "invalid-model"}
    assert "differs between" not in str(error)
    assert "interpreted" not in str(error)
