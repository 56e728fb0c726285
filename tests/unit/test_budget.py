"""Widths of layers within a budget: the knapsack, networks of several widths, and what is kept."""

from __future__ import annotations

import itertools
import json

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_models import model, node
from snn_compile.codings import coding_of
from snn_compile.convert.calibrate import calibrate
from snn_compile.errors import CompileError, CompileErrors
from snn_compile.ir.graph import NodeId
from snn_compile.ir.text import to_text
from snn_compile.lowering import at_widths, lower
from snn_compile.options import CompileOptions, LayerOptions
from snn_compile.options.budget import read_budget
from snn_compile.pipeline.budget import knapsack
from snn_compile.pipeline.budget.knapsack import Front
from snn_compile.pipeline.budget.versions import Choice, Measured, Versions
from snn_compile.pipeline.driver import check_model, compile_model
from snn_compile.pipeline.values import ValueCodec
from snn_compile.report import html, schema
from snn_compile.report.budget_drawing import budget_drawing
from snn_compile.samples.arrays import Samples

VERSIONS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=4)


@given(layers=st.lists(VERSIONS, max_size=5), limit=st.integers(-1, 160))
def test_the_front_has_the_least_error_within_any_limit(layers, limit):
    costs = [np.array([cost for cost, _ in layer], float) for layer in layers]
    errors = [np.array([error for _, error in layer], float) for layer in layers]
    front = Front.of(costs, errors)
    every = [tuple(map(sum, zip(*choice, strict=True))) for choice in itertools.product(*layers)]
    totals = [total or (0, 0) for total in every]
    least = min((error for cost, error in totals if cost <= limit), default=None)
    point = front.within(limit)
    assert (point is None) == (least is None)
    if point is not None:
        chosen = front.versions(point)
        assert sum(e[k] for e, k in zip(errors, chosen, strict=True)) == least
        assert sum(c[k] for c, k in zip(costs, chosen, strict=True)) == front.cost[point] <= limit


def test_a_front_of_many_points_is_thinned_and_stays_within_its_limits(monkeypatch):
    random = np.random.default_rng(0)
    costs = [random.random(4) for _ in range(8)]
    errors = [random.random(4) for _ in range(8)]
    whole = Front.of(costs, errors)
    monkeypatch.setattr(knapsack, "MOST", 16)
    thin = Front.of(costs, errors)
    assert len(thin.cost) <= 17 < len(whole.cost)
    assert (np.diff(thin.cost) > 0).all()
    assert (np.diff(thin.error) < 0).all()
    assert thin.cost[0] == whole.cost[0]
    for point, cost in enumerate(thin.cost):
        chosen = thin.versions(point)
        assert np.isclose(sum(c[k] for c, k in zip(costs, chosen, strict=True)), cost)
        assert thin.error[point] >= whole.error[whole.within(cost + 1e-9)]


@pytest.mark.parametrize("text", ["", "memory", "memory=", "memory=0", "energy=-1", "energy=nan"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(CompileError, match="budget must be memory=BYTES or energy=UJ"):
        CompileOptions(budget=text)


def test_a_budget_is_stated_in_one_way():
    assert CompileOptions(budget="memory=2K").budget == "memory=2048"
    assert CompileOptions(budget="energy=2").budget == "energy=2.0"
    assert read_budget("energy=2.0").unit == "µJ"


def test_a_searched_width_and_a_budget_exclude_each_other():
    with pytest.raises(CompileErrors) as caught:
        CompileOptions(budget="memory=2K", weight_bits="auto")
    assert {error.code for error in caught.value.errors} == {"bad-option"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small file of a convolution and two dense layers, and 64 samples."""
    random = np.random.default_rng(0)
    sizes = {"w": (4, 2, 3, 3), "v": (64, 12), "u": (12, 5)}
    weights = {name: random.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    nodes = [
        node("Conv", "x w", "c", "c"),
        node("Relu", "c", "relu1", "relu1"),
        node("Flatten", "relu1", "f"),
        node("MatMul", "f v", "d", "d"),
        node("Relu", "d", "relu2", "relu2"),
        node("MatMul", "relu2 u", "y", "y"),
    ]
    path = tmp_path_factory.mktemp("budget") / "net.onnx"
    onnx.save(model(nodes, ("N", 2, 6, 6), weights), str(path))
    return path, random.random((64, 2, 6, 6)).astype(np.float32)


def test_a_network_put_together_from_widths_is_that_of_the_options(network):
    """Without a fit of layers, the integers of one do not depend on the others' widths."""
    options = CompileOptions(rounding="nearest", bias_correction=False, target="unlimited")
    path, images = network
    folded = check_model(path, options).folded
    statistics, coding = calibrate(folded, images), coding_of(options, "graded")
    parts = folded, statistics, Samples(images), options
    widths = at_widths(*parts, coding, (8, 4, 2))
    chosen = {"relu1": 2, "y.output": 4}
    layers = tuple(LayerOptions(name, weight_bits=bits) for name, bits in chosen.items())
    whole = lower(*parts[:3], options.override({"layers": layers}), coding)
    mixed = widths.mixed(chosen)
    assert to_text(mixed.program) == to_text(whole.program)
    assert {n: x.weight_bits for n, x in mixed.numbers.items()} == {
        n: x.weight_bits for n, x in whole.quantization.numbers.items()
    }


def test_layers_are_fitted_as_a_whole_network_is_at_the_largest_width(network):
    options = CompileOptions(target="unlimited")
    path, images = network
    folded = check_model(path, options).folded
    statistics, coding = calibrate(folded, images), coding_of(options, "graded")
    parts = folded, statistics, Samples(images), options, coding
    widths = at_widths(*parts, (8, 3))
    assert to_text(widths.widest.program) == to_text(lower(*parts).program)
    first = widths.at[3].program.populations[0]
    alone = lower(*parts[:3], options.override({"weight_bits": 3}), coding).program
    groups = [program.synapses_into(first)[0] for program in (widths.at[3].program, alone)]
    assert np.array_equal(*(group.weight.values for group in groups))  # its input is the same


def test_in_rate_coding_layers_of_every_width_start_from_calibrated_potentials(network):
    """Their weights are those that the network as a whole has, whose first input is the same."""
    options = CompileOptions(target="unlimited", timesteps=8)
    path, images = network
    folded = check_model(path, options).folded
    statistics, coding = calibrate(folded, images), coding_of(options, "rate")
    parts = folded, statistics, Samples(images)
    narrow = at_widths(*parts, options, coding, (8, 3)).at[3].program
    whole = lower(*parts, options.override({"weight_bits": 3}), coding).program
    first = narrow.populations[0]
    groups = [program.synapses_into(first)[0] for program in (narrow, whole)]
    assert np.array_equal(*(group.weight.values for group in groups))
    for population in narrow.populations[:-1]:
        start = population.initial_potential.values / population.threshold.values[:, None, None]
        assert (start != 0.5).mean() > 0.8


def compiled(network, **options):
    path, images = network
    given = {"calibrate": images, "emit": (), **options}
    return compile_model(path, **given)


@pytest.fixture(scope="module")
def kept(network):
    return compiled(network, budget="memory=1100")


def memory_of(report):
    return sum(core["synapse_memory_bits"] for core in report["resources"]["per_core"]) / 8


def test_the_memory_is_within_the_budget_and_the_choice_the_best_of_all(kept):
    budget = kept.report["budget"]
    assert memory_of(kept.report) == budget["chosen"]["cost"] <= budget["limit"] == 1100
    chosen = {choice["layer"]: choice["bits"] for choice in budget["choices"]}
    for layer in kept.report["layers"]:
        assert chosen.get(layer["name"], 8) == layer["weight_bits"]
    rows = [list(zip(one["cost"], one["error"], strict=True)) for one in budget["choices"]]
    sums = [tuple(map(sum, zip(*choice, strict=True))) for choice in itertools.product(*rows)]
    spent = sum(one["cost"][one["widths"].index(one["bits"])] for one in budget["choices"])
    # Every layer has a choice: nothing else takes memory.
    assert budget["others"] == 0
    assert budget["uniform"][0]["cost"] == sum(one["cost"][0] for one in budget["choices"])
    least = min(error for cost, error in sums if cost <= spent)
    assert budget["chosen"]["predicted_error"] == pytest.approx(budget["base_error"] + least)
    assert min(chosen.values()) < 8
    # Of the network, not of a prediction: with all bits, it is nearer to the float network.
    assert budget["uniform"][0]["error"] < budget["chosen"]["error"] < 0.1
    assert budget["uniform"][0]["predicted_error"] == budget["uniform"][0]["error"]


@pytest.mark.parametrize("coding", ["graded", "rate"])
def test_layers_are_judged_by_the_fit_of_reconstruction(network, coding):
    fitted, learned = (
        compiled(network, budget="memory=1100", coding=coding, timesteps=4, rounding=rounding)
        for rounding in ("compensated", "reconstructed:4")
    )
    errors, others = (
        [choice["error"] for choice in one.report["budget"]["choices"]] for one in (learned, fitted)
    )
    assert errors == others
    assert memory_of(learned.report) <= 1100


def test_the_same_inputs_give_the_same_network(network, kept):
    again = compiled(network, budget="memory=1100")
    assert to_text(again.program) == to_text(kept.program)
    assert again.report["budget"] == kept.report["budget"]
    assert again.provenance == kept.provenance
    assert '"budget": "memory=1100"' in kept.provenance["options"]
    assert "budget" not in compiled(network, rounding="nearest").provenance["options"]


def test_the_report_shows_it(kept):
    assert schema.complaint(json.loads(schema.dumps(kept.report))) == ""
    drawing = budget_drawing(kept.report)
    assert [mark.kind for mark in drawing.marks[-8:]] == ["uniform"] * 7 + ["answer"]
    assert drawing.limit is not None
    assert len(drawing.rows) == 3
    page = html.render(kept.report)
    assert 'id="budget"' in page
    broken = schema.plain(kept.report)
    broken["budget"]["choices"][0]["widths"] = [8]
    assert "lacks a width" in schema.complaint(broken)


def test_a_budget_that_cannot_be_kept_names_the_smallest_that_can(network, tmp_path):
    config = tmp_path / "net.toml"
    config.write_text('budget = "memory=100"\ncoding = "graded"\n')
    options = CompileOptions.from_sources(config, {})
    with pytest.raises(CompileError) as caught:
        compiled(network, options=options)
    assert (caught.value.code, str(caught.value.origin)) == ("budget-too-small", f"{config}:budget")
    smallest = int(caught.value.hint.rpartition("=")[2])
    assert 100 < memory_of(compiled(network, budget=f"memory={smallest}").report) <= smallest


def test_energy_is_that_of_the_bill_and_stated_widths_are_kept(network):
    stated = (LayerOptions("relu1", weight_bits=6), LayerOptions("relu2", payload_bits=7))
    options = {"layers": stated, "coding": "graded", "evaluate": (network[1], None)}
    ends = compiled(network, budget="energy=1000", **options).report["budget"]["front"]
    limit = 0.8 * ends[0]["cost"] + 0.2 * ends[-1]["cost"]
    found = compiled(network, budget=f"energy={limit}", **options)
    report, choices = found.report, found.report["budget"]["choices"]
    energy = 1e6 * report["cost"]["energy"]["dynamic"]["value"]
    assert energy == pytest.approx(report["budget"]["chosen"]["cost"])
    assert energy <= limit < ends[-1]["cost"]
    assert {layer["name"]: layer["weight_bits"] for layer in report["layers"]}["relu1"] == 6
    assert [(one["layer"], one["option"]) for one in choices] == [
        ("relu2", "weight_bits"),
        ("y.output", "weight_bits"),
        ("relu1", "payload_bits"),
    ]
    # The options as they came out give the same network, without a budget.
    layers = tuple(LayerOptions(**one) for one in report["options"]["layers"]["value"])
    again = compiled(network, **{**options, "layers": layers})
    assert to_text(again.program) == to_text(found.program)
    assert choices[2]["bits"] < 8
    assert schema.complaint(schema.plain(report)) == ""
    assert "payloads" in html.render(report)


def test_an_interrupted_search_goes_on_with_what_it_found():
    choice = Choice(NodeId("relu"), "weight_bits", (8, 4), (2.0, 1.0), (0.0, 0.5))
    point = Measured((4,), 1.0, 0.5, None, None)
    versions, arrays = Versions((choice,), 0.0, 0.1, 64, (point,), (point,)), {}
    kept = ValueCodec().encode(versions, arrays, "kept")
    assert ValueCodec().decode(kept, arrays) == versions


def test_outputs_that_do_not_vary_have_an_error(network):
    """Relative to what they are: their variance is 0."""
    path, images = network
    dead = onnx.load(path)
    for one in dead.graph.initializer:
        if one.name == "w":
            one.CopyFrom(onnx.numpy_helper.from_array(np.zeros((4, 2, 3, 3), np.float32), "w"))
    bias = np.array([1.234e12, -98765.4, 3.3, 1, 2], np.float32)
    dead.graph.initializer.append(onnx.numpy_helper.from_array(bias, "bias"))
    dead.graph.node[-1].output[0] = "sums"
    dead.graph.node.append(node("Add", "sums bias", "y", "add"))
    onnx.save(dead, str(path.with_name("dead.onnx")))
    found = compiled((path.with_name("dead.onnx"), images), budget="memory=1K", coding="graded")
    assert 0 <= found.report["budget"]["chosen"]["error"] < 1


def test_a_budget_requires_samples(network):
    with pytest.raises(CompileError) as caught:
        compile_model(network[0], budget="memory=1100", emit=())
    assert caught.value.code == "missing-data"
