"""The accuracy ladder, and what is said where a rung has seen fewer samples than the others."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from rich.console import Console

from snn_compile.pipeline.driver import compile_model
from snn_compile.report import evaluation, figures, html, schema, terminal
from snn_compile.report.ladder import Ladder
from snn_compile.samples.outputs import Expected

LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1])


def scores(*answers):
    """Outputs of two classes, (N, 2), with the given ones the largest."""
    return np.eye(2)[list(answers)]


def climbed(labels=LABELS):
    """Eight samples; `rate` and `spiking` answer the first four of them differently."""
    ladder = Ladder([Expected("y", (2,), y=labels)])
    ladder.add("onnx", [scores(0, 1, 0, 1, 0, 1, 0, 0)])
    ladder.add("rate", [scores(0, 1, 0, 0, 0, 1, 1, 0)])
    ladder.add("spiking", [scores(0, 1, 1, 0)])
    ladder.add("fixed", [scores(0, 1, 1, 1, 0, 1, 1, 0)])
    ladder.repeat("mapped", "fixed")
    return ladder.rungs


def report(**options):
    known = {"coding": "rate", "timesteps": 32, "target": "loihi2", "ladder": climbed(**options)}
    return json.loads(schema.dumps(known))


def lines(known):
    """The ladder on the terminal, by stage."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(terminal.summary(known))
    named = re.findall(r"^ .{15}(\w+) +(\d+\.\d\d.*?) *$", capture.get(), re.MULTILINE)
    return {stage: re.sub(r"\s+", " ", text) for stage, text in named}


def test_a_rung_is_compared_with_the_first_on_its_own_samples():
    rungs = {rung["stage"]: rung for rung in climbed()}
    assert rungs["onnx"] == {"stage": "onnx", "top1": 87.5, "agreement": 100.0, "n": 8}
    assert rungs["rate"] == {"stage": "rate", "top1": 62.5, "agreement": 75.0, "n": 8}
    assert rungs["spiking"] == {
        "stage": "spiking",
        "top1": 50.0,
        "agreement": 50.0,
        "n": 4,
        "before": {"stage": "rate", "top1": 75.0, "agreement": 75.0},
    }
    assert rungs["fixed"] == {"stage": "fixed", "top1": 62.5, "agreement": 75.0, "n": 8}
    assert rungs["mapped"] == {**rungs["fixed"], "stage": "mapped"}


def test_as_many_samples_as_the_others_are_all():
    ladder = Ladder([Expected("y", (2,))])
    for stage in ("onnx", "spiking"):
        ladder.add(stage, [scores(0, 1, 1)])
    assert all("before" not in rung for rung in ladder.rungs)


def test_changes_are_between_the_same_samples():
    changes = {step.stage: step.change for step in figures.ladder(report())}
    assert changes == {"onnx": None, "rate": -25.0, "spiking": -25.0, "fixed": 0.0, "mapped": 0.0}
    samples = {step.stage: step.first for step in figures.ladder(report())}
    assert samples == {"onnx": 0, "rate": 0, "spiking": 4, "fixed": 0, "mapped": 0}


def test_the_terminal_says_which_samples_and_against_what():
    said = lines(report())
    assert said["rate"] == "62.50 -25.00 activations on 33 levels"
    assert said["spiking"] == (
        "50.00 -25.00 spiking network in float, 32 steps per layer · first 4 (rate 75.00)"
    )
    assert said["fixed"] == (
        "62.50 ±0.00 fixed point, 8-bit weights · change from rate <- the answer"
    )
    assert said["mapped"] == "62.50 ±0.00 placed on loihi2"


def test_without_labels_agreements_are_compared():
    said = lines(report(labels=None))
    assert said["spiking"].startswith("50.00 -25.00")
    assert said["spiking"].endswith("first 4 (rate 75.00)")
    assert said["fixed"].startswith("75.00 ±0.00")


def test_the_page_says_it_and_leaves_the_rung_out_of_the_line():
    known = report()
    page = html.render(known)
    assert "32 steps per layer · first 4 (rate 75.00)</td>" in page
    assert re.search(r"<th scope=\"row\">spiking</th>.*?<td class=\"n\">4</td>", page)
    assert "8-bit weights · change from rate</td>" in page
    drawing = html.plot(known)
    assert [dot.samples for dot in drawing.dots] == ["", "", "first 4", "", ""]
    assert drawing.path.count("L") == 3
    partial = drawing.dots[2]
    assert f"{partial.x},{partial.y}" not in drawing.path
    assert page.count('class="partial"') == 1


def test_thousands_are_written_as_everywhere():
    known = report()
    known["ladder"][2]["n"] = 1000
    assert "first 1,000 (rate" in lines(known)["spiking"]
    assert ">first 1,000</text>" in html.render(known)


def test_the_order_of_the_keys_is_that_of_the_schema():
    rung = next(rung for rung in report()["ladder"] if rung["stage"] == "spiking")
    assert list(rung) == ["stage", "top1", "agreement", "n", "before"]


@pytest.mark.parametrize(("at_most", "n"), [(30, 30), (1000, 50)])
def test_the_stages_in_between_see_the_first_samples(examples, monkeypatch, at_most, n):
    monkeypatch.setattr(evaluation, "LOCATING_SAMPLES", at_most + 10)
    monkeypatch.setattr(evaluation, "SPIKING_SAMPLES", at_most)
    data = np.load(examples / "digits_evaluate.npz")
    compiled = compile_model(
        examples / "digits_mlp.onnx",
        calibrate=np.load(examples / "digits_calibrate.npz")["x"][:100],
        evaluate=(data["x"][:50], data["y"][:50]),
        coding="rate",
        timesteps=4,
        emit=(),
    )
    rungs = {rung["stage"]: rung for rung in compiled.report["ladder"]}
    between = [rungs.pop(stage) for stage in ("folded", "rate", "spiking")]
    assert [rung["n"] for rung in between] == [min(50, n + 10), min(50, n + 10), n]
    assert {rung["n"] for rung in rungs.values()} == {50}
    befores = [rung["before"]["stage"] for rung in between if "before" in rung]
    assert befores == (["onnx", "folded", "rate"] if n < 50 else [])
