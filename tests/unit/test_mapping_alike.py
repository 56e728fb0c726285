"""Layers that are alike are counted, cut and bounded once, and large kernels piece by piece."""

from __future__ import annotations

import numpy as np
import pytest

from mapping_networks import LOIHI2, with_values
from network_builder import INPUT, Builder
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import Synapses
from snn_compile.mapping import Block, map_program, place
from snn_compile.mapping.conv_counts import STRIDE
from snn_compile.mapping.counts import all_counts, counts_of
from snn_compile.mapping.halo import classes

SMALL = {"neurons_per_core": 40, "input_axons_per_core": 64, "output_axons_per_core": 90}


def chain():
    """Relays of one shape, one of them with a weight of zero, and a layer that reads borders."""
    network = Builder(3, (4, 6, 6))
    source = INPUT
    for _ in range(5):
        synapses = network.conv(source, 4, (1, 1), geometry=Geometry(groups=4))
        source = network.neurons("graded", synapses)
    end = network.conv(source, 8, (3, 3), geometry=Geometry(padding=(1, 1, 1, 1)))
    network.neurons("readout", end)
    return network.build()


def one_by_one(program):
    """Counts that nobody shares."""
    return {
        node.id: counts_of(node, program.graph[node.inputs[0]].shape)
        for node in program.graph
        if isinstance(node, Synapses)
    }


@pytest.mark.parametrize("limits", [{}, SMALL])
def test_layers_that_share_counts_are_placed_as_if_they_did_not(monkeypatch, limits):
    program, target = chain(), with_values(LOIHI2, **limits)
    assert len({id(counts) for counts in all_counts(program).values()}) < 6
    shared = map_program(program, target).graph
    monkeypatch.setattr(place, "all_counts", one_by_one)
    apart = map_program(program, target).graph
    assert shared.placements == apart.placements
    assert shared.least == apart.least


def test_a_weight_of_zero_is_not_shared():
    network = Builder(3, (4, 6, 6))
    first = network.conv(INPUT, 4, (1, 1), geometry=Geometry(groups=4))
    second = network.conv(network.neurons("graded", first), 4, (1, 1), geometry=Geometry(groups=4))
    values = np.array(network[second].weight.values)
    values[2] = 0
    weight = type(network[second].weight)(values, network[second].weight.format)
    network.nodes = [n.changed(weight=weight) if n.id == second else n for n in network.nodes]
    network.neurons("readout", second)
    counts = all_counts(network.build())
    whole = Block((0, 4), (0, 6), (0, 6))
    assert [counts[name].synapses(whole) for name in (first, second)] == [144, 108]


@pytest.mark.parametrize("span", [(0, 1), (3, 61), (0, STRIDE), (5, 150), (70, 71), (63, 129)])
def test_weights_in_use_are_summed_over_any_span_of_channels(span):
    network = Builder(1, (3, 5, 5))
    network.neurons("readout", network.conv(INPUT, 150, (3, 3), bits=3))
    program = network.build()
    ((_, counts),) = all_counts(program).items()
    used = counts.synapse_group.weight.values != 0
    assert not used.all()
    within = used[slice(*span)]
    assert counts.stored(Block(span, (0, 3), (0, 3))) == (within.size, int(within.sum()))
    # Each tap of a 3 x 3 kernel reaches all nine outputs of the 5 x 5 map.
    assert counts.synapses(Block(span, (0, 3), (0, 3))) == 9 * int(within.sum())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.4, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_channels_with_sources_in_common_are_of_one_class(groups, density, seed):
    kernels = np.random.default_rng(seed).random((8, 6, 2, 2)) < density
    reads = [
        {c // (8 // groups) * 6 + i for i in np.flatnonzero(kernels[c].any(axis=(1, 2)))}
        for c in range(8)
    ]
    joined = list(range(8))
    for _ in range(8):
        for a in range(8):
            for b in range(8):
                if reads[a] & reads[b]:
                    joined[a] = joined[b] = min(joined[a], joined[b])
    found = classes(kernels, groups)
    assert np.array_equal(np.equal.outer(found, found), np.equal.outer(joined, joined))
