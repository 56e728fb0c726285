"""Where a network ends: tails that are cut unasked, refusals that say where to cut, and options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_models import imported, ints, model, node
from snn_compile.errors import CompileError, CompileErrors
from snn_compile.options import CompileOptions
from snn_frontends.onnx import OnnxFrontend
from snn_frontends.onnx.decision import is_pattern
from tailed_networks import NETWORKS, weights

VECTOR = ("N", 8)


def errors_of(made, **options):
    with pytest.raises(CompileError) as caught:
        read(made, **options)
    error = caught.value
    return error.errors if isinstance(error, CompileErrors) else (error,)


def read(made, **options):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx.save(made, path)
        return OnnxFrontend().read_with(path, CompileOptions(**options))


def dense(source, output, seed=1):
    return node("MatMul", f"{source} w{seed}", output)


def gate(after):
    """A softmax between a layer and what follows."""
    nodes = [dense("x", "h"), node("Relu", "h", "r"), node("Softmax", "r", "p", axis=1), *after]
    constants = {"w1": weights(1, 8, 8), "w2": weights(2, 8, 8)}
    return model(nodes, VECTOR, constants)


def names(result):
    return [feed.tensor for feed in result.tail.feeds]


def test_a_layer_after_a_softmax_is_no_tail_and_the_hint_says_where_to_cut():
    (error,) = errors_of(gate([dense("p", "y", 2)]))
    assert (error.code, error.origin.op) == ("unsupported-op", "Softmax")
    assert error.survey.cut_at == ("r",)
    assert error.survey.operations_before == 8 * 8 + 8
    assert error.survey.operations == error.survey.operations_before + 8 + 8 * 8


def test_that_cut_compiles_the_layer_on_the_host():
    result = read(gate([dense("p", "y", 2)]), cut_at=("r",))
    assert names(result) == ["r"]
    assert [op for _, op in result.tail.operators] == ["Softmax", "MatMul"]
    assert result.tail.cut
    assert (result.tail.n_values, result.tail.n_bytes) == (8, 32)


def attention():
    """Attention on a stream that is also added to its result, before a classifier.

    Before and after it, shapes are computed from those of values before the cut.
    """
    constants = {f"w{k}": weights(k, 8, 8) for k in range(6)}
    nodes = [
        dense("x", "a", 0),
        node("Relu", "a", "stream"),
        node("Relu", "stream", "again"),
        node("Shape", "again", "size"),
        node("Reshape", "again size", "same"),
        *(dense("same", name, k) for k, name in enumerate("qkv", 1)),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "scores"),
        node("Softmax", "scores", "p", axis=-1),
        node("MatMul", "p v", "values"),
        node("Reshape", "values size", "shaped"),
        dense("shaped", "o", 4),
        node("Add", "o stream", "sum"),
        dense("sum", "y", 5),
    ]
    return model(nodes, ("N", 6, 8), constants)


def test_the_cut_that_a_refusal_names_can_be_made():
    """The stream is read by layers before the cut, too; they stay."""
    survey = errors_of(attention())[0].survey
    assert set(survey.cut_at) == {"q", "kt", "v", "stream"}
    result = read(attention(), cut_at=survey.cut_at)
    assert set(names(result)) == set(survey.cut_at)
    on_host = [op for _, op in result.tail.operators]
    assert on_host == ["MatMul", "Softmax", "MatMul", "Reshape", "MatMul", "Add", "MatMul"]


def test_functions_before_a_tail_go_with_it():
    after = [node("Exp", "p", "e"), node("TopK", "e k", "y best", axis=1)]
    made = gate(after)
    made.graph.initializer.append(onnx.numpy_helper.from_array(ints(2), "k"))
    assert names(imported(made)) == ["r"]


def test_rectifiers_and_pools_stay_with_their_layer():
    nodes = [
        node("Conv", "x w", "c"),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "g"),
        node("TopK", "g k", "y best", axis=1),
    ]
    made = model(nodes, ("N", 3, 8, 8), {"w": weights(1, 4, 3, 3, 3), "k": ints(2)})
    assert names(imported(made)) == ["g"]


def test_a_gate_does_not_move_where_more_values_would_travel():
    nodes = [
        node("Conv", "x w", "c"),
        node("Sigmoid", "c", "s"),
        node("Mul", "c s", "m"),
        node("GlobalAveragePool", "m", "g"),
        node("TopK", "g k", "y best", axis=1),
    ]
    made = model(nodes, ("N", 3, 8, 8), {"w": weights(1, 4, 3, 3, 3), "k": ints(2)})
    assert names(imported(made)) == ["g"]


def test_without_a_layer_before_it_nothing_is_cut():
    nodes = [node("Sigmoid", "x", "s"), node("TopK", "s k", "y best", axis=1)]
    (error,) = errors_of(model(nodes, VECTOR, {"k": ints(2)}))
    assert error.survey.cut_at == ()


@pytest.mark.parametrize("domain", ["com.example", "com.microsoft"])
def test_an_operator_that_is_not_onnx_is_refused(domain):
    after = [node("Odd", "p", "y", domain=domain)]
    assert {error.code for error in errors_of(gate(after))} == {"unsupported-op"}


def test_a_final_sigmoid_or_softmax_is_as_it_was():
    nodes = [dense("x", "h"), node("Sigmoid", "h", "y")]
    assert read(model(nodes, VECTOR, {"w1": weights(1, 8, 8)})).tail is None
    nodes = [dense("x", "h"), node("Softmax", "h", "y", axis=1)]
    result = read(model(nodes, VECTOR, {"w1": weights(1, 8, 8)}))
    assert [finding.code for finding in result.findings] == ["softmax-dropped"]
    assert not result.tail.cut
    assert names(result) == ["h"]


@pytest.mark.parametrize("name", NETWORKS)
def test_findings_say_what_is_left_and_what_travels(name):
    network = NETWORKS[name]()
    result = read(network.made)
    found = [finding for finding in result.findings if finding.code == "host-tail"]
    assert len(found) == bool(network.cut)
    for finding in found:
        assert f"{result.tail.n_bytes:,} bytes" in finding.message
        sizes = [np.prod(output.shape) for output in result.ann.outputs]
        assert result.tail.n_values == sum(sizes)


def test_a_cut_takes_what_else_the_tail_reads_and_says_so():
    nodes = [dense("x", "a"), dense("x", "b", 2), node("MatMul", "a t", "y")]
    nodes.insert(2, node("Transpose", "b", "t", perm=[1, 0]))
    constants = {"w1": weights(1, 8, 8), "w2": weights(2, 8, 8)}
    result = read(model(nodes, (1, 8), constants), cut_at=("a",))
    assert set(names(result)) == {"a", "t"}
    assert any("it also reads 't'" in finding.message for finding in result.findings)


def test_the_input_may_go_to_the_host_as_it_is():
    nodes = [dense("x", "h"), node("Sub", "x h", "y")]
    result = read(model(nodes, VECTOR, {"w1": weights(1, 8, 8)}), cut_at=("h",))
    assert [(feed.tensor, feed.output is None) for feed in result.tail.feeds] == [
        ("x", True),
        ("h", False),
    ]
    assert result.tail.n_values == 8


def test_outputs_end_the_network_without_a_tail():
    result = read(gate([dense("p", "y", 2)]), outputs=("r",))
    assert result.tail is None
    assert [output.origin.node for output in result.ann.outputs] == ["r"]


@pytest.mark.parametrize(
    ("options", "code", "words", "hint"),
    [
        ({"cut_at": ("hh",)}, "unknown-tensor", "no tensor 'hh'", "did you mean 'h'?"),
        ({"outputs": ("rr",)}, "unknown-tensor", "no tensor 'rr'", "did you mean 'r'?"),
        ({"cut_at": ("first",)}, "unknown-tensor", "no tensor 'first'", "its output is 'h'"),
        ({"cut_at": ("x",)}, "bad-cut", "it is an input", "between"),
        ({"cut_at": ("d",)}, "bad-cut", "no output depends on it", "between"),
        ({"cut_at": ("h", "r")}, "bad-cut", "'h': only others of the tensors follow", "between"),
        ({"cut_at": ("c",)}, "bad-cut", "does not depend on the input", "between"),
        ({"cut_at": ("i",)}, "bad-cut", "holds no real numbers", "between"),
    ],
)
def test_names_that_cannot_be(options, code, words, hint):
    nodes = [
        node("MatMul", "x w1", "h", name="first"),
        node("Relu", "h", "r"),
        node("Neg", "r", "d"),
        node("Neg", "w1", "c"),
        node("Cast", "r", "i", to=onnx.TensorProto.INT64),
        node("Cast", "i", "f", to=onnx.TensorProto.FLOAT),
        node("MatMul", "f c", "y"),
    ]
    (error,) = errors_of(model(nodes, VECTOR, {"w1": weights(1, 8, 8)}), **options)
    assert error.code == code
    assert words in error.message
    assert hint in error.hint


def test_all_unknown_names_at_once():
    found = errors_of(gate([dense("p", "y", 2)]), cut_at=("q", "rrr"))
    assert [error.code for error in found] == ["unknown-tensor"] * 2


def test_control_flow_is_not_left_to_the_host():
    then = onnx.helper.make_graph(
        [node("Identity", "p", "z")], "then", [], [onnx.ValueInfoProto(name="z")]
    )
    branch = node("If", "flag", "y", then_branch=then, else_branch=then)
    made = gate([node("ReduceMax", "p", "most", keepdims=0), node("Cast", "most", "flag", to=9)])
    made.graph.node.append(branch)
    found = errors_of(made, cut_at=("r",))
    assert [(error.code, error.origin.op) for error in found] == [("unsupported-op", "If")]


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (np.arange(16.0), True),
        (np.linspace(-1, 1, 50).repeat(3), True),
        (np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0]])[:2], True),
        (np.random.default_rng(0).normal(size=(4, 4)), False),
        (np.array([1.0, 2.0, 4.0, 8.0]), False),
    ],
)
def test_which_weights_are_a_pattern(values, pattern):
    assert is_pattern(values) == pattern


def test_operators_of_the_tail_are_checked_against_onnx():
    after = [node("TopK", "p k", "y best", axis=1, k=2), node("Odder", "best", "z")]
    made = gate(after)
    made.graph.initializer.append(onnx.numpy_helper.from_array(ints(2), "k"))
    made.graph.output.append(onnx.ValueInfoProto(name="z"))
    found = errors_of(made)
    assert [(error.code, error.origin.op) for error in found] == [
        ("invalid-model", "TopK"),
        ("invalid-model", "Odder"),
    ]
