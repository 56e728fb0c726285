"""Integer networks on the compiled engine: squares of pixels, relays, quotients, counted digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine_equality import assert_equal, assert_same
from network_builder import INPUT, Builder
from scheduled_networks import RADIX, SYNC, scheduled
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import ConvSynapses
from snn_compile.sim import engine, native, reference, results
from snn_compile.sim.engine import Engine

pytestmark = pytest.mark.usefixtures("compiled_engine")


def set_weights(net, node_id, values):
    """Gives synapses other weights."""
    index = next(i for i, node in enumerate(net.nodes) if node.id == node_id)
    net.nodes[index] = replace(net.nodes[index], weight=QTensor(values, QFormat(8)))


def send_sums(net, synapses, frame):
    """Graded neurons whose payloads are, for one frame, other numbers from 0 to 252 in a row."""
    node = net[synapses]
    sums = reference.SynapseOperator(node, (0, 255))(frame[..., None, None], np.int64)[..., 0, 0]
    wanted = np.arange(sums.size).reshape(sums.shape) % 253
    net.neurons("graded", synapses)
    channels = sums.shape[0]
    net.nodes[-1] = replace(
        net.nodes[-1],
        multiplier=QTensor(np.full(channels, 2048), QFormat(12, signed=False)),
        shift=QTensor(np.full(channels, 11), QFormat(6, signed=False)),
        bias=QTensor.of(wanted - sums),
    )
    net.neurons("readout", net.dense(net.nodes[-1].id, 2))


@pytest.mark.parametrize("kind", ["graded", "clip-floor", "readout"])
@pytest.mark.parametrize(
    ("channels", "n_out", "size", "padding", "low"),
    [
        (16, 16, (6, 8), (1, 1, 1, 1), 0),
        (32, 80, (4, 4), (0, 0, 0, 0), 0),
        (64, 20, (4, 6), (2, 0, 0, 2), -128),
        (48, 16, (6, 6), (-1, 1, 1, -1), 0),
        (16, 33, (5, 6), (1, 1, 1, 1), 0),
        (24, 16, (4, 4), (1, 1, 1, 1), -100),
        (32, 32, (16, 16), (1, 1, 1, 1), 0),
        (64, 48, (9, 11), (1, 0, 2, 1), -128),
        (64, 64, (26, 23), (1, 1, 1, 1), 0),
        (80, 72, (25, 22), (0, 2, 1, 0), -128),
    ],
)
def test_convolutions_of_three_by_three(kind, channels, n_out, size, padding, low):
    """Maps that are cut into squares and that are not, with messages of one sign and both.

    Whether squares pay depends on the build: the largest are cut in all of them, some into
    squares that are not whole.
    """
    net = Builder(channels + n_out, (channels, *size), low=low, high=low + 255)
    net.neurons(kind, net.conv(INPUT, n_out, geometry=Geometry(padding=padding)))
    if kind != "readout":
        net.neurons("readout", net.dense(net.nodes[-1].id, 3))
    assert_equal(net.build(), net.frames(2, density=0.9))


@pytest.mark.parametrize("signs", [(127, 127), (-128, -128), (127, -128)])
def test_the_largest_sums_of_squares(signs):
    """All weights and messages as large as they can be: no intermediate sum is cut off."""
    net = Builder(0, (112, 16, 16))
    synapses = net.conv(INPUT, 64, geometry=Geometry(padding=(1, 1, 1, 1)))
    weight = np.where(np.indices((3, 3)).sum(axis=0) % 2, signs[0], signs[1])
    set_weights(net, synapses, np.broadcast_to(weight, (64, 112, 3, 3)).copy())
    frames = np.full((2, 112, 16, 16), 255)
    frames[1, :, ::2] = 0
    send_sums(net, synapses, frames[0])
    assert_equal(net.build(), frames)


def test_squares_only_where_64_times_a_sum_fits():
    net = Builder(0, (128, 16, 16))
    synapses = net.conv(INPUT, 64, geometry=Geometry(padding=(1, 1, 1, 1)))
    set_weights(net, synapses, np.full((64, 128, 3, 3), 127))
    frames = np.full((1, 128, 16, 16), 255)
    send_sums(net, synapses, frames[0])
    assert_equal(net.build(), frames)


@pytest.mark.parametrize("weight", [1, 2])
@pytest.mark.parametrize("coding", ["graded", "clip-floor"])
def test_populations_that_repeat_another_and_that_nearly_do(coding, weight):
    net = Builder(1, (20, 5, 3))
    first = net.neurons(coding, net.conv(INPUT, 20, geometry=Geometry(padding=(1, 1, 1, 1))))
    relay = net.relay(first)
    ones = np.ones((20, 1, 1, 1), np.int64)
    ones[-1] = weight
    index = next(i for i, node in enumerate(net.nodes) if node.id == net[relay].inputs[0])
    wires = net.nodes[index]
    net.nodes[index] = ConvSynapses(
        id=wires.id,
        inputs=wires.inputs,
        shape=wires.shape,
        origin=wires.origin,
        exponent=0,
        weight=QTensor(ones, QFormat(8)),
        geometry=Geometry(groups=20),
    )
    net.neurons("readout", net.dense(relay, 4))
    assert_equal(net.build(), net.frames(4))


@pytest.mark.parametrize("smallest", [1, 1 << 14])
def test_quotients_beside_each_integer(smallest):
    """Potentials of each multiple of a threshold, one less and one more.

    Where thresholds are far apart, no factor of 32 bits has the quotients of all.
    """
    random = np.random.default_rng(2)
    net = Builder(2, (64, 6, 9), levels=15)
    large = random.integers(33 + smallest, 1 << 19, 32)
    threshold = np.concatenate([np.arange(smallest, smallest + 32), large])
    near = np.arange(54).reshape(6, 9)
    potential = near // 3 * threshold[:, None, None] + near % 3 - 1
    synapses = net.conv(INPUT, 64, (1, 1), geometry=Geometry(groups=64))
    net.neurons("clip-floor", synapses)
    net.nodes[-1] = replace(
        net.nodes[-1], threshold=QTensor.of(threshold), bias=QTensor.of(potential)
    )
    net.neurons("readout", net.dense(net.nodes[-1].id, 2))
    assert_equal(net.build(), np.zeros((1, 64, 6, 9), np.int64))


@pytest.mark.parametrize("shifts", [(11, 12), (20, 26), (20, 40), (30, 50)])
def test_rescaled_potentials_beside_each_integer(shifts):
    """Potentials that are the first to send a value, and those before, with shifts far apart."""
    random = np.random.default_rng(3)
    net = Builder(3, (64, 6, 9))
    multiplier, shift = random.integers(2048, 4096, 64), random.integers(*shifts, 64)
    value = np.arange(54).reshape(6, 9) // 2 * 5
    first = -(-(value << shift[:, None, None]) // multiplier[:, None, None])
    potential = np.minimum(first - np.arange(9) % 2, (1 << 23) - 1)
    synapses = net.conv(INPUT, 64, (1, 1), geometry=Geometry(groups=64))
    net.neurons("graded", synapses)
    net.nodes[-1] = replace(
        net.nodes[-1],
        multiplier=QTensor(multiplier, QFormat(12, signed=False)),
        shift=QTensor(shift, QFormat(6, signed=False)),
        bias=QTensor.of(potential),
    )
    net.neurons("readout", net.dense(net.nodes[-1].id, 2))
    assert_equal(net.build(), np.zeros((1, 64, 6, 9), np.int64))


@pytest.mark.parametrize("coding", [SYNC, RADIX])
def test_counting_keeps_no_messages(coding, monkeypatch):
    made = scheduled(coding, "structures", 4, 4)
    expected = reference.run(made.program, made.frames)
    recorded = []
    traces = results._traces

    def noted(populations, n_steps, n_samples, record):
        recorded.append(record)
        return traces(populations, n_steps, n_samples, record)

    monkeypatch.setattr(results, "_traces", noted)
    for build in native.builds():
        assert_same(Engine(made.program, build=build).run(made.frames), expected)
    assert recorded
    assert not any(recorded)


@pytest.mark.parametrize(("coding", "n_steps"), [(SYNC, 255), (SYNC, 15), (RADIX, 7), (RADIX, 4)])
def test_counts_of_many_stimuli(coding, n_steps, monkeypatch):
    """More than narrow counters hold are emptied into wide ones."""
    monkeypatch.setattr(engine, "MAX_PIECE_SIZE", 10_000)
    made = scheduled(coding, "mlp", 5, n_steps)
    n_frames = 1_300
    frames = np.repeat(made.frames[:1], n_frames, axis=0)
    once = reference.run(made.program, frames[:1])
    for build in native.builds():
        found = Engine(made.program, build=build).run(frames, threads=1)
        for node, counts in once.activity.items():
            np.testing.assert_array_equal(found.activity[node], n_frames * counts)
