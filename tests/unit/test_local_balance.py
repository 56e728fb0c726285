"""Local threshold balancing against its rule, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_compile import compile_model
from snn_compile.convert.calibrate import N_BINS, Activations
from snn_compile.convert.local_balance import N_UPDATES, local_balance


def activations(x):
    """Statistics of samples (C, n)."""
    peak = x.max(axis=1)
    histogram = [
        np.histogram(c[c > 0], N_BINS, (0, p or 1))[0] for c, p in zip(x, peak, strict=True)
    ]
    return Activations(peak, np.array(histogram), x.shape[1])


def by_the_rule(x):
    theta = np.zeros(len(x))
    for _ in range(N_UPDATES):
        theta += 2 * np.maximum(x - theta[:, None], 0).mean(axis=1)
    return np.minimum(theta, x.max(axis=1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1), st.sampled_from(["exponential", "uniform"]))
def test_it_is_the_rule(seed, share, kind):
    random = np.random.default_rng(seed)
    x = getattr(random, kind)(size=(3, 400)) * random.uniform(0.1, 10, (3, 1))
    x = x * (random.random(x.shape) < share)
    bin_width = x.max(axis=1) / N_BINS
    assert (np.abs(local_balance(activations(x)) - by_the_rule(x)) <= bin_width + 1e-12).all()


@pytest.mark.parametrize("share", [0.02, 0.2, 1.0])
def test_one_activation_in_a_thousand_is_clipped(share):
    """For exponential tails, however seldom a channel fires."""
    random = np.random.default_rng(5)
    x = random.exponential(3.0, (1, 200_000)) * (random.random((1, 200_000)) < share)
    clipped = (x > local_balance(activations(x))).mean()
    assert clipped == pytest.approx(share / (1 + 2 * share * N_UPDATES), rel=0.15)


def test_it_scales_with_the_channel():
    x = np.random.default_rng(0).exponential(1.0, (1, 1000))
    x = np.concatenate([x, 8 * x, 0 * x])
    one, eightfold, dead = local_balance(activations(x))
    assert eightfold == pytest.approx(8 * one)
    assert dead == 0


def test_a_constant_activation_is_not_exceeded():
    assert local_balance(activations(np.full((1, 50), 2.5))).tolist() == [2.5]


@pytest.mark.parametrize("per_layer", [False, True])
def test_networks_compile_with_it(examples, per_layer):
    with np.load(examples / "digits_calibrate.npz") as archive:
        calibrate = archive["x"]
    with np.load(examples / "digits_evaluate.npz") as archive:
        evaluate = (archive["x"], archive["y"])
    compiled = compile_model(
        examples / "digits_cnn.onnx",
        calibrate=calibrate,
        evaluate=evaluate,
        thresholds="lbs",
        per_layer=per_layer,
        emit=(),
    )
    top1 = {rung["stage"]: rung["top1"] for rung in compiled.report["ladder"]}
    assert top1["fixed"] >= top1["onnx"] - 0.5
