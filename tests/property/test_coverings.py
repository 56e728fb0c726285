"""Axons that all cores take for a convolution: against every partition of its neurons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from mapping_networks import LOIHI2, conv, network, readout, source, with_values
from snn_compile.ir.geometry import Geometry
from snn_compile.mapping import map_program, resources
from snn_compile.mapping.coverings import least_axons
from snn_compile.mapping.halo import Axis
from snn_compile.mapping.map_prices import Map, prices_of

NEURONS = 9


@st.composite
def convolutions(draw):
    """A few neurons: weights, of which some are zero, a geometry, and the shape of the sources."""
    taps = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = tuple(draw(st.integers(0, taps[k % 2] - 1)) for k in range(4))
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    geometry = Geometry(stride, padding)
    assume(all(size[k] + padding[k] + padding[2 + k] >= taps[k] for k in (0, 1)))
    positions = np.prod(geometry.output_size(size, taps))
    assume(1 <= positions <= NEURONS)
    n_out, n_in = draw(st.integers(1, max(1, NEURONS // positions))), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    zeros = draw(st.sampled_from([0.0, 0.05, 0.3]))
    weights = (rng.random((n_out, n_in, *taps)) >= zeros).astype(np.int64)
    return weights, geometry, (n_in, *size)


def fields(weights, geometry, shape):
    """The sources of each neuron, as bits."""
    _, height, width = shape
    rows, columns = geometry.output_size(shape[1:], weights.shape[2:])
    found = []
    for kernel in weights:
        for row, column in np.ndindex(rows, columns):
            bits = 0
            for i, y, x in zip(*np.nonzero(kernel), strict=True):
                at_y = row * geometry.stride[0] - geometry.padding[0] + int(y)
                at_x = column * geometry.stride[1] - geometry.padding[1] + int(x)
                if 0 <= at_y < height and 0 <= at_x < width:
                    bits |= 1 << ((int(i) * height + at_y) * width + at_x)
            found.append(bits)
    return found


def least_of_all_partitions(neurons, limit):
    """The fewest axons of all partitions into cores; None if a neuron does not fit."""
    n = len(neurons)
    union = [0] * (1 << n)
    for held in range(1, 1 << n):
        lowest = held & -held
        union[held] = union[held ^ lowest] | neurons[lowest.bit_length() - 1]
    axons = [bits.bit_count() for bits in union]
    if max(axons[1 << k] for k in range(n)) > limit:
        return None
    least = [0] * (1 << n)
    for held in range(1, 1 << n):
        lowest, rest = held & -held, held ^ (held & -held)
        found, others = 1 << 30, rest
        while True:
            core = others | lowest
            if axons[core] <= limit:
                found = min(found, axons[core] + least[held ^ core])
            if not others:
                break
            others = (others - 1) & rest
        least[held] = found
    return least[-1]


@pytest.mark.parametrize("n_examples", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_partition_takes_fewer_axons_than_the_bound(n_examples):
    @settings(max_examples=n_examples, deadline=None)
    @given(convolutions(), st.floats(0, 1))
    def check(convolution, share):
        weights, geometry, shape = convolution
        neurons = fields(*convolution)
        most = max(bits.bit_count() for bits in neurons)
        limit = most + round(share * (np.prod(shape) - most))
        assume(limit >= 1)
        least = least_of_all_partitions(neurons, limit)
        synapses = conv("c", source(shape), weights, geometry)
        bound = least_axons(synapses, shape, limit)
        event("reached" if bound == least else "below")
        assert 0 <= bound <= least

    check()


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(1, 40))
def test_no_set_of_outputs_is_worth_more_than_its_sources(convolution, budget):
    """Of a full kernel and one channel: what the search finds for so many sources, at least."""
    weights, geometry, shape = convolution
    one = np.ones((1, 1, *weights.shape[2:]), dtype=np.int64)
    neurons = fields(one, geometry, (1, *shape[1:]))
    outputs = geometry.output_size(shape[1:], weights.shape[2:])
    axes = [
        Axis(outputs[k], shape[1 + k], geometry.stride[k], one.shape[2 + k], geometry.padding[k])
        for k in (0, 1)
    ]
    here = Map(*axes)
    prices = prices_of(here, budget)
    assume(prices is not None)
    worth, _ = here.search(prices, budget)
    each = prices[np.ix_(*here.depths)].ravel()
    for held in range(1, 1 << len(neurons)):
        inside = [k for k in range(len(neurons)) if held >> k & 1]
        bits = 0
        for k in inside:
            bits |= neurons[k]
        units = bits.bit_count() // here.unit
        assert bits.bit_count() == units * here.unit
        if units <= budget:
            assert each[inside].sum() <= min(worth[units], units) + 1e-9


@pytest.mark.parametrize("zeros", [0.0, 0.01], ids=["full", "some zeros"])
def test_a_map_with_a_border_on_all_sides(zeros):
    """Twelve cores with 120 positions of each channel, and no set of any shape needs fewer.

    The bound for each core alone, which may be a corner, is 33,856.
    """
    rng = np.random.default_rng(0)
    weights = (rng.random((32, 32, 6, 6)) >= zeros).astype(np.int64)
    shape, geometry = (32, 28, 28), Geometry((2, 2), (2, 2, 2, 2))
    x = source(shape)
    fed = conv("c", x, weights, geometry)
    assert least_axons(fed, shape, 4096) == 46_080
    target = with_values(LOIHI2, synapse_memory_per_core=None)
    program = network(x, fed, readout("r", fed))
    found = resources(map_program(program, target).graph).lower_bound
    (axons,) = [row for row in found.layers if row.rule == "input axons"]
    assert axons.bound == axons.used == 46_080
    assert (found.cores, found.used) == (12, 12)


def test_channels_without_full_kernels_say_nothing():
    rng = np.random.default_rng(0)
    weights = (rng.random((3, 2, 3, 3)) >= 0.9).astype(np.int64)
    weights[..., 1, 1] = 0
    shape = (2, 6, 6)
    assert least_axons(conv("c", source(shape), weights, Geometry((1, 1))), shape, 20) == 0
