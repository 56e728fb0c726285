"""Reset calibration: counts come nearer to the activations, and nothing else changes."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

import anns
from calibration_cases import N_STEPS, NETWORKS, Case
from snn_compile import CompileOptions
from snn_compile.codings import coding_of
from snn_compile.convert.calibrate import calibrate
from snn_compile.ir import ann
from snn_compile.ir.quantized import VOLTAGE_LIMIT, IFNeurons, Readout
from snn_compile.ir.spiking import Reset
from snn_compile.lowering import lower
from snn_compile.pipeline.folding import FOLDING
from snn_compile.quantize.calibrate_resets import CalibrateResets
from snn_compile.samples.arrays import Samples
from snn_compile.sim import bounds, reference
from snn_compile.sim.ann import evaluate as float_answers


def calibrated(case):
    frames = case.encoding(case.x)
    return CalibrateResets(case.folded, case.x, frames, case.scales)(case.quantization).graph


def squared_errors(case, program):
    """Of every layer: mean square of the counts less the activations in counts."""
    run = reference.run(program, case.encoding(case.x), record=True)
    values = anns.values(case.folded, case.x)
    found = {}
    for node in case.folded.graph:
        if isinstance(node, ann.Relu) and node.like is None:
            counts = run.messages[node.id].sum(axis=1)
            wanted = np.moveaxis(values[node.id], -1, 0).reshape(counts.shape)
            full = case.scales[node.id][:, None, None]
            wanted = np.clip(wanted / full, 0, 1) * N_STEPS
            found[node.id] = float(((counts - wanted) ** 2).mean())
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_come_nearer(name):
    case = Case(NETWORKS[name](), Reset.ZERO)
    before = squared_errors(case, case.quantization.program)
    after = squared_errors(case, calibrated(case).program)
    assert sum(after.values()) < 0.8 * sum(before.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_but_thresholds_and_biases_changes(name):
    case = Case(NETWORKS[name](), Reset.ZERO)
    old, new = case.quantization.program, calibrated(case).program
    known = {n.id for n in case.folded.graph if isinstance(n, ann.Relu) and n.like is None}
    for one, other in zip(old.graph, new.graph, strict=True):
        may_change = {"threshold", "bias"} if one.id in known else set()
        if isinstance(one, Readout):
            may_change = {"bias"}
        for item in fields(one):
            if item.name not in may_change:
                a, b = getattr(one, item.name), getattr(other, item.name)
                assert a is b or a == b, (one.id, item.name)
    for node in new.populations:
        potential = bounds.potential(new.graph, node, N_STEPS)
        assert potential.magnitude <= VOLTAGE_LIMIT
        if isinstance(node, IFNeurons):
            assert node.threshold.values.min() >= 1


def test_a_channel_that_is_right_already_is_left_alone():
    """Calibrated twice, the first layer of a network (whose input does not change) stays."""
    case = Case(NETWORKS["mlp"](), Reset.ZERO)
    once = calibrated(case)
    again = replace(case.quantization, program=once.program)
    case.quantization = again
    twice = calibrated(case)
    errors, later = squared_errors(case, once.program), squared_errors(case, twice.program)
    first = next(iter(errors))
    assert later[first] <= errors[first]


def test_networks_that_reset_by_subtraction_keep_their_neurons():
    case = Case(NETWORKS["residual"]())
    new = calibrated(case).program
    for node in case.quantization.program.populations:
        if not isinstance(node, Readout):
            same = new.graph[node.id]
            assert np.array_equal(same.threshold.values, node.threshold.values)
            assert np.array_equal(same.bias.values, node.bias.values)


def lowered(network, calibrates):
    """A network lowered with or without the calibration, its passes, and its samples."""
    folded = FOLDING(network).graph
    x = np.random.default_rng(3).normal(size=(300, *folded.input.shape))
    options = CompileOptions(
        coding="rate", reset="zero", timesteps=N_STEPS, reset_calibration=calibrates
    )
    passes = []

    def watch(name, *_):
        passes.append(name)

    coding = coding_of(options, "graded")
    statistics = calibrate(folded, x[:200])
    found = lower(folded, statistics, Samples(x[:200]), options, coding, watch)
    return found, passes, x[200:]


@pytest.mark.parametrize("name", ["mlp", "residual", "depthwise"])
def test_weights_are_refitted_between_and_answers_come_nearer(name):
    errors = {}
    for calibrates in (False, True):
        found, passes, fresh = lowered(NETWORKS[name](), calibrates)
        wanted = float_answers(found.folded, fresh)
        errors[calibrates] = ((found.outputs(fresh)[0] - wanted) ** 2).mean()
        fits = [one for one in passes if one in ("calibrate-resets", "fit-layers")]
        resets = ["calibrate-resets"] * calibrates
        assert fits == [*resets, "fit-layers", *resets]
    assert errors[True] < 0.8 * errors[False]
