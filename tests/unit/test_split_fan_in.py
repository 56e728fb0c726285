"""Partial sums: every form of synapses, and what cannot be split."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from network_builder import INPUT, Builder
from small_targets import small
from snn_compile.errors import CapacityError, CompileErrors
from snn_compile.fit.fan_in import fan_in
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import ConvSynapses, PiecewiseLinearNeurons, SparseSynapses
from snn_compile.mapping.block import Block
from snn_compile.mapping.counts import counts_of
from split_networks import assert_split

SAME = Geometry(padding=(1, 1, 1, 1))


def wide(add, shape=(4, 5, 5)):
    """A layer that reads all of another one, and an output after it."""
    net = Builder(3, shape)
    first = net.neurons("lines", net.conv(INPUT, shape[0], (1, 1)))
    layer = net.neurons("lines", *add(net, first))
    net.neurons("readout", net.dense(layer, 3))
    return net.build(), layer, net.frames(3)


def sums_of(program, name):
    """The populations of partial sums before a layer, in the order of its groups."""
    return [program.graph[group.inputs[0]] for group in program.synapses_into(program.graph[name])]


def split_at(axons, program, name, frames):
    """The synapses onto each population of partial sums."""
    split = assert_split(program, frames, small(input_axons_per_core=axons)).program
    found = sums_of(split, name)
    for sums in found:
        assert isinstance(sums, PiecewiseLinearNeurons)
        assert sums.relay
    return [split.synapses_into(sums)[0] for sums in found]


def n_weights(program, name):
    """Weights of the groups of a layer that are not zero."""
    groups = program.synapses_into(program.graph[name])
    return [np.count_nonzero(group.weight.values) for group in groups]


def test_channels_are_divided_where_their_number_is():
    """3 x 3 x 4 sources, of which 20 fit: two parts with two channels each."""
    program, name, frames = wide(lambda net, first: [net.conv(first, 6, geometry=SAME)])
    (group,) = split_at(20, program, name, frames)
    assert group.weight.shape == (12, 2, 3, 3)
    assert group.geometry.groups == 2
    assert group.geometry.padding == SAME.padding
    assert group.exponent == 0


def test_groups_are_divided_by_themselves():
    geometry = Geometry(padding=(1, 1, 1, 1), groups=2)
    program, name, frames = wide(lambda net, first: [net.conv(first, 6, geometry=geometry)])
    (group,) = split_at(9, program, name, frames)
    assert group.weight.shape == (12, 1, 3, 3)
    assert group.geometry.groups == 4


def test_sums_of_groups_are_found_in_their_places():
    """On a map of one pixel they are listed: by the group, then by the part."""
    geometry = Geometry(groups=2)
    program, name, frames = wide(
        lambda net, first: [net.conv(first, 24, (5, 5), geometry=geometry)]
    )
    split = assert_split(program, frames, small(input_axons_per_core=30)).program
    (group,) = split.synapses_into(split.graph[name])
    assert isinstance(group, SparseSynapses)
    assert group.indices[:2].tolist() == [0, 12]
    assert group.indices[-2:].tolist() == [35, 47]


def test_a_kernel_is_divided_where_channels_cannot_be():
    """A depthwise kernel has one channel: its taps are divided, and no weight is there twice."""
    geometry = Geometry(groups=4)
    program, name, frames = wide(lambda net, first: [net.conv(first, 4, (5, 5), geometry=geometry)])
    (group,) = split_at(10, program, name, frames)
    assert group.weight.shape == (12, 1, 5, 5)
    assert group.geometry.groups == 4
    assert [np.count_nonzero(group.weight.values)] == n_weights(program, name)


def test_a_dense_layer_on_maps_becomes_a_convolution():
    program, name, frames = wide(lambda net, first: [net.dense(first, (6, 1, 1))])
    (group,) = split_at(50, program, name, frames)
    assert isinstance(group, ConvSynapses)
    assert group.weight.shape == (12, 2, 5, 5)
    assert group.geometry.groups == 2


def test_a_dense_layer_may_write_maps():
    program, name, frames = wide(lambda net, first: [net.dense(first, (3, 2, 2))])
    (group,) = split_at(50, program, name, frames)
    assert isinstance(group, ConvSynapses)
    assert group.shape == (24, 1, 1)


def test_sources_whose_number_has_no_divisor_are_listed():
    """101 sources in three parts of at most 40; no part is longer than it has to be."""
    program, name, frames = wide(lambda net, first: [net.dense(first, 6)], shape=(101, 1, 1))
    (group,) = split_at(40, program, name, frames)
    assert isinstance(group, SparseSynapses)
    assert group.shape == (18,)
    assert [np.count_nonzero(group.weight.values)] == n_weights(program, name)
    assert np.diff(group.indptr).max() <= 34
    assert np.unique(group.indices[: group.indptr[6]]).max() < 34  # all neurons of a part alike


def test_lists_are_divided_neuron_by_neuron():
    program, name, frames = wide(lambda net, first: [net.sparse(first, (12, 1, 1))])
    longest = np.diff(program.synapses_into(program.graph[name])[0].indptr).max()
    (group,) = split_at(longest // 2 + 1, program, name, frames)
    assert isinstance(group, SparseSynapses)
    assert group.shape == (24, 1, 1)
    assert np.diff(group.indptr).max() == -(-longest // 2)
    assert [np.count_nonzero(group.weight.values)] == n_weights(program, name)


@pytest.mark.parametrize("exponent", [-3, 2])
def test_the_whole_sum_is_shifted_once(exponent):
    program, name, frames = wide(
        lambda net, first: [net.conv(first, 6, geometry=SAME, exponent=exponent)]
    )
    split = assert_split(program, frames, small(input_axons_per_core=10)).program
    (group,) = split.synapses_into(split.graph[name])
    assert group.exponent == exponent
    assert set(np.unique(group.weight.values)) == {0, 1}


def test_all_groups_of_a_layer_come_one_step_later():
    def join(net, first):
        second = net.neurons("lines", net.conv(first, 4, geometry=SAME))
        relay = net.neurons("lines", net.conv(first, 4, (1, 1)))
        wide, narrow = net.conv(second, 6, geometry=SAME), net.conv(relay, 6, (1, 1), exponent=-1)
        return [wide, narrow]

    program, name, frames = wide(join)
    one, other = split_at(20, program, name, frames)
    assert (one.geometry.groups, other.geometry.groups) == (2, 1)


def test_partial_sums_are_split_in_their_turn():
    """100 sources and 5 axons: 20 partial sums, and 4 sums of these."""
    program, name, frames = wide(lambda net, first: [net.dense(first, (6, 1, 1))])
    split = assert_split(program, frames, small(input_axons_per_core=5))
    depth = split.program.depth[name] - program.depth[name]
    assert depth >= 2
    (finding,) = [finding for finding in split.findings if f"'{name}'" in finding.message]
    assert f"fan-in 100, split into 20 partial sums, {depth} steps later" in finding.message


def test_weights_that_exceed_a_core_are_split():
    program, _name, frames = wide(lambda net, first: [net.dense(first, (6, 1, 1))])
    target = small(synapse_memory_per_core=1_500, index_bits=8, entry_overhead_bits=10)
    split = assert_split(program, frames, target).program
    assert len(split.populations) > len(program.populations)


def test_what_sees_an_earlier_layer_waits_for_the_others():
    """The relays of a source are shared, and the input is read later without any."""
    net = Builder(5, (4, 5, 5))
    first = net.neurons("lines", net.conv(INPUT, 4, (1, 1)))
    second = net.neurons("lines", net.conv(first, 4, geometry=SAME))
    relay = net.neurons("lines", net.conv(first, 4, (1, 1)))
    third = net.neurons("lines", net.conv(second, 4, (1, 1)), net.conv(INPUT, 4, (1, 1)))
    fourth = net.neurons("lines", net.conv(second, 4, (1, 1)), net.conv(relay, 4, (1, 1)))
    net.neurons("readout", net.dense(third, 3))
    net.neurons("readout", net.dense(fourth, 3))
    program, frames = net.build(), net.frames(2)
    split = assert_split(program, frames, small(input_axons_per_core=30))
    sources = list(split.relay_sources.values())
    assert len(set(sources)) == len(sources)
    assert INPUT not in sources


def test_a_network_that_fits_stays_the_same_object():
    program, _ = networks.mlp()
    assert SplitFanIn(small()).split(program) is None


@pytest.mark.parametrize(
    ("values", "stock", "why"),
    [
        ({"payload_bits": 0}, False, "small has no payloads for partial sums"),
        ({"payload_bits": 6}, False, "exceed the width"),
        ({"neurons": ("Graded", "Readout")}, False, "has no neurons that send partial sums"),
        ({}, True, "stock neurons cannot send partial sums"),
        ({"input_axons_per_core": 1}, False, "even its partial sums do not fit a core"),
    ],
)
def test_what_cannot_be_split_is_refused_with_what_would_fit(values, stock, why):
    program, name, _ = wide(lambda net, first: [net.conv(first, 6, geometry=SAME)])
    target = small(**{"input_axons_per_core": 20, **values})
    with pytest.raises((CapacityError, CompileErrors)) as caught:
        SplitFanIn(target, stock).split(program)
    errors = getattr(caught.value, "errors", [caught.value])
    (found,) = [e for e in errors if f"'{name}'" in str(e) and e.code == "input-axons-per-core"]
    assert why in str(found)
    assert f"at most {target.input_axons_per_core.value} sources fit" in found.hint


def test_everything_that_does_not_fit_is_said_at_once():
    program, _name, _ = wide(lambda net, first: [net.conv(first, 6, geometry=SAME)])
    target = small(input_axons_per_core=20, payload_bits=0, codings=("rate",))
    with pytest.raises(CompileErrors) as caught:
        SplitFanIn(target).split(program)
    codes = [error.code for error in caught.value.errors]
    assert codes.count("input-axons-per-core") >= 2
    assert {"coding-supported", "payload-bits"} <= set(codes)


@pytest.mark.parametrize("seed", range(3))
def test_fan_in_is_what_the_mapper_counts(seed):
    program, _ = networks.structures(seed, "graded", 1)
    for population in program.populations:
        for group in program.synapses_into(population):
            source = program.graph[group.inputs[0]].shape
            counts, counted = counts_of(group, source), fan_in(group, source)
            for index in np.ndindex(population.shape):
                place = (*index, 0, 0)[:3]
                assert counts.sources(Block(*((i, i + 1) for i in place))) == counted[index]
