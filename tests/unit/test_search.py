"""Looking for the smallest number that keeps a promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from output_networks import hosted, run_onnx, uniform
from snn_compile.errors import CompileError
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.search import smallest
from snn_compile.report.limits import accuracy
from snn_compile.report.metrics import most_points_lost, of_rung
from snn_compile.report.observer import SilentObserver


@given(st.integers(1, 300), st.integers(0, 320))
def test_the_smallest_is_found_and_nothing_is_tried_twice(n, least):
    tried = []

    def keeps(candidate):
        tried.append(candidate)
        return candidate >= least

    found = smallest(range(1, n + 1), keeps)
    assert found == (max(least, 1) if least <= n else None)
    assert len(tried) == len(set(tried)) <= 2 * n.bit_length() + 1


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_what_is_returned_has_kept_the_promise(kept):
    tried = {}

    def keeps(candidate):
        assert candidate not in tried
        tried[candidate] = kept[candidate]
        return kept[candidate]

    found = smallest(range(len(kept)), keeps)
    if found is None:
        assert not any(tried.values())
        assert len(kept) - 1 in tried
    else:
        assert tried[found]
        assert not any(ok for candidate, ok in tried.items() if candidate < found)


@pytest.fixture(scope="module")
def data(examples):
    with np.load(examples / "digits_calibrate.npz") as archive:
        calibrate = archive["x"]
    with np.load(examples / "digits_evaluate.npz") as archive:
        return calibrate, (archive["x"], archive["y"])


def compiled(examples, data, **options):
    calibrate, evaluate = data
    return compile_model(
        examples / "digits_mlp.onnx", calibrate=calibrate, evaluate=evaluate, emit=(), **options
    )


def drop(report):
    rungs = {rung["stage"]: rung["top1"] for rung in report["ladder"]}
    return rungs["folded"] - rungs["fixed"]


@pytest.mark.parametrize("coding", ["sync", "signed", "rate"])
def test_the_fewest_steps_keep_the_promise_and_one_less_does_not(examples, data, coding):
    found = compiled(examples, data, coding=coding, timesteps="auto", max_accuracy_drop=0.5)
    steps = found.report["options"]["timesteps"]
    assert steps["origin"] == "auto, at most 0.5 points lost"
    assert found.program.window.n_steps == found.report["timesteps"] == steps["value"]
    assert drop(found.report) <= 0.5
    if steps["value"] > 1:
        less = compiled(examples, data, coding=coding, timesteps=steps["value"] - 1)
        assert drop(less.report) > 0.5


def test_graded_networks_get_fewer_payload_bits_and_then_fewer_weight_bits(examples, data):
    found = compiled(
        examples,
        data,
        coding="graded",
        timesteps="auto",
        weight_bits="auto",
        max_accuracy_drop=1.0,
    )
    options = found.report["options"]
    assert options["payload_bits"]["value"] < 8
    assert options["weight_bits"]["value"] < 8
    assert drop(found.report) <= 1.0


def test_a_promise_that_nothing_keeps_is_said(examples, data):
    found = compiled(
        examples,
        data,
        coding="sigma-delta",
        payload_bits="auto",
        weight_bits=2,
        rounding="nearest",
        bias_correction=False,
        max_accuracy_drop=0.0,
    )
    assert "promise-not-kept" in [warning["code"] for warning in found.report["warnings"]]
    assert found.report["options"]["payload_bits"]["value"] == 8


def test_auto_needs_a_promise_and_something_to_measure_it_on(examples, data):
    with pytest.raises(CompileError, match="timesteps cannot be 'auto'"):
        compiled(examples, data, timesteps="auto")
    with pytest.raises(CompileError, match="requires data to measure"):
        compiled(examples, (data[0], None), timesteps="auto", max_accuracy_drop=0.5)


def test_outputs_on_the_host_decide_what_auto_takes(tmp_path):
    path = hosted(tmp_path)
    x = uniform(80, 8)
    chosen = run_onnx(path, x)["policy"].argmax(1)
    labels = {"policy": (chosen + (np.arange(80) % 2)) % 4}  # half of them are wrong
    options = {"calibrate": x, "target": "unlimited", "emit": (), "outputs": "policy"}
    said = []

    class Listening(SilentObserver):
        def stage(self, name, text):
            said.append(text)

    options |= {"evaluate": (x, labels), "observer": Listening()}
    options |= {"payload_bits": "auto", "max_accuracy_drop": 20.0}
    report = compile_model(path, **options).report
    assert not accuracy(report, 20.0, "net")
    (rung,) = (one for one in report["ladder"] if one["stage"] == "host")
    lost = most_points_lost(of_rung(rung["before"]), of_rung(rung))
    assert [text for text in said if f"lose {lost:.2f} points" in text]
