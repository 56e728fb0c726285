"""Recurrent layers, compiled: equal scales, exact sums, codings."""

from __future__ import annotations

import numpy as np
import pytest

from engine_equality import assert_same
from onnx_models import imported, session
from recurrent_models import (
    STEPS,
    answers,
    recurrent,
    samples,
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
