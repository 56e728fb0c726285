"""Coordinates with uncorrelated inputs: the same products, stretch by stretch or at once."""

import numpy as np
import pytest

from snn_compile.quantize.reconstruction.whitening import DAMPING, MOST_INPUTS, Whitening
from snn_compile.quantize.refit import Moments


def moments(n_inputs, seed=0, most=4):
    """Counts that rise and fall together."""
    random = np.random.default_rng(seed)
    common = random.integers(0, most, 400)
    fields = common + random.integers(0, 2, (n_inputs, 400))
    return fields, Moments.of(fields.astype(np.float64), 200)


def whitening(*parts, rows=3):
    slices = [slice(rows * k, rows * (k + 1)) for k in range(len(parts))]
    return Whitening.of(list(zip(slices, parts, strict=True)))


@pytest.mark.parametrize("n_inputs", [5, 70])
def test_inputs_of_the_coordinates_are_uncorrelated(n_inputs):
    """``L^-1 A L'^-1`` is the identity, less the damping."""
    fields, known = moments(n_inputs)
    white = whitening(known)
    seen = fields @ fields.T / fields.shape[1]
    damped = seen + DAMPING * np.diag(seen).mean() * np.eye(n_inputs)
    np.testing.assert_allclose(white.lower[0] @ white.lower[0].T, damped, rtol=1e-9)
    inputs = white.inverse[0] @ damped @ white.inverse[0].T
    np.testing.assert_allclose(inputs, np.eye(n_inputs), atol=1e-8)


@pytest.mark.parametrize("n_inputs", [5, 70])
def test_a_step_in_coordinates_descends(n_inputs):
    """The change of the weights along a gradient is the squared length of the coordinates'."""
    random = np.random.default_rng(2)
    white = whitening(*(moments(n_inputs, seed)[1] for seed in range(2)))
    slope = random.normal(size=(6, n_inputs))
    there = white.slope(slope)
    descended = (slope * white.weights(there)).sum(axis=1)
    np.testing.assert_allclose(descended, np.square(there).sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("n_inputs", [5, 70])
def test_each_stretch_of_rows_has_its_own_inputs(n_inputs):
    parts = [moments(n_inputs, seed)[1] for seed in range(3)]
    white = whitening(*parts, rows=2)
    values = np.random.default_rng(3).normal(size=(6, n_inputs))
    for k, part in enumerate(parts):
        alone, rows = whitening(part, rows=2), slice(2 * k, 2 * k + 2)
        for name in ("slope", "weights", "scale"):
            all_rows, own = getattr(white, name)(values), getattr(alone, name)(values[rows])
            np.testing.assert_array_equal(all_rows[rows], own)


def test_few_inputs_are_multiplied_as_many_are(monkeypatch):
    white = whitening(*(moments(9, seed)[1] for seed in range(4)))
    values = np.random.default_rng(4).normal(size=(12, 9))
    few = white.weights(values)
    monkeypatch.setattr("snn_compile.quantize.reconstruction.whitening.FEW", 0)
    np.testing.assert_allclose(white.weights(values), few, rtol=1e-5)


def test_scale_is_that_of_what_the_weights_make_of_their_inputs():
    """Rows that add up correlated inputs are larger in coordinates than rows that compare them."""
    white = whitening(moments(8)[1], rows=2)
    scale = white.scale(np.array([[1.0] * 8, [1.0, -1.0] * 4]))
    assert scale.shape == (2, 1)
    assert scale[0, 0] > 3 * scale[1, 0]


def test_silent_or_too_many_inputs_have_none():
    silent = Moments.of(np.zeros((4, 100)), 50)
    assert whitening(silent) is None
    assert Whitening.of([]) is None
    many = Moments.of(np.ones((MOST_INPUTS + 1, 2)), 1)
    assert whitening(many) is None
