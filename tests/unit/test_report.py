"""The report: numbers for people, JSON for scripts, one HTML file."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from example_report import EXAMPLE, OBSERVED
from snn_compile.report import figures, html, schema, terminal


@pytest.fixture
def report() -> dict[str, Any]:
    return copy.deepcopy(EXAMPLE)


def text_of(report: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=None, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(terminal.header(report))
        console.print(terminal.summary(report, "net.snn"))
    return capture.get()


def test_the_ladder_shows_the_loss_of_each_step(report: dict[str, Any]) -> None:
    steps = {step.stage: step for step in figures.ladder(report)}
    assert steps["onnx"].change is None
    assert steps["rate"].change == pytest.approx(-0.03)
    assert steps["fixed"].answer
    assert steps["rate"].note == "activations on 256 levels"
    assert figures.points(steps["folded"].change) == "±0.00"


def test_without_labels_the_ladder_shows_agreement(report: dict[str, Any]) -> None:
    for rung in report["ladder"]:
        rung["top1"] = None
    assert figures.measure(report) == "agreement"
    assert [step.percent for step in figures.ladder(report)][-1] == 98.9
    assert "<- the answer" in text_of(report)
    html.render(report)


@pytest.mark.parametrize("judged", range(6))
def test_rungs_may_lack_an_accuracy_each(report: dict[str, Any], judged: int) -> None:
    for k, rung in enumerate(report["ladder"]):
        rung["top1"] = rung["top1"] if k == judged else None
    assert "points against" not in html.render(report)
    text_of(report)


def test_rate_coding_says_how_many_levels_there_are(report: dict[str, Any]) -> None:
    report |= {"coding": "rate", "timesteps": 16}
    notes = [step.note for step in figures.ladder(report)]
    assert "activations on 17 levels" in notes


def test_the_summary_holds_what_a_person_asks_first(report: dict[str, Any]) -> None:
    text = text_of(report)
    for wanted in (
        "cifar10_resnet20.onnx   opset 13 · 5 conv, 1 dense · 269,722 weights · input 3x32x32",
        "target loihi2 · coding graded, 8 bit · 21 steps",
        "98.9 % of 10,000 arg-max equal to the ONNX model",
        "42,118 spikes · 9.6 M synaptic operations · 0.21 (0.15 to 0.34) mJ, 40 µJ static",
        "2.1 (1.4 to 3.5) ms · 800 inferences/s, limited by core 17",
        "(range of cited constants: loihi2.toml)\n",
        "no-calibration",
        "wrote net.snn/   report.html · lava/ · verify with: snn-compile verify net.snn",
    ):
        assert wanted in text
    assert re.search(r"fixed +91\.64 +-0\.06 .*<- the answer", text)


def test_an_empty_report_is_no_reason_to_fail() -> None:
    assert text_of({})
    assert "Nothing was evaluated" in html.render({})


@pytest.mark.parametrize("example", [EXAMPLE, OBSERVED], ids=["older", "observed"])
def test_html_is_one_file(example: dict[str, Any]) -> None:
    page = html.render(copy.deepcopy(example))
    targets = re.findall(r"(?:src|href)=[\"']?([^\"' >]*)", page)
    assert targets
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    assert not re.search(r"url\(|@import|https?://", page)
    assert "prefers-color-scheme: dark" in page
    assert "<svg" in page
    assert "equal, bit for bit" in page


def test_html_escapes_what_comes_from_a_model(report: dict[str, Any]) -> None:
    report["layers"][0]["name"] = "<script>alert(1)</script>"
    report["model"]["path"] = "x/<b>.onnx"
    page = html.render(report)
    assert "<script>" not in page
    assert "x/<b>" not in page


def test_no_other_script_than_the_pages_own_may_run() -> None:
    report = copy.deepcopy(OBSERVED)
    report["layers"][1]["name"] = report["raster"]["layers"][0]["layer"] = (
        "<script>alert(1)</script>"
    )
    report["options"]["labels"]["value"][0] = "</li><script>alert(2)</script>"
    page = html.render(report)
    own = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(own) == page.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert "default-src &#39;none&#39;" in policy
    assert f"script-src &#39;sha256-{digest}&#39;" in policy.replace("&#43;", "+").split("; ")


def test_a_difference_is_shown_with_its_place(report: dict[str, Any]) -> None:
    report["verification"][0] |= {
        "equal": False,
        "first_divergence": {
            "layer": "conv1", "step": 3, "neuron": 17, "expected": 5, "actual": 6, "stimulus": 0
        },
    }  # fmt: skip
    place = "stimulus 0, layer conv1, step 3, neuron 17, expected 5, got 6"
    assert place in text_of(report)
    assert place in html.render(report)


def test_the_simulator_is_named_where_it_is_the_slow_one(report: dict[str, Any]) -> None:
    assert "simulator" not in text_of(report)
    assert "engine avx512" in html.render(report)
    report["simulator"] = "reference (no compiled engine: not built)"
    assert "simulator     reference (no compiled engine: not built)" in text_of(report)
    assert report["simulator"] in html.render(report)
    for older in (None, ""):  # nothing was simulated, or by a version that did not say
        report["simulator"] = older
        assert "simulator" not in text_of(report)


def test_what_was_not_compared_is_neither_equal_nor_different(report: dict[str, Any]) -> None:
    report["verification"] = [
        {"against": "engine", "mode": "no compiled engine: x", "stimuli": 0, "equal": None}
    ]
    assert "engine (no compiled engine: x): not compared" in text_of(report)
    for text in (text_of(report), html.render(report)):
        assert "not compared" in text
        assert "equal, bit for bit" not in text
        assert "iffers" not in text.replace("DIFFERS", "differs")


def test_json_has_a_stable_order_and_no_nan(report: dict[str, Any]) -> None:
    report["layers"][0]["rate"] = float("nan")
    report["layers"][1]["threshold"] = np.array([1, 2])
    report["cost"]["spikes_per_inference"] = np.float64(3.5)
    turned = dict(reversed(report.items()))
    turned["layers"] = [dict(reversed(entry.items())) for entry in report["layers"]]
    text = schema.dumps(turned)
    assert text == schema.dumps(report)
    read = json.loads(text)
    assert list(read)[:3] == ["schema", "tool", "model"]
    assert read["layers"][0]["rate"] is None
    assert read["layers"][1]["threshold"] == [1, 2]
    assert read["cost"]["spikes_per_inference"] == 3.5


def test_the_header_has_the_joins_of_the_file(report: dict[str, Any]) -> None:
    report["model"]["operators"] = {"conv": 19, "dense": 1, "joins": 9}
    assert "19 conv, 1 dense, 9 residual joins" in text_of(report)
    report["model"]["operators"] = {"conv": 0, "dense": 2, "joins": 0}
    assert "0 conv, 2 dense · " in text_of(report)


def test_several_groups_of_synapses_are_no_residual_join(report: dict[str, Any]) -> None:
    for entry, op in zip(report["layers"], ("conv", "conv join", "conv+sparse join"), strict=False):
        entry["op"] = op
    report["layers"].append({"name": "r", "op": "sparse", "relay": True})
    assert "5 conv, 1 dense" in text_of(report)
    assert "join" not in text_of(report)


@pytest.mark.parametrize(
    ("share", "text"), [(None, "–"), (0, "0 %"), (1e-5, "<0.1 %"), (0.019, "1.9 %"), (1, "100 %")]
)
def test_shares(share: float | None, text: str) -> None:
    assert figures.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (7, "7"), (42118, "42,118"), (9.6e6, "9.6 M"), (3.14159, "3.1")],
)
def test_counts_are_short(value: float | None, text: str) -> None:
    assert figures.short(value) == text


def test_what_auto_found_is_in_the_summary(report: dict[str, Any]) -> None:
    origin = "auto, at most 1 points lost"
    report["options"]["timesteps"] = {"value": 5, "origin": origin}
    report["options"]["weight_bits"] = {"value": 6, "origin": origin}
    (line,) = (line for line in text_of(report).splitlines() if line.startswith("  auto "))
    assert set(line.split("auto", 1)[1].strip().split(", ")) == {
        "--timesteps 5",
        "--weight-bits 6",
    }
