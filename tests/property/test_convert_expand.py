"""Whatever lies between two populations becomes linear maps: the composition is exact."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import anns
from anns import INPUT, Net
from snn_compile.codings.graded import Graded
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.expand import expand
from snn_compile.convert.linear import sparse
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.ir import ann, spiking
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.graph import maps_shape
from snn_compile.sim.spiking import current

SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=250, deadline=None, derandomize=True)


def assert_exact(network, seed):
    x = np.random.default_rng(seed).normal(size=(2, *network.input.shape))
    values = anns.values(network, x)
    for node_id, drive in expand(network).items():
        node = network.graph[node_id]
        expected = values[node.inputs[0]].reshape(-1, 2)
        actual = np.repeat(drive.constant.reshape(-1, 1), 2, axis=1)
        for term in drive.terms:
            event(type(term.map).__name__)
            assert prod(term.map.target) == prod(node.shape)
            actual = actual + sparse(term.map) @ values[term.source].reshape(-1, 2)
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9, err_msg=node_id)


@MANY
@given(SEEDS)
def test_the_sum_of_the_terms_is_the_float_value(seed):
    assert_exact(anns.random_chain(seed), seed)


def to_spiking(network, random, units=None):
    """The spiking network for random full scales."""
    scales = {
        node.id: random.random(maps_shape(node.shape)[0]) + 0.5
        for node in network.graph
        if isinstance(node, ann.Relu)
    }
    shape = network.input.shape
    n_units = shape[0] if prod(shape[1:]) > 1 else 1
    units = random.random(n_units) + 0.5 if units is None else units
    encoding = InputEncoding(units, -8, 7, shape, maps_shape(shape))
    return AlignPaths()(ToSpiking(Graded(4), scales, encoding)(network).graph).graph


def assert_spiking_is_the_same(network, seed):
    """For any messages of the populations, every population sees what the network says it sees."""
    random = np.random.default_rng(seed)
    spikes = to_spiking(network, random)
    messages, real = {}, {}
    for node in spikes.graph:
        if isinstance(node, spiking.Sources):
            messages[node.id] = random.integers(-4, 5, (*node.shape, 1, 2)).astype(np.float64)
            if isinstance(node, spiking.Neurons) and node.relay:
                messages[node.id] = messages[node.id.rsplit("+", 1)[0]]
            real[node.id] = (messages[node.id] * node.unit.reshape(-1, 1, 1, 1, 1)).reshape(-1, 2)
    drives = expand(network)
    for population in spikes.populations:
        for group in spikes.synapses_into(population):
            if isinstance(group, spiking.ConvSynapses):
                source = spikes.graph[group.inputs[0]].shape
                size = group.geometry.output_size(source[1:], group.weight.shape[2:])
                assert group.shape == (group.weight.shape[0], *size), group.id
                assert group.weight.shape[1] * group.geometry.groups == source[0], group.id
        if population.id not in drives:
            continue
        drive = drives[population.id]
        expected = np.repeat(drive.constant.reshape(-1, 1), 2, axis=1)
        for term in drive.terms:
            expected = expected + sparse(term.map) @ real[term.source]
        actual = current(spikes, population, messages) + population.bias[..., None, None]
        np.testing.assert_allclose(
            actual.reshape(-1, 2), expected, rtol=1e-6, atol=1e-6, err_msg=population.id
        )


@MANY
@given(SEEDS)
def test_synapses_do_what_the_maps_say(seed):
    assert_spiking_is_the_same(anns.random_chain(seed), seed)


def test_max_pooling_is_not_linear():
    net = Net((2, 4, 4))
    net.output(net.max_pool(net.relu(INPUT)))
    with pytest.raises(TypeError, match="MaxPool is not linear"):
        expand(net.build())
