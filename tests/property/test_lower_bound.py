"""What any placement needs: against every set of outputs, and against random placements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from mapping_networks import (
    LOIHI2,
    UNLIMITED,
    conv,
    dense,
    network,
    networks,
    one_layer,
    readout,
    source,
    spiking,
    targets,
    with_values,
)
from network_builder import INPUT, Builder
from snn_compile.errors import CompileError
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.mapping import map_program, resources
from snn_compile.mapping.block import Block, Part, as_map
from snn_compile.mapping.counts import all_counts
from snn_compile.mapping.halo import Axis, ConvHalo, Line, map_bound
from snn_compile.mapping.lower_bound import lower_bound
from snn_compile.mapping.pack import measured


@st.composite
def axes(draw):
    inputs, taps, stride = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    before, after = draw(st.integers(0, taps - 1)), draw(st.integers(0, taps - 1))
    outputs = (inputs + before + after - taps) // stride + 1
    assume(outputs >= 1)
    return Axis(outputs, inputs, stride, taps, before)


def reads(axis):
    """For each output the inputs that it reads, as bits."""
    starts = [axis.stride * j - axis.padding for j in range(axis.outputs)]
    return [
        sum(1 << at for at in range(start, start + axis.taps) if 0 <= at < axis.inputs)
        for start in starts
    ]


@settings(max_examples=60, deadline=None)
@given(axes(), axes())
def test_no_set_of_outputs_reads_less_than_the_bound(rows, columns):
    assume(rows.outputs * columns.outputs <= 12)
    fields = [
        sum(
            1 << (y * columns.inputs + x)
            for y in range(rows.inputs)
            for x in range(columns.inputs)
            if row >> y & 1 and column >> x & 1
        )
        for row in reads(rows)
        for column in reads(columns)
    ]
    n = len(fields)
    union, least = [0] * (1 << n), [rows.inputs * columns.inputs] * (n + 1)
    for chosen in range(1, 1 << n):
        lowest = chosen & -chosen
        union[chosen] = union[chosen ^ lowest] | fields[lowest.bit_length() - 1]
        size = chosen.bit_count()
        least[size] = min(least[size], union[chosen].bit_count())
    bound = map_bound(Line.of(rows), Line.of(columns), tuple(range(1, n + 1)))
    assert (bound <= np.array(least[1:]) + 1e-9).all()


def test_the_bound_is_reached_by_squares_in_a_corner():
    axis = Line.of(Axis(32, 32, 1, 3, 1))
    assert map_bound(axis, axis, (9, 225, 1024)).tolist() == [16, 256, 1024]


@pytest.mark.parametrize("n_examples", [25, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_placement_takes_less_than_the_bound(n_examples):
    @settings(max_examples=n_examples, deadline=None)
    @given(networks(), targets())
    def check(program, target):
        try:
            mapped = map_program(program, target).graph
        except CompileError:
            assume(False)
        found = resources(mapped).lower_bound
        event(f"cores over the bound: {min(found.used - found.cores, 3)}")
        assert 1 <= found.cores <= found.used == mapped.cores
        assert all(0 <= each.bound <= each.used for each in found.layers)

    check()


@settings(max_examples=25, deadline=None)
@given(networks(), targets(), st.integers(0, 2**32 - 1))
def test_neurons_scattered_at_random_take_no_less_than_the_bound(program, target, seed):
    """Every neuron is a block of its own, so cores hold sets that are no boxes."""
    rng = np.random.default_rng(seed)
    target = replace(
        target,
        input_axons_per_core=replace(target.input_axons_per_core, value=None),
        output_axons_per_core=replace(target.output_axons_per_core, value=None),
        synapse_memory_per_core=replace(target.synapse_memory_per_core, value=None),
        neurons_per_core=replace(target.neurons_per_core, value=None),
    )
    counts = all_counts(program)
    least = lower_bound(program, target, counts)
    cores = [
        [Part(p.id, Block(*((i, i + 1) for i in at))) for at in np.ndindex(*as_map(p.shape))]
        for p in program.populations
    ]
    rng.shuffle(cores[0])
    for parts in measured(program, target, counts, cores):
        used = np.sum([part.demand.values for part in parts], axis=0)
        assert (np.array(least.layers[parts[0].population]) <= used).all()


def test_kernels_without_a_weight_read_nothing():
    net = Builder(0, (2, 5, 5))
    synapses = net[net.conv(INPUT, 3)]
    nothing = replace(synapses, weight=QTensor(0 * synapses.weight.values, QFormat(8)))
    assert ConvHalo(nothing, (2, 5, 5))(np.array([1, 9])).tolist() == [[0, 0]] * 3


def test_taps_of_kernels_that_do_not_overlap_are_all_counted():
    net = Builder(0, (1, 8, 8))
    synapses = net[net.conv(INPUT, 3)]
    diagonal = np.broadcast_to(np.eye(2, dtype=np.int64), (3, 1, 2, 2))
    apart = replace(
        synapses,
        shape=(3, 4, 4),
        weight=QTensor(diagonal, QFormat(8)),
        geometry=Geometry((2, 2)),
    )
    assert ConvHalo(apart, (1, 8, 8))(np.array([1, 7, 16])).tolist() == [[2, 14, 32]] * 3


def test_what_an_axon_adds_to_a_list_leaves_less_room_for_neurons():
    """A neuron takes 800 bits for its weights; the axons of a core take 1,600."""
    values = {"entry_overhead_bits": 16, "synapses_per_entry": 1 << 20}
    program = one_layer(12, 100)
    room = [with_values(LOIHI2, synapse_memory_per_core=bits, **values) for bits in (2500, 3500)]
    found = [resources(map_program(program, target).graph) for target in room]
    assert [(each.lower_bound.cores, each.cores) for each in found] == [(12, 12), (6, 6)]


@pytest.mark.parametrize(
    "limits", [{"neurons_per_core": 24}, {"output_axons_per_core": 48}], ids=["neurons", "outputs"]
)
def test_axons_are_those_of_whole_cores(limits):
    """Of 16 neurons of a channel, 12 read 15 sources at least, and the other 4 read 8."""
    x = source((1, 4, 4))
    fed = conv("c", x, np.ones((2, 1, 3, 3), dtype=np.int64), Geometry((1, 1), (1, 1, 1, 1)))
    a = spiking("a", fed)
    ones = np.ones((2, 32), dtype=np.int64)
    left, right = (dense(name, a, ones) for name in ("left", "right"))
    program = network(x, fed, a, left, readout("l", left), right, readout("r", right))
    least = lower_bound(program, with_values(UNLIMITED, **limits), all_counts(program))
    assert least.layers["a"][2] == 23
