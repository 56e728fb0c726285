"""Variances of messages: the law of neurons that reset by subtraction, against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from anns import INPUT, Net
from snn_compile.codings import coding_of
from snn_compile.convert.variances import Variances, rounded_variance
from snn_compile.ir import ann
from snn_compile.options import CompileOptions
from snn_compile.pipeline.folding import FOLDING
from snn_compile.pipeline.sampled_steps import equalized
from snn_compile.samples.arrays import Samples

N_STEPS, DRAWS = 32, 300


@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.1, 0.19, 0.21, 0.4, 1.0, 3.0])
def test_a_rounded_gaussian(deviation):
    """The mean over 64 means of the variance of what 20,000 draws round down to."""
    draws = np.random.default_rng(0).normal(0, deviation, 20000)
    means = (np.arange(64) + 0.5) / 64
    expected = np.mean([np.floor(mean + draws).var() for mean in means])
    found = rounded_variance(np.array([deviation**2]))
    np.testing.assert_allclose(found, [expected], rtol=0.05, atol=1e-9)


def perceptron():
    net = Net((160,), seed=2)
    hidden = net.relu(net.dense(net.relu(net.dense(INPUT, 30)), 25))
    net.dense(hidden, 3)
    return FOLDING(net.build()).graph


def simulated(weights, biases, thresholds, x):
    """Variance over draws of each layer's spike counts, per step, in squares of activations."""
    random = np.random.default_rng(1)
    found = [[] for _ in weights]
    for sample in x:
        spikes = random.random((DRAWS, N_STEPS, len(sample))) < sample
        for layer, (w, b, theta) in enumerate(zip(weights, biases, thresholds, strict=True)):
            drive = spikes @ w.T + b
            v, sent = np.full((DRAWS, len(w)), theta / 2), np.zeros_like(drive)
            for t in range(N_STEPS):
                v += drive[:, t]
                sent[:, t] = v >= theta
                v -= theta * sent[:, t]
            spikes = sent * theta
            found[layer].append(N_STEPS * spikes.mean(axis=1).var(axis=0))
    return [np.mean(each, axis=0) for each in found]


def test_counts_of_hidden_neurons_vary_as_the_law_says():
    """Summed over a layer within a third; independent steps would be more than twice too many."""
    network = perceptron()
    x = np.random.default_rng(0).uniform(0, 1, (12, 160)) ** 2
    x[0, 0] = 1.0  # so that a spike of the input is worth 1
    layers = [node for node in network.graph if isinstance(node, ann.Dense)][:2]
    rectifiers = [node for node in network.graph if isinstance(node, ann.Relu)]
    law, independent = (Variances.measure(network, x, n) for n in (N_STEPS, None))
    thresholds = [law.peak[node.id].max() for node in rectifiers]
    weights, biases = zip(*((layer.weight, layer.bias) for layer in layers), strict=True)
    found = simulated(weights, biases, thresholds, x)
    for node, counts in zip(rectifiers, found, strict=True):
        assert 2 / 3 < law.of(node.id, {}).sum() / counts.sum() < 3 / 2
        assert independent.of(node.id, {}).sum() / counts.sum() > 2


def test_adjusted_sources_keep_the_law_of_their_values():
    """Factors change a layer's threshold and with it only the rounding of its counts."""
    network = perceptron()
    x = np.random.default_rng(0).uniform(0, 1, (12, 160))
    first, second = (node for node in network.graph if isinstance(node, ann.Relu))
    even = {first.id: np.full(30, 2.0)}
    plain, halved = (Variances.measure(network, x, N_STEPS) for _ in range(2))
    np.testing.assert_allclose(halved.of(first.id, even), plain.of(first.id, {}) / 4)
    np.testing.assert_allclose(halved.of(second.id, even), plain.of(second.id, {}))


@pytest.mark.parametrize(
    ("options", "random"),
    [
        ({"input": "poisson"}, True),
        ({"input": "poisson", "reset": "zero"}, False),
        ({}, False),
    ],
)
def test_only_random_input_and_reset_by_subtraction_have_the_law(options, random):
    """Elsewhere equalization by data is what it was, so that seals stay."""
    network, x = perceptron(), np.random.default_rng(0).uniform(0, 1, (12, 160))
    given = CompileOptions(coding="rate", timesteps=N_STEPS, equalize="data", **options)
    coding = coding_of(given, "rate")
    plain = CompileOptions(coding="rate", timesteps=N_STEPS, equalize="data")
    one, other = (equalized(network, Samples(x), each, coding) for each in (given, plain))
    weights = [
        [node.weight for node in each.graph if isinstance(node, ann.Dense)] for each in (one, other)
    ]
    same = all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    assert same is not random
