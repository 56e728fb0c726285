"""Fitting layers: nearer to the float network on fresh samples, and nothing else is touched."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anns import INPUT, Net
from quantized_cases import CODINGS, NETWORKS, SAME, Case, same
from snn_compile import compile_model
from snn_compile.codings.graded import Graded
from snn_compile.convert.calibrate import calibrate
from snn_compile.ir.graph import maps_shape
from snn_compile.ir.quantized import VOLTAGE_LIMIT
from snn_compile.ir.text import to_text
from snn_compile.passes import watched
from snn_compile.quantize import fit_layers
from snn_compile.quantize.calibrate_potentials import CalibratePotentials
from snn_compile.quantize.fit_layers import FitLayers, foreseen
from snn_compile.quantize.sites import rectifiers_and_outputs
from snn_compile.sim import ann, bounds, reference


def fitted(case, biases=True, quantization=None):
    frames = case.encoding(case.x)
    fit = FitLayers(case.folded, case.x, frames, biases)
    return fit(quantization or case.quantization).graph


def answers(case, quantization, x):
    run = reference.run(quantization.program, case.encoding(x))
    ((name, potentials),) = run.outputs.items()
    n_steps = quantization.program.window.n_steps
    return potentials[..., 0, 0] * quantization.numbers[name].unit / n_steps


@pytest.mark.parametrize("coding", ["graded4", "rate"])
@pytest.mark.parametrize("name", NETWORKS)
def test_answers_to_fresh_samples_come_nearer(name, coding):
    """Than without, and than with corrected biases alone."""
    network = NETWORKS[name]()
    x = np.random.default_rng(1).normal(size=(900, *network.input.shape))
    case = Case(network, CODINGS[coding], 4, x=x)
    fresh = np.random.default_rng(2).normal(size=(300, *network.input.shape))
    wanted = ann.evaluate(case.folded, fresh)

    def error(quantization):
        return ((answers(case, quantization, fresh) - wanted) ** 2).mean()

    found = error(fitted(case))
    assert found < 0.8 * error(case.quantization)
    assert found < 0.9 * error(case.corrected())


def separable(seed=4):
    """Depthwise and pointwise layers in turn, whose few weights have no errors that cancel."""
    net = Net((2, 8, 8), seed=seed)
    x = net.relu(net.conv(INPUT, 6, geometry=SAME))
    for _ in range(2):
        x = net.relu(net.conv(x, 6, geometry=replace(SAME, groups=6)))
        x = net.relu(net.conv(x, 6, (1, 1)))
    net.dense(net.flatten(net.average_pool(x, (4, 4))), 4)
    return net.build()


def test_weights_and_initial_potentials_compensate_different_parts_of_an_error():
    """In rate coding: better than either, and the layers behind are given what will be sent."""
    network = separable()
    x = np.random.default_rng(1).normal(size=(256, *network.input.shape))
    case = Case(network, CODINGS["rate"], 8, x=x)
    frames = case.encoding(x)
    fresh = np.random.default_rng(2).normal(size=(200, *network.input.shape))
    wanted = ann.evaluate(case.folded, fresh)
    potentials = CalibratePotentials(case.folded, x, frames, case.scales)

    def error(*passes):
        quantization = case.quantization
        for one in passes:
            quantization = one(quantization).graph
        return ((answers(case, quantization, fresh) - wanted) ** 2).mean()

    fit = FitLayers(case.folded, x, frames, biases=False, starts=case.scales)
    alone, rounded = replace(fit, starts=None), replace(fit, starts=None, refits=False)
    both = error(fit, potentials)
    assert both < 0.8 * error(rounded, potentials)
    assert both < error(alone, potentials)
    assert both < error(replace(fit, biases=True, starts=None))


def test_layers_fitted_to_their_counts_answer_better_than_to_their_drives(monkeypatch):
    """On fresh samples, with potentials calibrated in both."""
    network = separable()
    x = np.random.default_rng(1).normal(size=(256, *network.input.shape))
    case = Case(network, CODINGS["rate"], 8, x=x)
    fresh = np.random.default_rng(2).normal(size=(200, *network.input.shape))
    wanted = ann.evaluate(case.folded, fresh)
    fit = FitLayers(case.folded, x, case.encoding(x), starts=case.scales)

    def error():
        return ((answers(case, fit(case.quantization).graph, fresh) - wanted) ** 2).mean()

    found = error()
    monkeypatch.setattr(fit_layers, "COUNT_ROUNDS", 0)
    assert found < error()


def test_progress_counts_the_layers():
    case, seen = Case(next(iter(NETWORKS.values()))(), CODINGS["rate"], 8), []

    @contextmanager
    def progress(name, total):
        seen.append((name, total))
        yield seen.append

    with watched(progress):
        fitted(case)
    total = len(case.quantization.program.populations)
    assert seen == [("fit-layers", total), *[1] * total]


@pytest.mark.parametrize("name", NETWORKS)
def test_drives_that_calibration_recorded_are_those_of_the_fit(name, monkeypatch):
    case = Case(NETWORKS[name](), CODINGS["rate"], 4)
    frames, folded = case.encoding(case.x), case.folded
    n_steps = case.quantization.program.window.n_steps
    shapes = {node.id: maps_shape(node.shape) for node in folded.graph}
    drives = foreseen(folded, shapes, len(case.x), n_steps)
    calibrate(folded, case.x, also=drives.from_sample)
    computed = []
    real = fit_layers.float_drives
    monkeypatch.setattr(
        fit_layers, "float_drives", lambda *given: computed.append(given) or real(*given)
    )
    alone, shared, fewer = (
        FitLayers(folded, case.x[:n], frames[:n], drives=of)(case.quantization).graph.program
        for n, of in ((None, None), (None, drives), (-1, drives))
    )
    assert len(computed) == 2  # alone, and of other samples than those foreseen
    assert to_text(shared) == to_text(alone) != to_text(fewer)


UNITS_STAY = ("signed", "zero")


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [2, 8])
def test_only_weights_and_biases_of_layers_change(name, coding, bits):
    case = Case(NETWORKS[name](), CODINGS[coding], bits)
    before, after = case.quantization, fitted(case, biases=coding != "zero")
    assert (after.numbers is before.numbers) is (bits == 8 or coding in UNITS_STAY)
    layers = set(rectifiers_and_outputs(case.folded))
    n_changed = 0
    for old, new in zip(before.program.graph, after.program.graph, strict=True):
        (reader,) = [node.id for node in before.program.graph.consumers(old.id)][:1] or [None]
        if old.id in layers:
            unit, was = (q.numbers[old.id].unit for q in (after, before))
            if (unit != was).any():  # the same thresholds in other steps
                assert bits == 2
                now, then = new.threshold_steps * unit, old.threshold_steps * was
                assert (np.abs(now - then) <= (unit + was) / 2 + then / 2**11).all()
                continue
            assert same(replace(new, bias=old.bias), old)
            if coding == "zero":
                assert same(new, old)
        elif reader in layers and hasattr(old, "weight"):
            assert np.abs(new.weight.values).max(initial=0) < 1 << (bits - 1)
            n_changed += (old.weight.values != new.weight.values).any()
            assert same(replace(new, weight=old.weight), old)
        else:
            assert same(new, old)
    assert n_changed > 1
    for population in after.program.populations:
        interval = bounds.potential(after.program.graph, population, after.program.window.n_steps)
        assert interval.magnitude <= VOLTAGE_LIMIT


def test_biases_stay_where_they_shall():
    case = Case(NETWORKS["residual"](), Graded(4), 4)
    without = fitted(case, biases=False)
    for old, new in zip(case.quantization.program.graph, without.program.graph, strict=True):
        if hasattr(old, "bias") and without.numbers[old.id] is case.quantization.numbers[old.id]:
            assert same(new, old)
    without = without.program
    assert any(
        (a.bias.values != b.bias.values).any()
        for a, b in zip(without.populations, fitted(case).program.populations, strict=True)
    )


@pytest.mark.parametrize("coding", ["graded", "rate"])
def test_no_state_can_overflow_whatever_is_wanted(coding, monkeypatch):
    """Drives that no state could hold: channels that cannot follow keep what they had."""
    real = fit_layers.float_drives

    def enormous(folded, x, sites):
        return {
            key: drive * np.float32(10) ** np.arange(len(drive), dtype=np.float32)[:, None]
            for key, drive in real(folded, x, sites).items()
        }

    monkeypatch.setattr(fit_layers, "float_drives", enormous)
    case = Case(NETWORKS["mlp"](), CODINGS[coding], 8)
    after = fitted(case).program
    kept = moved = 0
    for old, new in zip(case.quantization.program.populations, after.populations, strict=True):
        interval = bounds.potential(after.graph, new, after.window.n_steps)
        assert interval.magnitude <= VOLTAGE_LIMIT
        equal = (old.bias.values == new.bias.values).reshape(len(old.bias.values), -1).all(axis=1)
        kept, moved = kept + equal.sum(), moved + (~equal).sum()
    assert kept
    assert moved


def test_the_same_samples_give_the_same_program():
    case = Case(NETWORKS["residual"](), Graded(4), 4)
    one, other = fitted(case).program, fitted(case).program
    assert all(same(a, b) for a, b in zip(one.graph, other.graph, strict=True))


@pytest.mark.parametrize("bits", [3, 8])
def test_whole_networks(bits):
    """The pass is part of every compilation with calibration data, unless switched off."""
    folder = Path(__file__).parents[2] / "examples"
    model, x = folder / "digits_cnn.onnx", np.load(folder / "digits_calibrate.npz")["x"]
    near = compile_model(model, calibrate=x, weight_bits=bits, rounding="nearest")
    fit = compile_model(model, calibrate=x, weight_bits=bits)
    changed = [
        (fit.program.graph[node.id].weight.values != node.weight.values).any()
        for node in near.program.graph
        if hasattr(node, "weight")
    ]
    assert sum(changed) >= 3
