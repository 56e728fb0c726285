"""The regression that makes up for errors of the layers before: it finds them, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from half_samples import by_halves, moments_of
from snn_compile.quantize import refit as module
from snn_compile.quantize.refit import RIDGE

STEPS = 1 << 10
"""Of the fields in 1: what neurons read are integers."""


def refit(columns, missing, samples):
    moments = moments_of(in_steps(columns), samples)
    return STEPS * module.refit(missing[:, by_halves(samples)], moments)


def in_steps(columns):
    integers = np.rint(columns * STEPS).astype(np.int64)
    np.testing.assert_allclose(integers / STEPS, columns, atol=1e-3)
    return integers


def fields(random, n_inputs, n_samples, per_sample=1):
    drawn = random.gamma(1.0, 1.0, (n_inputs, n_samples * per_sample))
    return np.rint(drawn * STEPS) / STEPS, np.repeat(np.arange(n_samples), per_sample)


def power_left(change, columns, missing):
    return (missing - change @ columns).var(axis=1) / missing.var(axis=1)


def test_what_can_be_told_from_the_inputs_is_found():
    """Also on fields it has not seen, and whatever constant is missing besides."""
    random = np.random.default_rng(0)
    columns, samples = fields(random, 12, 500, 8)
    truth = random.normal(size=(5, 12))
    missing = (truth @ columns + 10.0 * random.normal(size=(5, 1))).astype(np.float32)
    change = refit(columns, missing, samples)
    fresh, _ = fields(random, 12, 300)
    assert power_left(change, fresh, truth @ fresh).max() < 0.01
    np.testing.assert_allclose(change, truth, atol=0.2)


def test_noise_is_not_fitted():
    """As many weights as fields in a half: least squares alone would fit it exactly."""
    random = np.random.default_rng(1)
    columns, samples = fields(random, 50, 100)
    missing = random.normal(size=(200, 100)).astype(np.float32)
    change = refit(columns, missing, samples)
    fresh, _ = fields(random, 50, 2000)
    harm = (change @ fresh).var(axis=1)
    free = np.linalg.lstsq(columns.T, missing.T, rcond=None)[0].T
    assert harm.mean() < 0.1
    assert harm.mean() < 0.1 * (free @ fresh).var(axis=1).mean()


def test_positions_of_one_sample_do_not_vouch_for_each_other():
    """A chance of each sample that all its positions share must not pass for something learned."""
    random = np.random.default_rng(2)
    n_inputs, n_samples, per_sample = 40, 60, 50
    columns, samples = fields(random, n_inputs, n_samples)
    columns, samples = np.repeat(columns, per_sample, axis=1), np.repeat(samples, per_sample)
    missing = np.repeat(random.normal(size=(300, n_samples)), per_sample, axis=1)
    change = refit(columns, missing.astype(np.float32), samples)
    mixed = refit(columns, missing.astype(np.float32), np.arange(len(samples)))
    fresh, _ = fields(random, n_inputs, 2000)
    harm = (change @ fresh).var(axis=1).mean()
    assert harm < 0.5
    assert harm < 0.5 * (mixed @ fresh).var(axis=1).mean()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1 << 16),
    n_inputs=st.integers(1, 9),
    n_samples=st.integers(1, 40),
    scale=st.floats(1e-3, 1e3),
    factor=st.integers(1, 1000),
)
def test_it_is_linear_and_knows_no_units(seed, n_inputs, n_samples, scale, factor):
    """In other units of drive or of inputs, the same change; with anything silent, a finite one."""
    random = np.random.default_rng(seed)
    columns, samples = fields(random, n_inputs, n_samples)
    columns[0] *= random.integers(0, 2)
    missing = random.normal(size=(3, n_samples)).astype(np.float32)
    change = refit(columns, missing, samples)
    assert np.isfinite(change).all()
    tolerance = {"rtol": 1e-2, "atol": 1e-3 * max(np.abs(change).max(), 1e-9)}
    in_drive = refit(columns, np.float32(scale) * missing, samples)
    np.testing.assert_allclose(in_drive / scale, change, **tolerance)
    in_inputs = refit(factor * columns, missing, samples)
    np.testing.assert_allclose(in_inputs * factor, change, **tolerance)


@pytest.mark.parametrize("n_samples", [0, 1, 5])
def test_nothing_is_learned_from_silence(n_samples):
    columns, missing = np.zeros((4, n_samples), np.float32), np.ones((2, n_samples), np.float32)
    assert not refit(columns, missing, np.arange(n_samples)).any()


def test_a_constant_is_left_to_the_bias():
    random = np.random.default_rng(3)
    columns, samples = fields(random, 6, 400)
    change = refit(columns, np.full((2, 400), 7.0, np.float32), samples)
    assert np.abs(change).max() < 1e-3


def test_the_pull_is_towards_no_change():
    """One input, any number of fields: the regression coefficient, less the stated share."""
    random = np.random.default_rng(4)
    columns, samples = fields(random, 1, 20_000)
    centred = columns - columns.mean()
    (change,) = refit(centred, 3 * centred, samples)[0]
    assert change == pytest.approx(3 / (1 + RIDGE), rel=1e-3)


def test_moments_are_those_of_whole_samples():
    random = np.random.default_rng(5)
    columns, samples = fields(random, 3, 7, 2)
    integers = in_steps(columns)
    moments = moments_of(integers, samples)
    assert moments.sizes == (8, 6)
    even = np.concatenate([integers[:, [0, 1, 4, 5, 8, 9, 12, 13]], np.ones((1, 8), np.int64)])
    np.testing.assert_array_equal(moments.halves[0], even @ even.T)
    odd = np.concatenate([integers[:, [2, 3, 6, 7, 10, 11]], np.ones((1, 6), np.int64)])
    np.testing.assert_array_equal(moments.halves[1], odd @ odd.T)
