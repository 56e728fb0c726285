"""Spike distances against hand-computed values, brute force and the papers' definitions."""

from __future__ import annotations

from itertools import combinations, permutations
from math import exp, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snn_compile.hil.comparison import Comparison
from snn_compile.hil.distances import van_rossum, victor_purpura


def vp(a, b, cost=1.0):
    return float(victor_purpura(np.array([a]), np.array([b]), cost)[0])


def vr(a, b, tau=4.0):
    return float(van_rossum(np.array([a]), np.array([b]), tau)[0])


def test_victor_purpura_by_hand():
    assert vp([0, 1, 0, 0], [0, 1, 0, 0]) == 0
    assert vp([0, 1, 0, 0], [0, 0, 0, 0]) == 1
    assert vp([0, 1, 0, 0], [0, 0, 1, 0]) == 1  # moved by one step
    assert vp([0, 1, 0, 0], [0, 0, 1, 0], 0.25) == 0.25
    assert vp([1, 0, 0, 0], [0, 0, 0, 1], 1.0) == 2  # removing and adding is cheaper
    assert vp([1, 0, 0, 1], [0, 1, 0, 0], 0.5) == 1.5
    assert vp([1, 1, 1, 1], [0, 0, 0, 0]) == 4
    assert vp([1, 1, 0, 0], [0, 0, 1, 1], 0.0) == 0  # counts only
    assert vp([1, 0], [-1, 0]) == 2  # of other sign: not related
    assert vp([0, -1, 0], [0, 0, -1], 0.5) == 0.5


def brute_force(a, b, cost):
    """The cheapest matching of spikes, over all of them."""
    one, other = np.flatnonzero(a), np.flatnonzero(b)
    if len(one) > len(other):
        one, other = other, one
    best = len(one) + len(other)
    for n in range(1, len(one) + 1):
        for chosen in combinations(one, n):
            for partners in permutations(other, n):
                moved = sum(
                    cost * abs(int(i) - int(j)) for i, j in zip(chosen, partners, strict=True)
                )
                best = min(best, len(one) + len(other) - 2 * n + moved)
    return best


SPIKES = hnp.arrays(np.int8, 6, elements=st.integers(0, 1))


@given(SPIKES, SPIKES, st.sampled_from([0.0, 0.3, 1.0, 3.0]))
def test_victor_purpura_is_the_cheapest_matching(a, b, cost):
    assert vp(a, b, cost) == pytest.approx(brute_force(a, b, cost))


SIGNED = hnp.arrays(np.int8, (3, 7), elements=st.integers(-1, 1))


@given(SIGNED, st.sampled_from([0.3, 1.0, 3.0]))
def test_both_are_metrics(trains, scale):
    a, b, c = trains
    for distance in (vp, vr):
        there = distance(a, b, scale)
        assert there == pytest.approx(distance(b, a, scale))
        assert there >= 0
        assert distance(a, a, scale) == 0
        assert (there > 0) == bool((a != b).any())
        assert there <= distance(a, c, scale) + distance(c, b, scale) + 1e-9


def test_van_rossum_by_hand():
    assert vr([0, 1, 0], [0, 0, 0]) == pytest.approx(sqrt(1 / 2))
    assert vr([0, 1, 0], [0, 0, 1], 2.0) == pytest.approx(sqrt(1 - exp(-1 / 2)))
    assert vr([3, 0, 0], [1, 0, 0]) == pytest.approx(2 * sqrt(1 / 2))


def test_van_rossum_is_the_integral():
    a, b, tau = np.array([1, 0, 0, 1, 0]), np.array([0, 1, 0, 0, 1]), 1.5
    t = np.arange(0, 60, 1e-3) + 0.5e-3

    def trace(train):
        parts = [np.where(t >= i, np.exp(-(t - i) / tau), 0) for i in np.flatnonzero(train)]
        return np.sum(parts, axis=0)

    integral = ((trace(a) - trace(b)) ** 2).sum() * 1e-3 / tau
    assert vr(a, b, tau) == pytest.approx(sqrt(integral), rel=1e-3)


def test_layers_have_the_mean_over_all_trains():
    right = np.zeros((2, 3, 4), np.int8)
    sent = right.copy()
    sent[1, 2, 3] = 1
    comparison = Comparison(["a"], ["a"])
    comparison.add(0, {"a": right}, {"a": sent})
    comparison.add(2, {"a": right}, {"a": right})
    layer = comparison.layers["a"].as_dict()
    assert (layer["compared"], layer["differing"]) == (48, 1)
    assert layer["victor_purpura"] == pytest.approx(1 / 16)
    assert layer["van_rossum"] == pytest.approx(sqrt(1 / 2) / 16)
    assert comparison.divergence is not None
    assert comparison.divergence.stimulus == 1
