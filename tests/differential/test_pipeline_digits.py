"""The whole way for the example networks: every coding, against the float network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onnx_models
from snn_compile.coding_registry import coding_names
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model, compile_model
from snn_compile.sim import ann, engine, reference


@pytest.fixture(scope="module")
def digits(examples):
    with np.load(examples / "digits_calibrate.npz") as archive:
        calibrate = archive["x"]
    with np.load(examples / "digits_evaluate.npz") as archive:
        return calibrate, archive["x"], archive["y"]


def without_times(folder):
    """What a compilation has written, apart from what differs from run to run."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    report = json.loads(files.pop(Path("report.json")).read_text(encoding="utf-8"))
    files.pop(Path("report.html"))
    del report["timing"]
    return report, {name: path.read_bytes() for name, path in files.items()}


@pytest.mark.parametrize(
    "coding",
    [
        name if name in ("graded", "rate", "sync") else pytest.param(name, marks=pytest.mark.slow)
        for name in coding_names()
    ],
)
def test_without_an_engine_everything_is_the_same(
    compiled_engine, examples, digits, tmp_path, monkeypatch, coding
):
    written = {}
    for choice in ("auto", "off"):
        monkeypatch.setenv("SNN_COMPILE_ENGINE", choice)
        compiled = compile_model(
            examples / "digits_cnn.onnx",
            calibrate=digits[0],
            evaluate=digits[1:],
            coding=coding,
            timesteps=8,
        )
        compiled.save(tmp_path / choice)
        report, files = without_times(tmp_path / choice)
        written[choice] = report, files, compiled.run(digits[1])
        assert report.pop("simulator").startswith("engine" if choice == "auto" else "reference")
    fast, slow = written["auto"], written["off"]
    assert fast[0] == slow[0]
    assert set(fast[1]) == set(slow[1])
    assert [name for name in fast[1] if fast[1][name] != slow[1][name]] == []
    np.testing.assert_array_equal(fast[2], slow[2])


@pytest.fixture(scope="module")
def float_scores(examples, digits):
    return {name: run_float(examples, name, digits[1]) for name in ("digits_cnn", "digits_mlp")}


def run_float(examples, name, x):
    session = onnx_models.session(str(examples / f"{name}.onnx"))
    return session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0]


def agreement(scores, other):
    return 100 * float((scores.argmax(axis=1) == other.argmax(axis=1)).mean())


# Least percent of the evaluation samples with the float network's answer; measured in the comment.
# The bound leaves room for one or two percent more of them on the edge between two classes.
BOUNDS = [
    ("digits_cnn", {"coding": "graded"}, 99.0),  # 100
    ("digits_cnn", {"coding": "graded", "payload_bits": 4}, 98.0),  # 100
    ("digits_cnn", {"coding": "graded", "weight_bits": 4}, 97.5),  # 99.8
    ("digits_cnn", {"coding": "sync", "timesteps": 16}, 98.0),  # 99.8
    ("digits_cnn", {"coding": "radix", "timesteps": 6}, 98.0),  # 100
    ("digits_cnn", {"coding": "sigma-delta"}, 99.0),  # 100
    ("digits_cnn", {"coding": "signed", "timesteps": 16}, 97.5),  # 99.6
    ("digits_cnn", {"coding": "rate", "timesteps": 16}, 97.0),  # 99.6
    ("digits_cnn", {"coding": "rate", "timesteps": 16, "reset": "zero"}, 94.0),  # 96.8
    ("digits_mlp", {"coding": "graded"}, 99.0),  # 100
    ("digits_mlp", {"coding": "graded", "thresholds": "percentile:99.9", "per_layer": True}, 98.5),
    ("digits_mlp", {"coding": "rate", "timesteps": 32}, 97.5),  # 99.6
    ("digits_mlp", {"coding": "rate", "timesteps": 32, "thresholds": "max"}, 96.5),  # 99.4
    ("digits_mlp", {"coding": "rate", "timesteps": 128, "input": "poisson"}, 97.0),  # 99.4
    ("digits_mlp", {"coding": "rate", "timesteps": 64, "reset": "zero"}, 90.0),  # 93.6
]


@pytest.mark.parametrize(("name", "options", "least"), BOUNDS)
def test_answers_agree_with_the_float_network(examples, digits, float_scores, name, options, least):
    calibrate, x, y = digits
    model = compile_model(
        examples / f"{name}.onnx", calibrate=calibrate, evaluate=(x, y), emit=(), **options
    )
    scores = model.run(x)
    found = agreement(scores, float_scores[name])
    assert found >= least
    rungs = {rung["stage"]: rung for rung in model.report["ladder"]}
    assert rungs["onnx"]["agreement"] == 100
    # The ladder's number is that of the network that is delivered.
    assert abs(rungs["fixed"]["agreement"] - found) <= 0.5
    assert abs(rungs["fixed"]["top1"] - 100 * (scores.argmax(axis=1) == y).mean()) <= 1e-3
    assert rungs["folded"]["agreement"] == 100


def by_hand(program, frames):
    """Values of every layer of a sync network, as counts, without any of the simulator's code."""
    graph, values = program.graph, {program.input.id: frames.astype(np.int64)}
    for node in program.populations:
        total = np.broadcast_to(node.bias.values, (len(frames), *node.shape)).copy()
        for group in program.synapses_into(node):
            weight, s = group.weight.values, values[group.inputs[0]]
            if hasattr(group, "geometry"):
                top, left, bottom, right = group.geometry.padding
                s = np.pad(s, [(0, 0), (0, 0), (top, bottom), (left, right)])
                part = np.zeros_like(total)
                n_out, n_in, kh, kw = weight.shape
                per_group = n_out // group.geometry.groups
                (sy, sx), (dy, dx) = group.geometry.stride, group.geometry.dilation
                for o in range(n_out):
                    first = o // per_group * n_in
                    for i, y, x in np.ndindex(n_in, kh, kw):
                        rows = slice(y * dy, y * dy + (node.shape[1] - 1) * sy + 1, sy)
                        columns = slice(x * dx, x * dx + (node.shape[2] - 1) * sx + 1, sx)
                        part[:, o] += weight[o, i, y, x] * s[:, first + i, rows, columns]
            else:
                part = (s.reshape(len(s), -1) @ weight.T).reshape(total.shape)
            total += part << group.exponent
        values[node.id] = total
        if node.id not in {readout.id for readout in program.readouts}:
            threshold = node.threshold.values.reshape(-1, 1, 1)
            values[node.id] = np.clip(total // threshold, 0, program.window.n_steps)
    assert all(node.id in values for node in graph if hasattr(node, "bias"))
    return values


@pytest.mark.parametrize("timesteps", [1, 5, 16])
def test_sync_counts_are_those_of_the_integer_network(examples, digits, timesteps):
    """Layer by layer, with ==; the network is written down once more here, in plain numpy."""
    calibrate, x, _ = digits
    model = compile_model(
        examples / "digits_cnn.onnx",
        calibrate=calibrate,
        coding="sync",
        timesteps=timesteps,
        emit=(),
    )
    program, frames = model.program, model.encoding(x[:20])
    expected = by_hand(program, frames)
    for run in (reference.run, engine.run):
        found = run(program, frames, record=True)
        for node in program.populations:
            messages = found.messages[node.id]
            assert messages.shape[1] == timesteps
            if node in program.readouts:
                np.testing.assert_array_equal(messages[:, -1], expected[node.id])
            else:
                assert set(np.unique(messages)) <= {0, 1}
                np.testing.assert_array_equal(messages.sum(axis=1), expected[node.id])


def test_sigma_delta_answers_each_frame_as_graded_does(examples, digits):
    calibrate, x, _ = digits
    graded, streamed = (
        compile_model(examples / "digits_cnn.onnx", calibrate=calibrate, coding=coding, emit=())
        for coding in ("graded", "sigma-delta")
    )
    slowly = np.repeat(x[:10], 5, axis=0)  # a frame that stays sends nothing
    one, other = graded.simulate(slowly, record=True), streamed.simulate(slowly, record=True)
    for key, values in one.messages.items():
        if key in other.activity:
            np.testing.assert_array_equal(np.cumsum(other.messages[key], axis=0), values)
    for key, potentials in one.outputs.items():
        np.testing.assert_array_equal(other.outputs[key], potentials)
    sent = [sum(int(n.sum()) for n in run.activity.values()) for run in (one, other)]
    assert sent[1] < 0.5 * sent[0]


@pytest.mark.parametrize("name", ["digits_cnn", "digits_mlp"])
def test_folding_equals_onnxruntime(examples, digits, float_scores, name):
    checked = check_model(examples / f"{name}.onnx", CompileOptions())
    for network in (checked.imported.ann, checked.folded):
        scores = ann.evaluate(network, digits[1])
        np.testing.assert_allclose(scores, float_scores[name], rtol=1e-4, atol=1e-4)


def test_scores_are_those_of_the_float_network_in_its_units(examples, digits, float_scores):
    calibrate, x, _ = digits
    model = compile_model(
        examples / "digits_cnn.onnx", calibrate=calibrate, coding="graded", emit=()
    )
    expected = float_scores["digits_cnn"]
    error = model.run(x) - expected
    assert np.sqrt((error**2).mean()) < 0.05 * expected.std()
    assert abs(error.mean()) < 0.02 * expected.std()


def test_more_time_steps_come_closer(examples, digits, float_scores):
    calibrate, x, _ = digits
    expected = float_scores["digits_mlp"]
    errors = []
    for timesteps in (4, 16, 64, 256):
        model = compile_model(
            examples / "digits_mlp.onnx",
            calibrate=calibrate,
            coding="rate",
            timesteps=timesteps,
            emit=(),
        )
        errors.append(float(((model.run(x[:200]) - expected[:200]) ** 2).mean()))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_fixed_point_loses_little_against_float_spikes_with_reset_to_zero(examples, digits, name):
    """Spikes cost what they cost; weights of 8 bits and corrected biases must not cost more."""
    calibrate, x, y = digits
    model = compile_model(
        examples / f"{name}.onnx",
        calibrate=calibrate,
        evaluate=(x, y),
        coding="rate",
        timesteps=16,
        reset="zero",
        emit=(),
    )
    rungs = {rung["stage"]: rung["agreement"] for rung in model.report["ladder"]}
    assert rungs["fixed"] >= rungs["spiking"] - 1.5


def test_the_same_command_gives_the_same_network(examples, digits):
    calibrate, x, _ = digits
    one, other = (
        compile_model(
            examples / "digits_cnn.onnx",
            calibrate=calibrate,
            coding="rate",
            timesteps=4,
            input="poisson",
            seed=3,
            emit=(),
        )
        for _ in range(2)
    )
    assert one.sealed_bytes() == other.sealed_bytes()
    np.testing.assert_array_equal(one.run(x[:20]), other.run(x[:20]))


def test_without_calibration_the_network_still_answers(examples, digits, float_scores):
    _, x, _ = digits
    model = compile_model(
        examples / "digits_mlp.onnx", coding="graded", payload_bits=16, input_bits=8, emit=()
    )
    codes = [warning["code"] for warning in model.report["warnings"]]
    assert "not-calibrated" in codes
    assert agreement(model.run(x), float_scores["digits_mlp"]) > 80
