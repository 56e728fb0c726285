"""Cross-layer adjustment: the function stays, the spread of the input current becomes even."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anns
from anns import INPUT, Net, assert_same_function
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.expand import expand
from snn_compile.convert.linear import sparse
from snn_compile.ir import ann
from snn_compile.ir.geometry import Geometry
from snn_compile.pipeline.folding import FOLDING

SAME = Geometry(padding=(1, 1, 1, 1))
MODES = ("l4", "l2", "data")


def samples(network, n=12):
    return np.random.default_rng(0).uniform(0, 1, (n, *network.input.shape))


def uneven_perceptron():
    """Layers whose neurons have weights of very different sizes."""
    net = Net((12,), seed=4)
    a = net.relu(net.dense(INPUT, 9))
    b = net.relu(net.dense(net.affine(a), 7))
    net.dense(net.affine(b), 3)
    return FOLDING(net.build()).graph


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from(MODES))
def test_any_network_keeps_its_function(seed, mode):
    network = FOLDING(anns.random_chain(seed, 6)).graph
    x = samples(network)
    adjusted = Equalize(mode, x if mode == "data" else None)(network).graph
    assert_same_function(network, adjusted, x, 1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_pools_joins_and_caps_keep_their_function(mode):
    net = Net((2, 8, 8))
    a = net.relu(net.conv(INPUT, 4, geometry=SAME))
    pooled = net.max_pool(a)
    b = net.relu(net.conv(pooled, 4, geometry=SAME), 0.5)
    c = net.relu(net.sum(net.conv(b, 4, geometry=SAME), pooled))
    net.dense(net.flatten(net.average_pool(net.max_pool(c))), 3)
    network = FOLDING(net.build()).graph
    x = samples(network)
    adjusted = Equalize(mode, x)(network).graph
    assert_same_function(network, adjusted, x, 1e-6)
    caps = [n.cap for n in adjusted.graph if isinstance(n, ann.Relu) and n.cap is not None]
    assert caps == [0.5]


@pytest.mark.parametrize(("mode", "power"), [("l4", 4), ("l2", 2)])
def test_norms_are_equal_within_a_layer_afterwards(mode, power):
    network = uneven_perceptron()
    adjusted = Equalize(mode, limits=(1e-9, 1e9))(network).graph
    for before, after in ((network, False), (adjusted, True)):
        drives = expand(before)
        for node in before.graph:
            if isinstance(node, ann.Relu):
                weight = sum(sparse(term.map) for term in drives[node.id].terms)
                norms = (np.abs(weight.toarray()) ** power).sum(axis=1) ** (1 / power)
                assert bool(norms.max() / norms.min() <= 1.01) is after


def test_beta_zero_does_nothing():
    network = uneven_perceptron()
    adjusted = Equalize("l4", beta=0.0)(network).graph
    one, other = (
        {n.id: sparse(expand(g)[n.id].terms[0].map).toarray() for n in g.graph if n.id in expand(g)}
        for g in (network, adjusted)
    )
    for name in one:
        np.testing.assert_allclose(other[name], one[name])


def test_limits_hold_and_dead_neurons_stay():
    net = Net((6,))
    weight = np.ones((4, 6))
    weight[0], weight[1], weight[2] = 1e-6, 0.0, 100.0
    net.add(ann.Dense, (INPUT,), (4,), "d", weight=weight, bias=np.full(4, 0.25))
    relu = net.relu("d")
    net.dense(relu, 2)
    network = net.build()
    adjusted = Equalize("l4")(network).graph
    after = sparse(expand(adjusted)[relu].terms[0].map).toarray()
    assert (after[1] == 0).all()
    ratio = weight[[0, 2, 3]] / after[[0, 2, 3]]
    assert ratio.min() >= 0.25 - 1e-9
    assert ratio.max() <= 4 + 1e-9
    constant = expand(adjusted)[relu].constant
    assert constant[1] == 0.25  # a dead neuron's bias is not scaled


def test_poisson_noise_is_what_the_norm_says():
    """Var = sum w**2 r (1 - r), at most ||w||_4**2 ||r||_2: the envelope that L4 equalizes."""
    random = np.random.default_rng(0)
    weight, rates = random.normal(size=(50, 64)), random.random(64)
    spikes = random.random((3000, 64)) < rates
    spread = (spikes @ weight.T).std(axis=0)
    exact = np.sqrt(weight**2 @ (rates * (1 - rates)))
    assert abs(spread / exact - 1).max() < 0.06
    envelope = np.sqrt(np.sqrt((weight**4).sum(axis=1)) * np.linalg.norm(rates))
    assert (spread <= envelope).all()
