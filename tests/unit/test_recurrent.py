"""Recurrent layers: every option against onnxruntime, equal scales, exact sums, refusals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engine_equality import assert_same
from onnx_models import evaluate_all, imported, model, node, refused, session
from recurrent_models import (
    CELLS,
    FEATURES,
    STEPS,
    answers,
    assert_imported,
    recurrent,
    samples,
    weights,
)
from snn_compile.codings.graded import Graded
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import calibrate
from snn_compile.errors import CompileErrors
from snn_compile.ir import ann
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model, compile_model
from snn_compile.pipeline.folding import fold
from snn_compile.sim import engine, reference
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


def saved(folder, made):
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return path


COMPILED = {
    "rnn": recurrent("RNN", "B", only="last"),
    "gru": recurrent("GRU", "B start", only="last", linear_before_reset=1),
    "gru-reset-before": recurrent("GRU", "B", only="all"),
    "lstm": recurrent("LSTM", "B cell P", only="last"),
}


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("coding", ["graded", "sigma-delta"])
def test_compiled(tmp_path, name, coding):
    path, x = saved(tmp_path, COMPILED[name]), samples(6, 1)
    compiled = compile_model(
        path, calibrate=samples(64), emit=(), target="unlimited", coding=coding
    )
    frames = compiled.encoding(x)
    found = engine.run(compiled.program, frames, record=True)
    assert_same(found, reference.run(compiled.program, frames, record=True))
    (expected,) = answers(COMPILED[name], x)
    error = compiled.run(x).reshape(expected.shape) - expected
    assert np.sqrt((error**2).mean()) / expected.std() < 0.02


def test_checked_without_data(tmp_path):
    path = saved(tmp_path, COMPILED["lstm"])
    check_model(path, CompileOptions(coding="graded", target="loihi2"))


@pytest.mark.parametrize("coding", ["sync", "radix", "rate"])
def test_rectified_states_are_spikes(tmp_path, coding):
    """A plain RNN with rectifiers has no products: every coding can run it."""
    made = recurrent("RNN", "B", only="last", activations=["Relu"])
    compiled = compile_model(
        saved(tmp_path, made),
        calibrate=samples(64),
        emit=(),
        target="unlimited",
        coding=coding,
        timesteps=8 if coding == "radix" else 64,
    )
    x = samples(16, 1)
    (expected,) = answers(made, x)
    found = compiled.run(x).reshape(expected.shape)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > (0.8 if coding == "rate" else 0.98)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_gates_are_refused_for_spikes(tmp_path, kind):
    path = saved(tmp_path, recurrent(kind, "B", only="last"))
    with pytest.raises(CompileErrors) as caught:
        check_model(path, CompileOptions(coding="sync", target="unlimited"))
    assert {error.code for error in caught.value.errors} == {"no-product", "function-coding"}
    assert {error.origin.node for error in caught.value.errors} == {"layer"}


@pytest.fixture(scope="module")
def folded():
    made = recurrent("GRU", "B", only="last", linear_before_reset=1)
    return fold(imported(made).ann, Graded(), measured=True).graph


def test_steps_have_one_scale(folded):
    statistics = calibrate(folded, samples(64))
    scales = balance_thresholds(folded, statistics, lambda _: "max", levels=255)
    groups = {}
    for activation in folded.graph:
        if isinstance(activation, ann.Activation):
            groups.setdefault(activation.peers, []).append(activation.id)
    assert {name: len(found) for name, found in groups.items()} == {
        "layer.update": STEPS,
        "layer.reset": STEPS,
        "layer.before": STEPS - 1,
        "layer.past": STEPS - 1,
        "layer.state": 4 * STEPS - 1,
    }
    for found in groups.values():
        most = np.maximum.reduce([statistics.activations[name].peak for name in found])
        for name in found:
            np.testing.assert_array_equal(scales[name], most)


def test_states_are_exact_sums(tmp_path):
    """``h = n - z n + z h`` in integers, with no rounding of its own."""
    made = recurrent("GRU", "B", only="last")
    compiled = compile_model(
        saved(tmp_path, made), calibrate=samples(64), emit=(), target="unlimited"
    )
    run = engine.run(compiled.program, compiled.encoding(samples(8, 1)), record=True)
    last = STEPS - 1
    n, shed, kept, state = (
        run.messages[f"layer.step{last}.{name}"].sum(axis=1)
        for name in ("new", "shed", "kept", "state")
    )
    np.testing.assert_array_equal(state, n - shed + kept)


def test_gates_are_measured_on_their_own_levels(tmp_path):
    """2,047 levels of a gate are no saturated 255."""
    path = saved(tmp_path, COMPILED["gru"])
    x = samples(64)
    compiled = compile_model(
        path, calibrate=x, evaluate=(x, None), emit=(), target="unlimited", coding="graded"
    )
    layers = {layer["name"]: layer for layer in compiled.report["layers"]}
    gate = layers[f"layer.step{STEPS - 1}.update"]
    assert gate["sqnr_db"] > 30
    assert gate["saturated"] < 0.1


def changed(made, **attributes):
    """A model with other attributes of its layer."""
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    (layer,) = (n for n in copy.graph.node if n.name == "layer")
    kept = [a for a in layer.attribute if a.name not in attributes]
    del layer.attribute[:]
    layer.attribute.extend(kept)
    layer.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())
    return copy


def replaced(made, **constants):
    """A model with other constants."""
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    for tensor in copy.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(onnx.numpy_helper.from_array(constants[tensor.name], tensor.name))
    return copy


GRU = recurrent("GRU", "B lengths start", only="last")
REFUSED = {
    "short-sequences": (
        replaced(GRU, lengths=np.full(1, STEPS - 1, np.int32)),
        f"lengths (3) other than {STEPS} steps",
        "one length",
    ),
    "unknown-function": (changed(GRU, activations=["Gelu", "Tanh"]), "'Gelu' is unknown", "Elu"),
    "no-parameters": (
        changed(GRU, activations=["Affine", "Tanh"]), "different defaults", "activation_alpha"
    ),
    "too-few-functions": (changed(GRU, activations=["Tanh"]), "1 activations instead of 2", ""),
    "too-many-parameters": (changed(GRU, activation_alpha=[0.1]), "more values", ""),
    "direction": (changed(GRU, direction="sideways"), "'sideways' is none of", ""),
    "hidden-size": (changed(GRU, hidden_size=7), "weights are for 5 cells", ""),
    "recurrent-weights": (
        replaced(GRU, R=np.zeros((1, 7, CELLS), np.float32)), "recurrent weights", ""
    ),
    "input-weights": (
        replaced(GRU, W=np.zeros((1, 15, 9), np.float32)), "'W' has shape [1, 15, 9]", ""
    ),
    "states": (
        replaced(GRU, start=np.zeros((1, 1, 9), np.float32)), "input 5 has shape [1, 1, 9]", ""
    ),
    "too-many-steps": (
        recurrent("RNN", steps=2000, only="last"), "2,000 steps of 5 cells", "fewer steps"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    made, message, hint = REFUSED[name]
    error = refused(made)
    assert message in error.message
    assert hint in error.hint
    assert error.origin.node == "layer"
    assert error.code in ("unsupported-op", "invalid-model")


def test_states_that_differ_between_samples_are_refused():
    given = weights("RNN")
    given["start"] = np.random.default_rng(0).normal(size=(1, 2, CELLS)).astype(np.float32)
    nodes = [
        node("Transpose", "x", "s", perm=[1, 0, 2]),
        node("RNN", "s W R - - start", "all last", name="layer", hidden_size=CELLS),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    constants = {k: given[k] for k in ("W", "R", "start")}
    error = refused(model(nodes, (2, STEPS, FEATURES), constants, opset=14))
    assert "differs between the samples" in error.message
    assert "one state" in error.hint


def test_lengths_from_the_input_are_refused():
    nodes = [
        node("Transpose", "x", "s", perm=[1, 0, 2]),
        node("ReduceSum", "x axes", "total", keepdims=0),
        node("Cast", "total", "lengths", to=onnx.TensorProto.INT32),
        node("RNN", "s W R - lengths", "all last", name="layer", hidden_size=CELLS),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    constants = {k: v for k, v in weights("RNN").items() if k in "WR"}
    constants["axes"] = np.array([1, 2])
    error = refused(model(nodes, ("N", STEPS, FEATURES), constants, opset=14))
    assert "INT32" in str(error) or "depends on the network's input" in str(error)


def test_several_sequences_of_one_sample_are_refused():
    """(N, 6, F) as 6 sequences: the batch of the layer is an axis of the sample."""
    nodes = [
        node("Unsqueeze", "x axes", "s"),
        node("Transpose", "s", "t", perm=[1, 2, 0, 3]),
        node("Reshape", "t shape", "u"),
        node("RNN", "u W R", "all last", name="layer", hidden_size=CELLS),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    constants = {k: v for k, v in weights("RNN").items() if k in "WR"}
    constants |= {"axes": np.array([0]), "shape": np.array([STEPS // 2, -1, FEATURES])}
    error = refused(model(nodes, ("N", STEPS, FEATURES), constants, opset=14))
    assert error.hint


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


@pytest.mark.slow
def test_the_keyword_spotter_compiled(examples):
    path, calibrate_x = examples / "kws_gru.onnx", np.load(examples / "kws_calibrate.npz")["x"]
    with np.load(examples / "kws_evaluate.npz") as file:
        x, y = file["x"], file["y"]
    compiled = compile_model(path, calibrate=calibrate_x, emit=(), coding="graded", target="loihi2")
    found = compiled.run(x)
    expected = session(str(path)).run(None, {"features": x})[0]
    assert (found.argmax(axis=1) == y).mean() > 0.99
    assert np.sqrt(((found - expected) ** 2).mean()) < 0.015 * expected.std()
    frames = compiled.encoding(x[:8])
    run = engine.run(compiled.program, frames, record=True)
    assert_same(run, reference.run(compiled.program, frames, record=True))
