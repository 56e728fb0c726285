"""Units and integers of weights of few bits, by the variance of the error that they leave."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from half_samples import moments_of
from snn_compile.quantize.few_bits import RATIOS, least_error

LIMIT = 7


def fields(k, n=4000, seed=0):
    """Correlated counts, not centred, and moments of theirs."""
    random = np.random.default_rng(seed)
    mixing = np.eye(k) + 0.6 * random.random((k, k))
    x = np.rint(20 * np.maximum(random.normal(1, 1, (n, k)) @ mixing, 0)).astype(np.int64).T
    return x, moments_of(x, np.arange(n))


def variance(weights, x):
    return np.var(weights @ x, axis=1)


def test_no_integers_in_any_of_the_units_are_better_than_those_found():
    """Of two weights all pairs can be tried: what is found comes within a hundredth."""
    x, moments = fields(2)
    exact = np.array([[0.31, -0.19], [0.055, 0.4], [-0.27, -0.26]])
    step = np.abs(exact).max(axis=1) / LIMIT
    ratio, integers = least_error(exact, step, moments, LIMIT)
    grid = np.array(list(product(range(-LIMIT, LIMIT + 1), repeat=2)))
    for k, w in enumerate(exact):
        best = min(variance(grid * step[k] * r - w, x).min() for r in RATIOS)
        found = variance(integers[k : k + 1] * step[k] * ratio[k] - w, x)[0]
        assert best <= found <= 1.01 * best + 1e-12 * variance(w[None], x)[0]


@pytest.mark.parametrize(("k", "share"), [(9, 0.7), (40, 0.4)])
def test_the_error_is_far_below_that_of_the_nearest_weights(k, share):
    x, moments = fields(k)
    exact = np.random.default_rng(1).normal(size=(12, k))
    step = np.abs(exact).max(axis=1) / LIMIT
    ratio, integers = least_error(exact, step, moments, LIMIT)
    assert np.abs(integers).max() <= LIMIT
    assert set(ratio) <= set(RATIOS)
    size = (step * ratio)[:, None]
    nearest = np.rint(exact / step[:, None]) * step[:, None]
    after, before = (variance(w - exact, x) for w in (integers * size, nearest))
    assert (after < before).mean() > 0.9
    assert np.median(after / before) < share


def test_a_mean_error_costs_nothing_and_silent_inputs_change_nothing():
    """The bias takes the mean; without any input there is nothing to judge by."""
    x = np.array([[5] * 200, [0, 3] * 100])
    moments = moments_of(x, np.arange(200))
    ratio, integers = least_error(np.array([[0.45, 0.5]]), np.array([0.1]), moments, LIMIT)
    assert integers[0, 1] * 0.1 * ratio[0] == pytest.approx(0.5, rel=0.02)
    silent = moments_of(np.zeros((2, 50), np.int64), np.arange(50))
    ratio, integers = least_error(np.array([[0.44, -2.0]]), np.array([0.1]), silent, LIMIT)
    assert (ratio.tolist(), integers.tolist()) == ([1.0], [[4, -7]])
