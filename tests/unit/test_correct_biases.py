"""Bias correction: the mean error of every layer's drive vanishes, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import anns
from anns import INPUT, Net
from quantized_cases import CODINGS, NETWORKS, Case, mlp, same
from snn_compile.codings.graded import Graded
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.quantized import VOLTAGE_LIMIT
from snn_compile.pipeline.driver import compile_model
from snn_compile.quantize import correct_biases
from snn_compile.sim import bounds, reference


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("coding", ["graded", "graded4", "rate"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_mean_error_vanishes(name, coding, bits):
    """To within one step: half for the rounding of the shift, half for that of the bias before."""
    case = Case(NETWORKS[name](), CODINGS[coding], bits)
    n = case.n_looked_at()
    before, after = case.errors(case.quantization, n), case.errors(case.corrected(), n)
    assert len(after) == len(case.wanted(1))
    for key, error in after.items():
        # float32 sums of the float network are exact to 1e-4 of its largest drive.
        assert np.abs(error).max() <= 1 + 1e-4 * np.abs(before[key]).max(), key
        assert np.abs(error).mean() < np.abs(before[key]).mean(), key
    assert max(np.abs(error).max() for error in before.values()) > 10


def test_only_so_many_samples_are_looked_at(monkeypatch):
    case = Case(mlp(), CODINGS["rate"], 4)
    monkeypatch.setattr(correct_biases, "MESSAGES", 24 * 50)
    assert case.n_looked_at() == 50
    for error in case.errors(case.corrected(), 50).values():
        assert np.abs(error).max() <= 1.01
    assert max(np.abs(error).max() for error in case.errors(case.corrected(), 200).values()) > 1.01


@pytest.mark.parametrize("coding", ["graded", "rate"])
@pytest.mark.parametrize("name", NETWORKS)
def test_only_biases_change(name, coding):
    """All but the biases of layers is the same: relays and comparators keep theirs, too."""
    case = Case(NETWORKS[name](), CODINGS[coding], 4)
    before, after = case.quantization, case.corrected()
    assert after.numbers is before.numbers
    for old, new in zip(before.program.graph, after.program.graph, strict=True):
        if old.id in case.wanted(1):
            assert (old.bias.values != new.bias.values).any()
            assert same(replace(new, bias=old.bias), old)
        else:
            assert same(new, old)
    relays = [node for node in after.program.graph if getattr(node, "relay", False)]
    assert bool(relays) == (name != "mlp")


@pytest.mark.parametrize("coding", ["graded", "graded4", "rate", "zero"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_state_can_overflow_afterwards(name, coding, monkeypatch):
    """Even if the correction would like biases that only 24 bits and more could hold."""

    def enormous(folded, x):
        del x
        random = np.random.default_rng(0)
        return {
            key: random.choice([-1.0, 1.0], len(mean)) * 10.0 ** random.uniform(0, 6, len(mean))
            for key, mean in case.wanted(1).items()
        }

    case = Case(NETWORKS[name](), CODINGS[coding], 8)
    monkeypatch.setattr(correct_biases, "mean_drives", enormous)
    corrected = case.corrected().program
    kept = 0
    for population in corrected.populations:
        interval = bounds.potential(corrected.graph, population, corrected.window.n_steps)
        assert interval.magnitude <= VOLTAGE_LIMIT
        old = case.quantization.program.graph[population.id].bias.values
        kept += int((population.bias.values == old).reshape(len(old), -1).all(axis=1).sum())
    assert kept > 0


def test_nothing_changes_where_integers_are_exact():
    """Integer weights whose largest is the format's, whole inputs, payload steps of 1: no error."""
    random = np.random.default_rng(2)

    def whole(net, source, n_out):
        layer = net.dense(source, n_out)
        weight = random.integers(-3, 4, net[layer].weight.shape).astype(np.float64)
        weight[np.arange(n_out), random.integers(0, weight.shape[1], n_out)] = 7
        bias = 2.0 * random.integers(-3, 4, n_out)  # half a payload step more rounds to even
        net.nodes[layer] = replace(net[layer], weight=weight, bias=bias)
        return layer

    net = Net((4,))
    hidden = net.relu(whole(net, net.relu(whole(net, INPUT, 6)), 5))
    whole(net, hidden, 3)
    x = random.integers(0, 4, (100, 4)).astype(np.float64)
    encoding = InputEncoding(np.ones(1), 0, 3, (4,), (4, 1, 1))
    case = Case(net.build(), Graded(16), 4, encoding=encoding, x=x, scale=65535.0)
    corrected = case.corrected().program
    for old, new in zip(case.quantization.program.graph, corrected.graph, strict=True):
        assert same(old, new)
    run = reference.run(corrected, case.encoding(x))
    (name,) = run.outputs
    unit = case.quantization.numbers[name].unit
    (expected,) = anns.outputs(case.folded, x)
    np.testing.assert_array_equal(run.outputs[name][..., 0, 0] * unit, expected)


def test_networks_that_reset_to_zero_stay_as_they_are():
    """What a reset throws away is a share of the activity; no constant makes up for it."""
    for build in NETWORKS.values():
        case = Case(build(), CODINGS["zero"], 4)
        assert case.corrected() is case.quantization


@pytest.mark.parametrize(
    ("model", "reset", "bits"),
    [
        *(("digits_mlp", "subtract", bits) for bits in (4, 8)),
        ("digits_cnn", "subtract", 4),
        pytest.param("digits_cnn", "subtract", 8, marks=pytest.mark.slow),
        ("digits_mlp", "zero", 4),  # with this reset all stays as it is: see above
    ],
)
def test_it_never_costs_accuracy(examples, model, reset, bits):
    """Beyond the noise of 500 images: with reset to zero it once cost 6 points."""
    calibrate = np.load(examples / "digits_calibrate.npz")["x"]
    with np.load(examples / "digits_evaluate.npz") as file:
        evaluation = file["x"], file["y"]
    off, on = (
        compile_model(
            examples / f"{model}.onnx",
            calibrate=calibrate,
            evaluate=evaluation,
            coding="rate",
            timesteps=16,
            reset=reset,
            weight_bits=bits,
            bias_correction=correct,
        ).report["ladder"]
        for correct in (False, True)
    )
    agreement = [
        next(rung["agreement"] for rung in rungs if rung["stage"] == "fixed") for rungs in (off, on)
    ]
    assert agreement[1] >= agreement[0] - 0.6
