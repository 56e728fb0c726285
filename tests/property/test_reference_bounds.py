"""What the bounds prove holds for every potential that occurs, and is not wasteful."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from networks import INPUT, Builder
from scheduled_networks import SCHEDULED, scheduled
from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import ConvSynapses, CubaLIFNeurons, IFNeurons, Readout
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.sim import bounds
from transcription import transcribe, wired

SEEDS = st.integers(0, 2**32 - 1)


def per_channel(values, node, which):
    return which(np.array(values).reshape(node.shape[0], -1), axis=1)


def adversarial(program, n=6):
    """Frames at the ends of the range: at random, and chosen by the signs of the first weights."""
    source, random = program.input, np.random.default_rng(0)
    frames = [
        np.where(random.random(source.shape) < 0.5, source.low, source.high) for _ in range(2)
    ]
    for group in program.graph.consumers(source.id):
        targets = wired(program, group)
        for target in random.integers(0, len(targets), n):
            frame = np.zeros(int(np.prod(source.shape)), np.int64)
            for index, weight in targets[target]:
                frame[index] += weight
            signed = np.where(frame > 0, source.high, source.low)
            frames += [signed.reshape(source.shape)]
            frames += [np.where(frame > 0, source.low, source.high).reshape(source.shape)]
    return np.array(frames[: 2 * n])


def assert_inside(program):
    frames = adversarial(program)
    trace = transcribe(program, frames)
    for node in program.populations:
        if isinstance(node, CubaLIFNeurons):
            continue
        interval = bounds.potential(program.graph, node, program.window.n_steps)
        assert (per_channel(trace.highest[node.id], node, np.max) <= interval.high).all(), node.id
        assert (per_channel(trace.lowest[node.id], node, np.min) >= interval.low).all(), node.id
        assert interval.magnitude == max(-interval.low.min(), interval.high.max(), 0)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(SEEDS, st.integers(1, 6), st.booleans())
def test_no_potential_leaves_the_interval(seed, n_steps, poisson):
    kinds = networks.ALL_NEURONS
    assert_inside(networks.branches(seed, n_steps, 3, poisson=poisson, kinds=kinds)[0])


@pytest.mark.parametrize("kind", ["graded", "clip-floor", "subtract", "zero", "signed"])
def test_no_potential_leaves_the_interval_in_any_structure(kind):
    assert_inside(networks.structures(4, kind, 1 if kind in networks.SINGLE_STEP else 3)[0])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from(SCHEDULED), SEEDS, st.integers(1, 6))
def test_no_potential_leaves_the_interval_when_spread_over_time(coding, seed, n_steps):
    assert_inside(scheduled(coding, "branches", seed, n_steps).program)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS, st.sampled_from(["dense", "conv", "sparse", "grouped"]), st.integers(-3, 3))
def test_the_interval_of_one_graded_layer_is_attained(seed, form, exponent):
    random = np.random.default_rng(seed)
    net = Builder(
        seed, (4, 5, 5), low=-int(random.integers(0, 100)), high=int(random.integers(1, 99))
    )
    group = {
        "dense": lambda: net.dense(INPUT, (3, 2, 2), exponent=exponent),
        "conv": lambda: net.conv(INPUT, 3, exponent=exponent),
        "sparse": lambda: net.sparse(INPUT, (3, 2, 2), exponent=exponent),
        "grouped": lambda: net.conv(INPUT, 4, exponent=exponent, geometry=Geometry(groups=2)),
    }[form]()
    population = net.neurons("graded", group)
    net.neurons("readout", net.dense(population, 2))
    program = net.build()
    source, node = program.input, program.graph[population]
    interval = bounds.potential(program.graph, node, 1)
    targets = wired(program, program.graph[group])
    area = len(targets) // node.shape[0]
    highs, lows = [], []
    for synapses in targets:
        sums = [
            sum(w * (source.high if (w > 0) is up else source.low) for _, w in synapses)
            for up in (True, False)
        ]
        highs.append(sums[0] << exponent if exponent >= 0 else sums[0] >> -exponent)
        lows.append(sums[1] << exponent if exponent >= 0 else sums[1] >> -exponent)
    high = np.array(highs).reshape(-1, area).max(axis=1) + node.bias.values
    low = np.array(lows).reshape(-1, area).min(axis=1) + node.bias.values
    np.testing.assert_array_equal(interval.high, high)
    np.testing.assert_array_equal(interval.low, low)
    # ... and a frame that attains it exists: the transcription says so.
    k = int(np.argmax(highs))
    frame = np.zeros(100, np.int64)
    for index, weight in targets[k]:
        frame[index] = source.high if weight > 0 else source.low
    trace = transcribe(program, frame.reshape(1, *source.shape))
    assert trace.highest[population][k] == highs[k] + node.bias.values[k // area]


def one_neuron(weight, threshold, bias, initial, reset):
    origin = Origin("t")
    net = Builder(0, (1, 1, 1), n_steps=2, coding=InputCoding.CURRENT, high=1)
    group = ConvSynapses(
        id=NodeId("s"),
        inputs=(INPUT,),
        shape=(1, 1, 1),
        origin=origin,
        weight=QTensor(np.full((1, 1, 1, 1), weight), QFormat(8)),
        exponent=0,
        geometry=Geometry(),
    )
    node = IFNeurons(
        id=NodeId("n"),
        inputs=(group.id,),
        shape=(1, 1, 1),
        origin=origin,
        threshold=QTensor.of([threshold]),
        bias=QTensor.of([bias]),
        initial_potential=QTensor.of([initial]),
        reset=reset,
    )
    return Graph([net.nodes[0], group, node]), node


@pytest.mark.parametrize(
    ("weight", "threshold", "bias", "initial", "reset", "low", "high"),
    [
        # drive 0..100 over a threshold of 30: each of 4 spikes leaves 70 more than the last
        (100, 30, 0, 29, Reset.SUBTRACT, 0, 29 + 4 * 70 + 100),
        (100, 30, 0, 29, Reset.ZERO, 0, 29 + 100),
        # never over the threshold by more than one drive
        (10, 30, 0, 15, Reset.SUBTRACT, 0, 29 + 10),
        # downwards: five steps of -7
        (-7, 30, 0, 15, Reset.SUBTRACT, -35, 29),
        (-7, 30, -3, -2, Reset.ZERO, -52, 29),
        (5, 30, -3, 40, Reset.SUBTRACT, -15, 42),
    ],
)
def test_integrate_and_fire_by_hand(weight, threshold, bias, initial, reset, low, high):
    graph, node = one_neuron(weight, threshold, bias, initial, reset)
    interval = bounds.potential(graph, node, 5)
    assert (interval.low.tolist(), interval.high.tolist()) == ([low], [high])


def test_runaway_of_reset_by_subtraction_is_attained():
    """A drive of 100 against a threshold of 30 in every step: the last sum is the bound."""
    v = 29
    peaks = []
    for _ in range(5):
        v += 100
        peaks.append(v)
        v -= 30
    assert max(peaks) == 29 + 4 * 70 + 100


def test_readouts_add_up_all_steps():
    net = Builder(0, (3,), n_steps=4, coding=InputCoding.CURRENT, low=-2, high=5)
    node_id = net.neurons("readout", net.dense(INPUT, 2))
    program = net.build()
    weight, bias = net.nodes[1].weight.values, net[node_id].bias.values
    interval = bounds.potential(program.graph, program.readouts[0], 4)
    high = np.where(weight > 0, weight * 5, weight * -2).sum(axis=1) + bias
    low = np.where(weight > 0, weight * -2, weight * 5).sum(axis=1) + bias
    np.testing.assert_array_equal(interval.high, 4 * np.maximum(high, 0))
    np.testing.assert_array_equal(interval.low, 4 * np.minimum(low, 0))
    assert isinstance(program.readouts[0], Readout)


def test_partial_sums_count_every_weight_by_its_size():
    net = Builder(0, (6,), low=-3, high=7)
    group = net[net.dense(INPUT, 4)]
    _, partial = bounds.synapse_sums(group, (-3, 7))
    assert partial == np.abs(group.weight.values).sum(axis=1).max() * 7


def test_leaky_neurons_have_no_bound():
    program, _ = networks.mlp(kind="leaky", n_steps=2)
    with pytest.raises(TypeError, match="wrap and saturate by definition"):
        bounds.potential(program.graph, program.populations[0], 2)
