"""Potential calibration: spike counts come out right on average, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anns
from calibration_cases import N_STEPS, NETWORKS, Case, mlp, residual
from quantized_cases import same
from snn_compile.ir.quantized import VOLTAGE_LIMIT, IFNeurons, Readout
from snn_compile.ir.spiking import Reset
from snn_compile.pipeline.driver import compile_model
from snn_compile.quantize import calibrate_potentials
from snn_compile.quantize.calibrate_potentials import CalibratePotentials, mean_activations
from snn_compile.sim import bounds, engine, reference


def calibrated(case, **options):
    frames = case.encoding(case.x)
    calibrate = CalibratePotentials(case.folded, case.x, frames, case.scales, **options)
    return calibrate(case.quantization).graph


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_come_out_right_on_average(name):
    case = Case(NETWORKS[name]())
    before = case.errors(case.quantization.program)
    after = case.errors(calibrated(case).program)
    for key in case.layers():
        mean = [
            np.abs(e[key].reshape(len(e[key]), -1).mean(axis=1)).mean() for e in (before, after)
        ]
        assert mean[1] <= 0.05, key
        assert mean[1] <= mean[0] + 0.01, key
    total = [np.mean([np.abs(e).mean() for e in errors.values()]) for errors in (before, after)]
    assert total[1] < 0.5 * total[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_come_nearer_to_the_float_network(name):
    """On samples that it has not seen."""
    case = Case(NETWORKS[name]())
    x = np.random.default_rng(2).normal(size=(300, *case.folded.input.shape))
    (wanted,) = anns.outputs(case.folded, x)
    errors = []
    for quantization in (case.quantization, calibrated(case)):
        (readout,) = quantization.program.readouts
        unit = quantization.numbers[readout.id].unit / N_STEPS
        run = reference.run(quantization.program, case.encoding(x))
        errors.append(((run.outputs[readout.id][..., 0, 0] * unit - wanted) ** 2).mean())
    assert errors[1] < errors[0]


@pytest.mark.parametrize("readouts", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_only_initial_potentials_change(name, readouts):
    """And biases of readouts, if wanted. Relays and comparators stay as they are."""
    case = Case(NETWORKS[name]())
    before, after = case.quantization, calibrated(case, readouts=readouts)
    assert after.numbers is before.numbers
    for old, new in zip(before.program.graph, after.program.graph, strict=True):
        if old.id in case.layers():
            assert new.initial_potential.values.shape == old.shape
            assert same(replace(new, initial_potential=old.initial_potential), old)
        elif isinstance(old, Readout) and readouts:
            assert (old.bias.values != new.bias.values).any()
            assert same(replace(new, bias=old.bias), old)
        else:
            assert same(new, old)


def test_networks_that_reset_to_zero_stay_as_they_are():
    case = Case(mlp(), Reset.ZERO)
    after = calibrated(case, readouts=False)
    for old, new in zip(case.quantization.program.graph, after.program.graph, strict=True):
        assert same(new, old)


@pytest.mark.parametrize("n_samples", [1, 2, 3])
def test_hardly_any_samples(n_samples):
    case = Case(residual(), n_samples=n_samples)
    assert all(np.isfinite(e).all() for e in case.errors(calibrated(case).program).values())


@pytest.mark.parametrize("name", NETWORKS)
def test_no_state_can_overflow_afterwards(name, monkeypatch):
    """Even if the calibration would like potentials that only 24 bits and more could hold."""
    case = Case(NETWORKS[name]())
    random = np.random.default_rng(0)

    def enormous(folded, x):
        means = mean_activations(folded, x)
        return {
            key: random.choice([-1.0, 1.0], mean.shape) * 10.0 ** random.uniform(0, 6, mean.shape)
            for key, mean in means.items()
        }

    monkeypatch.setattr(calibrate_potentials, "mean_activations", enormous)
    program = calibrated(case).program
    moved = 0
    for population in program.populations:
        interval = bounds.potential(program.graph, population, program.window.n_steps)
        assert interval.magnitude <= VOLTAGE_LIMIT
        if isinstance(population, IFNeurons) and population.id in case.layers():
            moved += population.initial_potential.values.size
    assert moved
    frames = case.encoding(case.x[:20])
    want = reference.run(program, frames, record=True).messages
    for key, messages in engine.run(program, frames, record=True).messages.items():
        np.testing.assert_array_equal(messages, want[key])


@given(st.integers(0, 2**32 - 1))
def test_what_the_halves_agree_upon_is_believed(seed):
    random = np.random.default_rng(seed)
    signal = random.normal(size=(3, 20, 20)) + 5 * random.normal(size=(3, 1, 1))
    noise = random.normal(size=(2, 3, 20, 20))
    trusted = calibrate_potentials._trusted
    np.testing.assert_allclose(trusted(signal, signal), signal)
    channel = signal.mean(axis=(1, 2), keepdims=True) + 0 * signal
    nothing = trusted(channel + noise[0], channel - noise[0])
    np.testing.assert_allclose(nothing, channel, atol=1e-9)
    halves = signal + noise
    believed = trusted(*halves)
    np.testing.assert_allclose(believed.mean(axis=(1, 2)), halves.mean(axis=(0, 2, 3)))
    error, plain = (((e - signal) ** 2).mean() for e in (believed, halves.mean(axis=0)))
    assert error < plain


# ------------------------------------------------------------------------------------ compilation


@pytest.fixture(scope="module")
def digits(examples):
    calibrate = np.load(examples / "digits_calibrate.npz")["x"]
    with np.load(examples / "digits_evaluate.npz") as file:
        return calibrate, (file["x"], file["y"])


def compiled(examples, digits, name="digits_cnn", *, judged=False, **options):
    calibrate, evaluation = digits
    return compile_model(
        examples / f"{name}.onnx",
        calibrate=calibrate,
        evaluate=evaluation if judged else None,
        emit=(),
        **({"coding": "rate", "timesteps": 8} | options),
    )


def initial(model):
    neurons = [p for p in model.program.populations if isinstance(p, IFNeurons)]
    assert neurons
    return [
        p.initial_potential.values
        / p.threshold.values.reshape(-1, *[1] * (p.initial_potential.values.ndim - 1))
        for p in neurons
    ]


@pytest.mark.parametrize(
    ("options", "calibrated"),
    [
        ({}, True),
        ({"bias_correction": False}, True),
        ({"potential_calibration": False}, False),
        ({"initial_potential": 0.5}, False),
    ],
)
def test_when_it_is_done(examples, digits, options, calibrated):
    for values in initial(compiled(examples, digits, **options)):
        assert (np.abs(values - 0.5).max() > 0.01) == calibrated


def test_not_with_reset_to_zero(examples, digits):
    for values in initial(compiled(examples, digits, reset="zero")):
        assert not values.any()


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
@pytest.mark.parametrize("timesteps", [4, 16])
def test_it_never_costs_accuracy(examples, digits, name, timesteps):
    """Beyond the noise of 500 images."""
    off, on = (
        {
            rung["stage"]: rung["agreement"]
            for rung in compiled(
                examples,
                digits,
                name,
                judged=True,
                timesteps=timesteps,
                potential_calibration=wanted,
            ).report["ladder"]
        }["fixed"]
        for wanted in (False, True)
    )
    assert on >= off - 0.6
