"""Full scales by the L4 norm of the activations: by hand, by their properties, and compiled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anns import INPUT, Net
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import N_BINS, Activations, calibrate
from snn_compile.convert.l4_norm import l4_norm
from snn_compile.ir import ann
from snn_compile.ir.graph import NodeId
from snn_compile.pipeline.driver import compile_model

SAMPLES = st.integers(0, 2**32 - 1).map(
    lambda seed: np.maximum(np.random.default_rng(seed).normal(0.2, 1, (3, 400)), 0)
)


def activations_of(samples):
    """Statistics of (C, N) activations of one rectifier."""
    return calibration_of(samples).activations[NodeId("relu")]


def calibration_of(samples):
    return calibrate(one_relu(len(samples)), samples.T)


def one_relu(channels, cap=None):
    net = Net((channels,))
    net.add(ann.Relu, (INPUT,), (channels,), "relu", cap=cap)
    return net.build()


def balanced(samples, **options):
    network, found = one_relu(len(samples)), calibration_of(samples)
    return balance_thresholds(network, found, lambda _: "l4", levels=15, **options)["relu"]


def test_by_hand():
    """Activations 1, 2 and 4, and zeros: the fourth root of (1 + 16 + 256) / 3 is 3.0886."""
    found = l4_norm(activations_of(np.array([[1.0, 2.0, 4.0, 0.0, 0.0, 0.0]])))
    np.testing.assert_allclose(found, [91 ** (1 / 4)], rtol=2 / N_BINS)


def test_one_value_is_its_own_norm_and_a_silent_channel_has_none():
    found = l4_norm(activations_of(np.array([[3.0, 3.0], [0.0, 0.0]])))
    np.testing.assert_allclose(found, [3.0, 0.0], rtol=1 / N_BINS)


@settings(max_examples=20, deadline=None)
@given(SAMPLES, st.floats(1e-12, 1e12))
def test_a_norm_between_the_quadratic_mean_and_the_maximum(samples, factor):
    """Within a bin, it is numpy's; it grows with the activations, and zeros do not count."""
    found = l4_norm(activations_of(samples))
    width = 2 * samples.max(axis=1) / N_BINS
    positive = [row[row > 0] for row in samples]
    expected = np.array([np.mean(row**4) ** (1 / 4) for row in positive])
    assert (np.abs(found - expected) <= width).all()
    assert (found <= samples.max(axis=1)).all()
    assert (found >= [np.sqrt(np.mean(row**2)) for row in positive] - width).all()
    np.testing.assert_allclose(l4_norm(activations_of(samples * factor)), found * factor, rtol=0.01)
    padded = np.concatenate([samples, np.zeros_like(samples)], axis=1)
    np.testing.assert_allclose(l4_norm(activations_of(padded)), found)


def test_activations_as_large_as_calibration_allows_do_not_overflow():
    activations = activations_of(np.array([[1.0, 2.0]]))
    huge = Activations(activations.peak * 5e99, activations.histogram, activations.n_seen)
    np.testing.assert_allclose(l4_norm(huge), l4_norm(activations) * 5e99)


def test_per_layer_is_the_norm_of_all_channels_and_a_cap_is_kept():
    samples = np.random.default_rng(0).exponential([[1.0], [2.0], [4.0]], (3, 500))
    expected = np.mean(samples**4) ** (1 / 4)
    np.testing.assert_allclose(balanced(samples, per_layer=True), expected, rtol=0.01)
    found = balanced(samples)
    assert found[0] < found[1] < found[2]
    capped, found = one_relu(1, 1.0), calibration_of(np.array([[0.9, 1.0, 1.0]]))
    scale = balance_thresholds(capped, found, lambda _: "l4", levels=15)["relu"]
    assert (scale <= 1.0).all()


@pytest.mark.parametrize("coding", ["graded", "rate"])
def test_compiled(coding, examples):
    """The compiled network takes it: other answers than with the maximum, and as many right."""
    with np.load(examples / "digits_evaluate.npz") as file:
        x, y = file["x"][:200], file["y"][:200]
    answers = [
        compile_model(
            examples / "digits_mlp.onnx",
            calibrate=examples / "digits_calibrate.npz",
            coding=coding,
            thresholds=method,
            emit=(),
        ).run(x)
        for method in ("l4", "max")
    ]
    assert not np.array_equal(*answers)
    for each in answers:
        assert (each.argmax(axis=1) == y).mean() > 0.9
