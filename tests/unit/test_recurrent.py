"""Recurrent layers: every option against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import evaluate_all, imported, model, node, refused, session
from recurrent_models import (
    CELLS,
    FEATURES,
    STEPS,
    assert_imported,
    changed,
    recurrent,
    replaced,
    samples,
    weights,
)
from snn_compile.ir import ann
from snn_compile.sim.ann import evaluate

FUNCTIONS = {
    "Affine": (0.9, 0.1),
    "Elu": (0.8, None),
    "HardSigmoid": (0.3, 0.4),
    "LeakyRelu": (0.1, None),
    "Relu": (None, None),
    "ScaledTanh": (1.2, 0.7),
    "Sigmoid": (None, None),
    "Softplus": (None, None),
    "Softsign": (None, None),
    "Tanh": (None, None),
    "ThresholdedRelu": (0.2, None),
}


def functions(*names):
    """Attributes for functions with alpha and beta other than the defaults."""
    alphas, betas = ([FUNCTIONS[n][k] for n in names] for k in (0, 1))
    found = {"activations": list(names)}
    for key, values in (("activation_alpha", alphas), ("activation_beta", betas)):
        if stated := [value for value in values if value is not None]:
            found[key] = stated
    return found


CASES = {
    "rnn": recurrent("RNN", "B"),
    "rnn-bare": recurrent("RNN"),
    "rnn-relu": recurrent("RNN", "B start", activations=["Relu"]),
    "rnn-reverse": recurrent("RNN", "B start lengths", direction="reverse"),
    "rnn-both-ways": recurrent("RNN", "B start", 2, direction="bidirectional"),
    "rnn-clipped": recurrent("RNN", "B", clip=0.3, activations=["Tanh"]),
    "gru": recurrent("GRU", "B"),
    "gru-started": recurrent("GRU", "B start"),
    "gru-reset-after": recurrent("GRU", "B", linear_before_reset=1),
    "gru-reset-after-started": recurrent("GRU", "B start", linear_before_reset=1),
    "gru-bare": recurrent("GRU", linear_before_reset=1),
    "gru-both-ways": recurrent("GRU", "B start", 2, direction="bidirectional"),
    "gru-clipped": recurrent("GRU", "B", clip=0.5),
    "gru-functions": recurrent("GRU", "B", **functions("HardSigmoid", "ScaledTanh")),
    "gru-two-functions": recurrent(
        "GRU",
        "B",
        2,
        direction="bidirectional",
        **functions("HardSigmoid", "Softsign", "Sigmoid", "LeakyRelu"),
    ),
    "lstm": recurrent("LSTM", "B"),
    "lstm-started": recurrent("LSTM", "B start cell"),
    "lstm-peepholes": recurrent("LSTM", "B start cell P"),
    "lstm-coupled": recurrent("LSTM", "B cell", input_forget=1),
    "lstm-reverse": recurrent("LSTM", "B lengths", direction="reverse"),
    "lstm-both-ways": recurrent("LSTM", "B start cell P", 2, direction="bidirectional"),
    "lstm-clipped": recurrent("LSTM", "B P", clip=0.4),
    "lstm-functions": recurrent("LSTM", "B", **functions("HardSigmoid", "Elu", "Softsign")),
}


@pytest.mark.parametrize("name", CASES)
def test_imported(name):
    assert_imported(CASES[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    assert_imported(recurrent("RNN", "B", **functions(name)))
    stated = recurrent("RNN", "B", **functions(name))
    lower = changed(stated, activations=[name.lower()])  # onnxruntime's RNN refuses it
    assert_equal_networks(imported(lower), imported(stated), samples(2))


def test_with_the_batch_first():
    """onnxruntime has no such layout: the values are those of the other one."""
    made = recurrent("LSTM", "B start cell", 2, direction="bidirectional")
    x = samples(2)
    expected = assert_imported(made)
    nodes = [
        node("LSTM", "x W R B - start cell", "all last kept", layout=1, hidden_size=CELLS,
             direction="bidirectional")
    ]  # fmt: skip
    given = weights("LSTM", 2)
    for state in ("start", "cell"):
        given[state] = given[state].transpose(1, 0, 2)
    constants = {k: given[k] for k in ("W", "R", "B", "start", "cell")}
    first = model(nodes, ("N", STEPS, FEATURES), constants, "all last kept", opset=14)
    assert_equal_networks(imported(first), expected, x)


def assert_equal_networks(found, expected, x):
    pairs = zip(evaluate_all(found, x), evaluate_all(expected, x), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)


def test_a_sequence_without_a_batch():
    """(steps, 1, features) as torch exports by default: axis 0 is no batch."""
    given = {k: v for k, v in weights("GRU").items() if k in ("W", "R", "B")}
    nodes = [node("GRU", "x W R B", "all last", hidden_size=CELLS), node("Squeeze", "last a", "y")]
    made = model(nodes, (STEPS, 1, FEATURES), {**given, "a": np.array([0])}, "y", opset=14)
    result, x = imported(made), samples(1).transpose(1, 0, 2)
    found = evaluate(result.ann, x.reshape(1, *result.ann.input.shape))
    expected = session(made).run(None, {"x": x})[0]
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_several_sequences_in_one_sample(kind):
    """(steps, 3, features): a batch of the layer that is none of the network, with own states."""
    given, draw = weights(kind, 2), np.random.default_rng(3)
    names = ["start", *(["cell"] if kind == "LSTM" else [])]
    constants = {k: given[k] for k in ("W", "R", "B")}
    constants |= {k: draw.normal(size=(2, 3, CELLS)).astype(np.float32) for k in names}
    constants["lengths"] = np.full(3, STEPS, np.int32)
    outputs = "all last kept" if kind == "LSTM" else "all last"
    layer = node(kind, f"x W R B lengths {' '.join(names)}", outputs, name="layer",
                 hidden_size=CELLS, direction="bidirectional")  # fmt: skip
    made = model([layer], (STEPS, 3, FEATURES), constants, outputs, opset=14)
    x = draw.normal(size=(STEPS, 3, FEATURES)).astype(np.float32)
    for ours, theirs in zip(
        evaluate_all(imported(made), x[None]), session(made).run(None, {"x": x}), strict=True
    ):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-5, atol=1e-6)
    wrong = replaced(made, start=np.zeros((2, 4, CELLS), np.float32))
    assert "input 5 has shape [2, 4, 5]" in refused(wrong).message


def test_layers_in_a_row_read_each_others_steps():
    """The second layer has dense layers on states, no matrices on parts of all of them."""
    first, second = weights("GRU", 2), weights("GRU", 1, 1, features=2 * CELLS)
    constants = {f"{k}1": first[k] for k in "WRB"} | {f"{k}2": second[k] for k in "WRB"}
    nodes = [
        node("Transpose", "x", "s", perm=[1, 0, 2]),
        node("GRU", "s W1 R1 B1", "one", hidden_size=CELLS, direction="bidirectional"),
        node("Transpose", "one", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned shape", "flat"),
        node("GRU", "flat W2 R2 B2", "- last", name="second", hidden_size=CELLS),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    constants["shape"] = np.array([STEPS, -1, 2 * CELLS])
    result = assert_imported(model(nodes, ("N", STEPS, FEATURES), constants, opset=14))
    kinds = {type(n) for n in result.ann.graph if n.origin.node == "second"}
    assert ann.AxisMatrix not in kinds


def test_unread_outputs_leave_nothing():
    whole = imported(recurrent("LSTM", "B"))
    last = imported(recurrent("LSTM", "B", only="last"))
    assert len(list(last.ann.graph)) < len(list(whole.ann.graph))
    names = {n.id for n in last.ann.graph}
    assert f"layer.step{STEPS - 1}.cell" not in names
    assert f"layer.step{STEPS - 2}.cell" in names


def test_weights_are_one_array():
    """Steps share their weights: a long sequence takes no more memory for them."""
    graph = imported(recurrent("GRU", "B")).ann.graph
    dense = [n for n in graph if isinstance(n, ann.Dense)]
    assert len({id(n.weight) for n in dense}) == 3 < len(dense)
    matrices = [n for n in graph if isinstance(n, ann.AxisMatrix)]
    assert len({id(n.matrix) for n in matrices}) == 3 < len(matrices)


def test_an_initial_state_from_the_input():
    """As of a decoder."""
    given = weights("GRU")
    constants = {k: given[k] for k in ("W", "R", "B")} | {
        "D": np.random.default_rng(5).normal(size=(STEPS * FEATURES, CELLS)).astype(np.float32),
        "axes": np.array([0]),
    }
    nodes = [
        node("Transpose", "x", "s", perm=[1, 0, 2]),
        node("Flatten", "x", "f"),
        node("MatMul", "f D", "d"),
        node("Tanh", "d", "h"),
        node("Unsqueeze", "h axes", "start"),
        node("GRU", "s W R B - start", "all last", hidden_size=CELLS),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    assert_imported(model(nodes, ("N", STEPS, FEATURES), constants, opset=14))


def test_operands_of_fewer_axes():
    """A state (N, C) and a bias (1, 1, C): as torch's newer exporter writes an RNN."""
    bias = np.random.default_rng(0).normal(size=(1, 1, FEATURES)).astype(np.float32)
    nodes = [
        node("Gather", "x k", "one", axis=1),
        node("Add", "one bias", "lifted"),
        node("Tanh", "lifted", "t"),
        node("Add", "one t", "sum"),
        node("Transpose", "sum", "y", perm=[1, 0, 2]),
    ]
    constants = {"bias": bias, "k": np.array(2)}
    assert_imported(model(nodes, ("N", STEPS, FEATURES), constants, opset=14))


def test_the_keyword_spotter(examples):
    """The import of the shipped network has onnxruntime's answers, and they are right."""
    path = examples / "kws_gru.onnx"
    with np.load(examples / "kws_evaluate.npz") as file:
        x, y = file["x"], file["y"]
    found = evaluate(imported(path.read_bytes()).ann, x)
    expected = session(str(path)).run(None, {"features": x})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (found.argmax(axis=1) == y).mean() > 0.99
