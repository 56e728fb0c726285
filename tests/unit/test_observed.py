"""What a report keeps for its page agrees with the network that it is of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from example_report import OBSERVED
from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.report import html, schema
from snn_compile.report.page import answers, layer_sections, network, raster
from snn_compile.sim import engine, reference

N = 120


@pytest.fixture(scope="module")
def data(examples: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(examples / "digits_evaluate.npz") as arrays:
        return arrays["x"][:N], arrays["y"][:N]


@pytest.fixture(scope="module")
def made(examples: Path, data: tuple[np.ndarray, np.ndarray]) -> Callable[..., CompiledModel]:
    known: dict[str, CompiledModel] = {}

    def compiled(coding: str, **options: Any) -> CompiledModel:
        if coding not in known:
            with np.load(examples / "digits_calibrate.npz") as arrays:
                calibrate = arrays["x"][:128]
            known[coding] = compile_model(
                examples / "digits_cnn.onnx",
                calibrate=calibrate,
                evaluate=data,
                coding=coding,
                emit=(),
                **options,
            )
        return known[coding]

    return compiled


@pytest.fixture
def rate(made: Callable[..., CompiledModel]) -> CompiledModel:
    return made("rate", timesteps=6)


@pytest.fixture
def coarse(made: Callable[..., CompiledModel]) -> CompiledModel:
    """So few bits that some classes change."""
    return made("graded", payload_bits=2, weight_bits=3)


def layer(compiled: CompiledModel, name: str) -> dict[str, Any]:
    return next(one for one in compiled.report["layers"] if one["name"] == name)


def test_the_histogram_has_every_weight_on_its_level(rate: CompiledModel) -> None:
    for population in rate.program.populations:
        found = layer(rate, population.id)["weights_histogram"]
        groups = rate.program.synapses_into(population)
        values = np.concatenate([group.weight.values.reshape(-1) for group in groups])
        edges = found["low"] + found["width"] * np.arange(len(found["counts"]) + 1)
        assert found["counts"] == np.histogram(values, edges)[0].tolist()
        assert sum(found["counts"]) == values.size


def test_the_fan_in_is_that_of_the_neuron_with_the_most_synapses(rate: CompiledModel) -> None:
    """A 3x3 kernel on a border sees less; zeros are no synapses."""
    program, population = rate.program, rate.program.populations[0]
    (group,) = program.synapses_into(population)
    weight = group.weight.values
    assert layer(rate, population.id)["fan_in"] == max((one != 0).sum() for one in weight)
    assert layer(rate, population.id)["sources"] == [program.inputs[0].id]


def test_activations_are_the_sums_of_messages(
    rate: CompiledModel, data: tuple[np.ndarray, np.ndarray]
) -> None:
    frames = rate.encoding(data[0][:16])
    run = reference.run(rate.program, frames, record=True)
    for one in rate.report["activations"]:
        sums = run.messages[one["layer"]].sum(axis=1)
        found = one["histogram"]
        assert (one["samples"], found["low"], found["width"]) == (16, 0, 1)
        assert found["zeros"] == (sums == 0).sum()
        assert found["counts"] == [0, *((sums == level).sum() for level in range(1, 7))]


def test_the_raster_has_the_messages_of_its_neurons(
    rate: CompiledModel, data: tuple[np.ndarray, np.ndarray]
) -> None:
    frames = rate.encoding(data[0][:2])
    run = reference.run(rate.program, frames, record=True)
    for entry in rate.report["raster"]["layers"][1:]:  # the first one is the input
        messages = run.messages[entry["layer"]].reshape(2, 6, -1)
        assert entry["neurons"] == messages.shape[2]
        assert entry["start"] == rate.program.depth[entry["layer"]]
        for sample, rows in enumerate(entry["rows"]):
            for neuron, row in zip(entry["shown"], rows, strict=True):
                sent = "".join("9" if one else "." for one in messages[sample, :, neuron])
                assert row == sent


def test_after_the_last_step_the_curve_is_at_the_answers(
    rate: CompiledModel, data: tuple[np.ndarray, np.ndarray]
) -> None:
    (curve,) = rate.report["over_time"]
    n = curve["n"]
    run = engine.run(rate.program, rate.encoding(data[0][:n]), record=True)
    (readout,) = rate.program.readouts
    right = run.outputs[readout.id].reshape(n, -1).argmax(axis=1) == data[1][:n]
    assert (n, len(curve["top1"])) == (64, 6)
    assert curve["top1"][-1] == round(100 * right.mean(), 4)
    early = run.messages[readout.id][:, 2].reshape(n, -1).argmax(axis=1) == data[1][:n]
    assert curve["top1"][2] == round(100 * early.mean(), 4)
    last = [classes[-1] for classes in rate.report["raster"]["answers"]["classes"]]
    assert last == run.outputs[readout.id][:2].reshape(2, -1).argmax(axis=1).tolist()


def test_payloads_and_schedules_have_no_accuracy_over_time(coarse: CompiledModel) -> None:
    assert "over_time" not in coarse.report
    assert "answers" not in coarse.report["raster"]


def test_confusion_and_changes_are_those_of_the_accuracy(
    coarse: CompiledModel, data: tuple[np.ndarray, np.ndarray]
) -> None:
    (output,) = coarse.report["outputs"]
    rungs = {rung["stage"]: rung for rung in coarse.report["ladder"]}
    counts = np.array(output["confusion"]["counts"])
    assert counts.sum(axis=1).tolist() == np.bincount(data[1], minlength=10).tolist()
    assert np.trace(counts) == round(rungs["fixed"]["top1"] * N / 100)
    changed = output["changed"]
    assert changed["n"] == round((100 - rungs["fixed"]["agreement"]) * N / 100) > 0
    gap = round((rungs["fixed"]["top1"] - rungs["onnx"]["top1"]) * N / 100)
    assert changed["gained"] - changed["lost"] == gap
    values = coarse.run(data[0])
    for one in changed["samples"]:
        answer = values[one["sample"]].reshape(-1)
        assert (answer.argmax(), one["label"]) == (one["fixed"], data[1][one["sample"]])
        scores = {index: (before, fixed) for index, before, fixed in one["scores"]}
        assert max(scores, key=lambda index: scores[index][0]) == one["before"]
        for index, (_, fixed) in scores.items():
            assert fixed == float(f"{float(answer[index]):.4g}")


def test_parts_add_up_to_the_whole(rate: CompiledModel) -> None:
    cost = rate.report["cost"]
    energy = sum(one["energy"]["value"] for one in cost["parts"] if one["energy"])
    time = sum(one["time"]["value"] for one in cost["parts"] if one["time"])
    assert energy == pytest.approx(cost["energy"]["value"], rel=1e-12)
    assert time == pytest.approx(cost["latency"]["value"], rel=1e-12)


def test_the_page_is_made_from_the_report_alone(rate: CompiledModel) -> None:
    report = copy.deepcopy(rate.report)
    assert schema.complaint(schema.plain(report)) == ""
    sections = [section.id for section in html._sections(report, html._facts(report))]
    assert {"answers", "network", "layers", "spikes", "cost"} <= set(sections)


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (("raster", "layers", 0, "rows", 0, 0), "99x99999", "raster"),
        (("raster", "layers", 0, "rows", 0, 0), "9", "raster"),
        (("raster", "samples"), 10**9, "raster"),
        (("raster", "steps"), 10**9, "raster"),
        (("raster", "layers", 0, "start"), 10**9, "raster"),
        (("raster", "answers", "classes", 0), [1], "raster"),
        (("activations", 0, "histogram", "counts"), [], "histogram of activations"),
        (("activations", 0, "histogram", "width"), 0.0, "histogram of activations"),
        (("layers", 1, "thresholds_histogram", "low"), 1e9, "histogram of thresholds"),
        (("layers", 1, "weights_histogram", "counts", 0), -1, "histogram of weights"),
        (("over_time", 0, "top1"), [1.0], "accuracy over time"),
        (("over_time", 0, "agreement"), [], "accuracy over time"),
        (("outputs", 0, "confusion", "counts", 0), [1], "confusion matrix"),
        (("outputs", 0, "changed", "samples", 0, "image"), "https://a/b.png", "no PNG"),
        (("outputs", 0, "changed", "samples", 0, "scores", 0), [1.0], "scores"),
    ],
    ids=str,
)
def test_a_damaged_report_is_refused(place: tuple[Any, ...], value: Any, complaint: str) -> None:
    report = copy.deepcopy(OBSERVED)
    inner: Any = report
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert complaint in schema.complaint(report)


def test_connections_further_down_have_lanes_of_their_own() -> None:
    def entry(name: str, *sources: str) -> dict[str, Any]:
        return {"name": name, "sources": list(sources)}

    layers = [entry("a", "x"), entry("b", "a"), entry("c", "b", "a"), entry("d", "c", "a", "b")]
    found = network.network({"layers": layers})
    assert [stop.kind for stop in found.stops] == ["input", "layer", "layer", "join", "readout"]
    assert [stop.link for stop in found.stops] == ["", "layer-0", "layer-1", "layer-2", "layer-3"]
    assert len(found.paths) == 7
    lanes = {path.partition("V")[0].rpartition(" ")[2].partition(",")[0] for path in found.paths}
    assert len(lanes - {str(found.x)}) >= 2  # a and b are both awaited below c
    assert network.network({"layers": [entry("a")]}) is None


def test_older_reports_have_the_network_of_their_links() -> None:
    report = {
        "layers": [{"name": "a"}, {"name": "b"}],
        "resources": {"links": [{"source": s, "target": t, "axons": 1} for s, t in ("xa", "ab")]},
    }
    assert [stop.reads for stop in network.network(report).stops] == [(), ("x",), ("a",)]


def test_a_histogram_in_words_says_what_it_draws() -> None:
    found = {"low": 0.0, "width": 8.0, "counts": [0, 30, 10], "zeros": 60}
    shown = layer_sections.histogram("activations", found, "levels")
    assert (shown.low, shown.high) == ("0", "23")
    assert shown.words == (
        "activations: 40 from 0 to 23, in levels; most of them at 8 to 15;"
        " 60.0 % are 0 and not among them"
    )
    assert shown.path.count("M") == 2
    logarithmic = {"low": 10.0, "width": 2.0, "counts": [1, 0, 3], "log2": True}
    shown = layer_sections.histogram("thresholds", logarithmic, "steps", whole=False)
    assert (shown.low, shown.high) == ("1,024", "65,536")


def test_runs_of_messages_are_drawn_as_one_stroke() -> None:
    assert [*raster._runs("..99.1aa")] == [
        ("strong", 2, 2), ("weak", 5, 1), ("below weak", 6, 2)
    ]  # fmt: skip


def test_classes_are_called_by_their_names() -> None:
    (found,) = answers.answers(OBSERVED)
    assert found.matrix.names == ("cat", "dog", "ship")
    assert found.lost == "42 of them were right before, 31 are right now, 37 neither"
    one = found.changed[0]
    assert (one.label, one.before, one.fixed, one.verdict) == ("cat", "cat", "dog", "right before")
