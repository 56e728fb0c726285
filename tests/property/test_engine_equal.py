"""The compiled engine equals the reference: every message, output and count, with ``==``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import networks
from effort import examples
from engine_equality import assert_equal
from networks import INPUT, Builder
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    IFNeurons,
    QuantizedGraph,
    Readout,
    SignedIFNeurons,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import abi, reference
from wide_networks import wide

pytestmark = pytest.mark.usefixtures("compiled_engine")

SEEDS = st.integers(0, 2**32 - 1)
STEPS = st.sampled_from((1, 5, 33, 70))
"""The engine takes 32 steps of a layer at a time: one window, a window and a bit, several."""


@examples(28)
@given(SEEDS, st.sampled_from(networks.ALL_NEURONS), STEPS)
def test_dense_layers(seed, kind, n_steps):
    assert_equal(*networks.mlp(seed, kind, n_steps))


@examples(20)
@given(SEEDS, st.sampled_from(networks.ALL_NEURONS), STEPS, st.booleans())
def test_every_structure(seed, kind, n_steps, poisson):
    assert_equal(*networks.structures(seed, kind, n_steps, poisson=poisson and n_steps > 1))


@examples(25)
@given(SEEDS, STEPS, st.booleans())
def test_random_branches(seed, n_steps, poisson):
    kinds = networks.ALL_NEURONS
    assert_equal(*networks.branches(seed, n_steps, poisson=poisson and n_steps > 1, kinds=kinds))


@examples(30)
@given(SEEDS, STEPS)
def test_wide_networks_and_extremes(seed, n_steps):
    assert_equal(*wide(seed, n_steps))


@pytest.mark.slow
@examples(400)
@given(SEEDS, STEPS)
def test_more_wide_networks(seed, n_steps):
    assert_equal(*wide(seed, n_steps))


def test_the_wide_networks_reach_what_they_are_for():
    """Potentials are clipped, and sums leave 16 and 31 bits: otherwise the tests above say less."""
    clipped = narrow = beyond = counted = taken_back = 0
    kinds = tuple(kind for kind in networks.ALL_NEURONS if kind != "lines")  # these say nothing new
    for seed in range(90):
        program, frames = wide(seed, (1, 5, 33)[seed % 3], kinds)
        run = reference.run(program, frames, record=True)
        for node in program.populations:
            sent = run.messages[node.id]
            counted += isinstance(node, ClipFloorNeurons) and len(np.unique(sent)) > 2
            taken_back += isinstance(node, SignedIFNeurons) and (sent < 0).any()
            beyond += not abi.fits_31_bits(program, node)
            if isinstance(node, Readout):
                limit = min(node.state.max, abi.VOLTAGE_LIMIT)
                clipped += bool((np.abs(run.outputs[node.id]) == limit).any())
        for node in program.graph:
            if isinstance(node, Synapses):
                narrow += int(np.abs(node.weight.values).sum()) > 1 << 15
    assert clipped >= 3
    assert beyond >= 5
    assert narrow >= 20
    assert counted >= 5
    assert taken_back >= 3


def largest_weights(net):
    """The network that a builder holds, with the largest weights its formats have."""
    nodes = [
        replace(n, weight=QTensor(np.full(n.weight.shape, n.weight.format.max), n.weight.format))
        if isinstance(n, Synapses)
        else n
        for n in net.nodes
    ]
    return QuantizedGraph(Graph(nodes), net.window)


@pytest.mark.parametrize("channels", [16, 64, 129])
@pytest.mark.parametrize("kind", ["subtract", "leaky", "signed"])
@pytest.mark.parametrize("low", [0, -1])
def test_sums_of_spikes_beyond_16_bits(channels, kind, low):
    """1,200 spikes and more times 127 at every step; spikes of one sign, then of the other."""
    net = Builder(0, (300, 2, 3), n_steps=5, coding=InputCoding.POISSON, low=low, high=1)
    hidden = net.neurons(
        kind, net.conv(INPUT, channels, (2, 2)), net.dense(INPUT, (channels, 1, 2))
    )
    net.neurons("readout", net.dense(hidden, 5))
    frames = np.ones((2, 300, 2, 3), np.int64)
    frames[1] = low
    assert_equal(largest_weights(net), frames)


@pytest.mark.parametrize("depthwise", [False, True])
def test_spikes_of_both_signs_add_the_weights_of_both(depthwise):
    """Weights of each sign fit 16 bits, but not those of both with spikes of their signs."""
    shape = (2, 20, 20) if depthwise else (400, 1, 1)
    net = Builder(0, shape, n_steps=5, coding=InputCoding.POISSON, low=-1, high=1)
    geometry = Geometry(groups=2 if depthwise else 1)
    group = net.conv(INPUT, 2, shape[1:], geometry=geometry)
    net.neurons("readout", group)
    node = net.nodes[1]
    signs = np.where(np.arange(node.weight.values.size) % 2, 1, -1).reshape(node.weight.shape)
    assert 127 * 200 < 1 << 15 < 127 * 400
    net.nodes[1] = replace(node, weight=QTensor(127 * signs, node.weight.format))
    frame = signs.reshape(shape) if depthwise else signs[0]
    program = net.build()
    run = reference.run(program, np.array([frame, -frame]))
    assert np.abs(run.outputs[program.readouts[0].id]).max() >= 5 * 127 * 399
    assert_equal(program, np.array([frame, -frame]))


@pytest.mark.parametrize("channels", [1, 17, 64, 129])
@pytest.mark.parametrize("smallest", [-127, -128])
@pytest.mark.parametrize("weight", ["mixed", "smallest"])
def test_spikes_of_both_signs_with_the_smallest_weights(channels, smallest, weight):
    """The negative of -128 is no byte: such layers are computed in another way."""
    net = Builder(1, (channels, 3, 4), n_steps=9, coding=InputCoding.POISSON, low=-2, high=1)
    same = Geometry(padding=(1, 1, 1, 1))
    depthwise = Geometry(padding=(1, 1, 1, 1), groups=channels)
    source = net.neurons("signed", net.conv(INPUT, channels, geometry=same))
    source = net.neurons("signed", net.conv(source, channels, geometry=depthwise))
    source = net.neurons("signed", net.dense(source, (channels, 3, 4)))
    net.neurons("readout", net.dense(source, 5))

    def changed(node):
        values = node.weight.values
        values = np.full_like(values, smallest) if weight == "smallest" else values.copy()
        values.flat[0] = smallest
        np.maximum(values, smallest, out=values)
        return replace(node, weight=QTensor(values, node.weight.format))

    nodes = [changed(n) if isinstance(n, Synapses) else n for n in net.nodes]
    program = QuantizedGraph(Graph(nodes), net.window)
    assert_equal(program, net.frames(3, 0.9))


@pytest.mark.parametrize("high", [(1 << 23) - 1, (1 << 26) - 1])
@pytest.mark.parametrize("beyond", [0, 1 << 40])
def test_quotients_around_every_threshold(high, beyond):
    """Potentials just below, at and above multiples of all sorts of thresholds."""
    random = np.random.default_rng(0)
    odd = random.integers(1, 1 << random.integers(1, 24, 190))
    thresholds = np.array([1, 2, 3, 7, (1 << 22) + 1, (1 << 23) - 1, 1 << 23, 1 << 28, *odd])
    thresholds[8] = beyond or thresholds[8]  # 64 bits for all
    n = len(thresholds)
    net = Builder(0, (n,), high=high, levels=(1 << 23) - 1)
    source = net.neurons("clip-floor", net.identity(INPUT))
    node = net.nodes[-1]
    assert isinstance(node, ClipFloorNeurons)
    zero = QTensor.of(np.zeros(n, np.int64))
    net.nodes[-1] = replace(node, threshold=QTensor.of(thresholds), bias=zero)
    net.neurons("readout", net.dense(source, 3))
    program = net.build()
    assert abi.fits_31_bits(program, program.populations[0]) == (not beyond)
    limit = min(high, abi.VOLTAGE_LIMIT)
    multiples = random.integers(1, np.maximum(limit // thresholds, 1) + 1, (40, n)) * thresholds
    multiples[20:] = limit // thresholds * thresholds
    frames = multiples + random.integers(-1, 2, multiples.shape)
    assert_equal(program, np.clip(frames, 0, high))


@pytest.mark.parametrize("exponent", [-8, 0, 7])
@pytest.mark.parametrize("n_steps", [1, 33])
def test_sums_of_payloads_beyond_31_bits(exponent, n_steps):
    """Values of 16 bits, 900 of them, times 127: what is clipped is the potential, not the sum."""
    coding = InputCoding.GRADED if n_steps == 1 else InputCoding.CURRENT
    high = (1 << 16) - 1
    net = Builder(0, (100, 3, 3), n_steps=n_steps, coding=coding, high=high)
    hidden = net.neurons("graded", net.conv(INPUT, 20, exponent=exponent), payload_bits=16)
    other = net.neurons("subtract", net.dense(INPUT, (7,), exponent=exponent))
    net.neurons("readout", net.dense(hidden, 5, exponent=exponent))
    net.neurons("readout", net.dense(other, 5))
    program = largest_weights(net)
    assert not abi.fits_31_bits(program, program.populations[0])
    frames = np.stack([np.full((100, 3, 3), high), np.zeros((100, 3, 3), np.int64)])
    assert_equal(program, frames)


@pytest.mark.parametrize("channels", [1, 16, 33, 64])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 1), (1, 2)])
def test_pixels_that_see_nothing_but_padding(channels, width, kernel):
    net = Builder(0, (channels, 3, width), n_steps=5, coding=InputCoding.POISSON, high=1)
    for padding in ((0, 2, 0, 0), (3, 3, 3, 3), (0, 0, 2, 2)):
        for stride in ((1, 1), (2, 3)):
            geometry = Geometry(stride, padding)
            net.neurons("readout", net.conv(INPUT, channels, kernel, geometry=geometry))
    assert_equal(net.build(), np.ones((1, channels, 3, width), np.int64))


@pytest.mark.parametrize("density", [0.0, 1.0])
@pytest.mark.parametrize("n_steps", [5, 70])
def test_all_neurons_fire_or_none(density, n_steps):
    """Thresholds of 1 and drives above, or a threshold that nothing reaches."""
    net = Builder(0, (17, 4, 6), n_steps=n_steps, coding=InputCoding.POISSON, high=1)
    source = INPUT
    for channels in (33, 64):
        same = Geometry(padding=(1, 1, 1, 1))
        source = net.neurons("subtract", net.conv(source, channels, geometry=same))
        node = net.nodes[-1]
        assert isinstance(node, IFNeurons)
        threshold = np.full(channels, 1 if density else (1 << 23) - 1)
        zero = QTensor.of(np.zeros(channels, np.int64))
        bias = QTensor.of(np.full(channels, 1 << 20 if density else -(1 << 20)))
        net.nodes[-1] = replace(
            node, threshold=QTensor.of(threshold), bias=bias, initial_potential=zero
        )
    net.neurons("readout", net.dense(source, 5))
    program = net.build()
    frames = np.full((2, 17, 4, 6), int(density))
    run = reference.run(program, frames)
    assert (run.activity[source] == 2 * n_steps * density).all()
    assert_equal(program, frames)


@pytest.mark.parametrize("bits", [1, 2, 8, 9, 16])
def test_payloads_of_any_width(bits):
    net = Builder(0, (5, 4, 6), low=-(1 << bits) + 1, high=(1 << bits) - 1)
    hidden = net.neurons("graded", net.conv(INPUT, 17), payload_bits=bits)
    hidden = net.neurons("graded", net.conv(hidden, 17, (2, 2)), payload_bits=bits)
    node = net.nodes[-1]
    assert node.payload == QFormat(bits, signed=False)
    net.neurons("readout", net.dense(hidden, 5))
    assert_equal(net.build(), net.frames(4, 1.0))


@pytest.mark.parametrize("channels", [1, 16, 33, 129])
@pytest.mark.parametrize("low", [0, -1])
@pytest.mark.parametrize("n_steps", [1, 33])
def test_spikes_that_are_the_same_at_every_step(channels, low, n_steps):
    """Folded pixels, depthwise kernels, kernels of the map's size, groups together with others."""
    coding = InputCoding.POISSON
    net = Builder(2, (channels, 4, 4), n_steps=n_steps, coding=coding, low=low, high=1)
    same = Geometry(padding=(1, 1, 1, 1))
    depthwise = Geometry(padding=(1, 1, 1, 1), groups=channels)
    for groups in (
        [net.conv(INPUT, channels, geometry=same)],
        [net.conv(INPUT, channels, geometry=depthwise)],
        [net.dense(INPUT, 5)],
        [net.conv(INPUT, channels, geometry=depthwise), net.conv(INPUT, channels, geometry=same)],
        [net.sparse(INPUT, (channels, 4, 4)), net.conv(INPUT, channels, geometry=same)],
    ):
        net.neurons("readout", *groups)
    assert_equal(net.build(), net.frames(2, 0.3))
