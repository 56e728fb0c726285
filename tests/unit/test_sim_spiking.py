"""The spiking network in float, against its equations over a whole window at once.

Weights, biases and thresholds are integers: sums are exact in any order, so that equal means equal.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from snn_compile.errors import Origin
from snn_compile.ir import spiking
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.ir.stages import SpikingGraph
from snn_compile.sim import kernels
from snn_compile.sim import spiking as simulation

SAME = Geometry(padding=(1, 1, 1, 1))
INPUT = NodeId("input")


class Net:
    """Adds layers with random integer parameters to a growing spiking network."""

    def __init__(self, seed, shape, n_steps, coding, reset=Reset.SUBTRACT):
        self.random = np.random.default_rng(seed)
        self.window, self.reset = Window("rate", n_steps), reset
        self.nodes = {}
        units = np.ones(shape[0])
        low = -9 if coding is InputCoding.POISSON else 0
        self.add(
            spiking.Input, INPUT, (), shape, unit=units, low=low, high=9, coding=coding, seed=seed
        )

    def add(self, kind, name, inputs, shape, **fields):
        self.nodes[name] = kind(
            id=NodeId(name), inputs=inputs, shape=shape, origin=Origin("t", name), **fields
        )
        return NodeId(name)

    def integers(self, shape, top=6):
        return self.random.integers(-top, top + 2, shape).astype(np.float64)

    def conv(self, source, channels, kernel=(3, 3), geometry=SAME):
        n_in, *size = self.nodes[source].shape
        weight = self.integers((channels, n_in // geometry.groups, *kernel))
        shape = (channels, *geometry.output_size(tuple(size), kernel))
        name = f"conv{len(self.nodes)}"
        return self.add(
            spiking.ConvSynapses, name, (source,), shape, weight=weight, geometry=geometry
        )

    def dense(self, source, n):
        weight = self.integers((n, prod(self.nodes[source].shape)))
        name = f"dense{len(self.nodes)}"
        return self.add(spiking.DenseSynapses, name, (source,), (n, 1, 1), weight=weight)

    def sparse(self, source, shape):
        rows = self.random.integers(0, 4, prod(shape))
        last = prod(self.nodes[source].shape) // 2  # no synapse reads the sources at the end
        fields = {
            "indptr": np.concatenate([[0], np.cumsum(rows)]),
            "indices": self.random.integers(0, last, rows.sum()),
            "weight": self.integers(rows.sum()),
        }
        return self.add(
            spiking.SparseSynapses, f"sparse{len(self.nodes)}", (source,), shape, **fields
        )

    def neurons(self, *groups, bias=(1, 1)):
        shape = self.nodes[groups[0]].shape
        return self.add(
            spiking.IFNeurons,
            f"neurons{len(self.nodes)}",
            groups,
            shape,
            threshold=self.random.integers(8, 40, shape[0]).astype(np.float64),
            bias=self.integers((shape[0], *bias), 3),
            initial_potential=0.5,
            reset=self.reset,
        )

    def readout(self, *groups):
        shape = self.nodes[groups[0]].shape
        bias = self.integers((shape[0], 1, 1), 3)
        return self.add(spiking.Readout, f"out{len(self.nodes)}", groups, shape, bias=bias)

    def build(self):
        return SpikingGraph(Graph(self.nodes.values()), self.window)


def residual(net):
    a = net.neurons(net.conv(INPUT, 4))
    b = net.neurons(net.conv(a, 4), bias=(6, 5))
    relay = net.neurons(net.conv(a, 4, (1, 1), Geometry(groups=4)))
    c = net.neurons(net.conv(b, 4), net.conv(relay, 4, (1, 1), Geometry(groups=4)))
    d = net.neurons(net.conv(c, 6, (2, 2), Geometry(stride=(2, 2), groups=2)))
    net.readout(net.dense(d, 3))


def input_twice(net):
    """The input joins what it has caused, and feeds one population alone."""
    a = net.neurons(net.conv(INPUT, 4))
    b = net.neurons(net.conv(a, 2, (1, 1), Geometry()), net.conv(INPUT, 2))
    net.readout(net.dense(b, 3), net.dense(INPUT, 3))


def wired(net):
    a = net.neurons(net.sparse(INPUT, (3, 4, 2)), bias=(4, 2))
    b = net.neurons(net.sparse(a, (5, 1, 1)))
    net.readout(net.sparse(b, (2, 1, 1)))
    net.readout(net.dense(a, 4))


NETWORKS = {build.__name__: build for build in (residual, input_twice, wired)}


def network(name, seed=0, n_steps=9, coding=InputCoding.CURRENT, reset=Reset.SUBTRACT):
    net = Net(seed, (2, 6, 5), n_steps, coding, reset)
    NETWORKS[name](net)
    return net.build()


def frames(net, n):
    node = net.input
    train = (net.window.n_steps,) if node.coding is InputCoding.EVENTS else ()
    shape = (n, *train, *node.shape)
    return np.random.default_rng(n).integers(node.low, node.high, shape, endpoint=True)


def layer_by_layer(net, stimuli):
    """Potentials of all readouts and messages of all neurons, (*shape, T, B): one whole window of
    one population after the other."""
    n_steps = net.window.n_steps
    (arriving,) = simulation.encode_inputs(net, stimuli).values()
    batch = (*net.input.shape, n_steps, len(stimuli))
    values = {INPUT: np.broadcast_to(arriving, batch)}
    for node in net.graph:
        sources = [values[s] for s in node.inputs]
        match node:
            case spiking.ConvSynapses():
                by_step = [
                    kernels.conv2d(sources[0][..., t, :], node.weight, node.geometry)
                    for t in range(n_steps)
                ]
                values[node.id] = np.stack(by_step, axis=-2)
            case spiking.DenseSynapses():
                flat = sources[0].reshape(-1, n_steps * len(stimuli))
                product = (node.weight @ flat).astype(np.float32)
                values[node.id] = product.reshape(*node.shape, n_steps, -1)
            case spiking.SparseSynapses():
                flat = sources[0].reshape(-1, n_steps, len(stimuli))
                product = np.zeros((prod(node.shape), *flat.shape[1:]), np.float32)
                targets = np.repeat(np.arange(len(product)), np.diff(node.indptr))
                np.add.at(product, targets, node.weight[:, None, None] * flat[node.indices])
                values[node.id] = product.reshape(*node.shape, n_steps, -1)
            case spiking.Readout():
                values[node.id] = np.cumsum(sum(sources) + node.bias[..., None, None], axis=-2)
            case spiking.IFNeurons():
                values[node.id] = fired(node, sum(sources) + node.bias[..., None, None])
    return values


def fired(node, drive):
    threshold = node.threshold[:, None, None, None]
    v = node.initial_potential * threshold + np.zeros_like(drive[..., 0, :])
    spikes = np.empty_like(drive)
    for t in range(drive.shape[-2]):
        v = v + drive[..., t, :]
        spikes[..., t, :] = v >= threshold
        left = v - threshold if node.reset is Reset.SUBTRACT else np.zeros_like(v)
        v = np.where(v >= threshold, left, v)
    return spikes


@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize("coding", InputCoding)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(4))
def test_all_steps_are_those_of_the_equations(name, coding, reset, seed):
    net = network(name, seed, coding=coding, reset=reset)
    stimuli = frames(net, 5)
    expected = layer_by_layer(net, stimuli)
    found = simulation.forward(net, stimuli)
    assert found.keys() == {n.id for n in net.graph if isinstance(n, spiking.Readout)}
    for key, potential in found.items():
        assert potential.dtype == np.float32
        np.testing.assert_array_equal(potential, expected[key][..., -1, :], err_msg=key)
    spikes = [expected[n.id].ravel() for n in net.graph if isinstance(n, spiking.IFNeurons)]
    assert 0.02 < np.concatenate(spikes).mean() < 0.9


@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize("coding", [InputCoding.CURRENT, InputCoding.POISSON])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_population_at_a_time_is_the_same(name, coding, reset):
    net = network(name, coding=coding, reset=reset)
    stimuli = frames(net, 3)
    expected = layer_by_layer(net, stimuli)
    values = simulation.encode_inputs(net, stimuli)
    for population in net.populations:
        a = simulation.current(net, population, values)
        kept = a.copy()
        values[population.id] = simulation.respond(population, a, net.window.n_steps)
        np.testing.assert_array_equal(values[population.id], expected[population.id])
        np.testing.assert_array_equal(a, kept)


@pytest.mark.parametrize("n_steps", [1, 2, 33])
def test_the_mean_over_the_window_is_evaluated(n_steps):
    net = network("residual", n_steps=n_steps)
    stimuli = frames(net, 4)
    (output,) = (n.id for n in net.graph if isinstance(n, spiking.Readout))
    expected = np.moveaxis(layer_by_layer(net, stimuli)[output][..., -1, :], -1, 0) / n_steps
    np.testing.assert_allclose(simulation.evaluate(net, stimuli), expected, rtol=1e-6)


@pytest.mark.parametrize("coding", [InputCoding.CURRENT, InputCoding.POISSON])
@pytest.mark.parametrize("limit", ["PIECE_BYTES", "WINDOW_BYTES"])
def test_pieces_change_nothing(monkeypatch, coding, limit):
    net = network("residual", coding=coding)
    stimuli, finished = frames(net, 7), []
    at_once = simulation.evaluate(net, stimuli)
    monkeypatch.setattr(simulation, limit, 1)
    np.testing.assert_array_equal(
        simulation.evaluate(net, stimuli, advance=finished.append), at_once
    )
    in_ones = limit == "PIECE_BYTES" or coding is InputCoding.POISSON
    assert finished == ([1] * 7 if in_ones else [7])


@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_of_neurons_change_nothing(monkeypatch, name, reset):
    net = network(name, reset=reset)
    stimuli = frames(net, 5)
    at_once = simulation.evaluate(net, stimuli)
    for size in (1, 600, 1200):  # a row of a map of four channels has 400 bytes
        monkeypatch.setattr(simulation, "BLOCK_BYTES", size)
        np.testing.assert_array_equal(simulation.evaluate(net, stimuli), at_once)


def test_nothing_to_evaluate():
    net = network("wired")
    assert simulation.evaluate(net, frames(net, 1)[:0]).shape == (0, 2, 1, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_never_changes_is_multiplied_once(monkeypatch, name):
    seen = []
    linear = simulation._linear

    def counted(net, group, dtype):
        ready = linear(net, group, dtype)

        def apply(s):
            seen.append(group)
            return ready(s)

        return apply

    monkeypatch.setattr(simulation, "_linear", counted)
    net = network(name)
    simulation.forward(net, frames(net, 2))
    for group in (n for n in net.graph if isinstance(n, spiking.Synapses)):
        times = sum(one is group for one in seen)
        assert times == (1 if group.inputs[0] == INPUT else net.window.n_steps)


def test_payloads_are_rounded_and_clipped():
    threshold, bias = np.array([2.0, 4.0]), np.array([1.0, -3.0])[:, None, None]
    population = spiking.GradedNeurons(
        id=NodeId("n"),
        inputs=(),
        shape=(2, 1, 1),
        origin=Origin("t", "n"),
        threshold=threshold,
        bias=bias,
        levels=7,
    )
    a = np.array([[-9.0, 2.0, 99.0], [5.0, 9.0, 11.0]], np.float32).reshape(2, 1, 1, 1, 3)
    payloads = simulation.respond(population, a, 1)
    np.testing.assert_array_equal(payloads.reshape(2, 3), [[0, 2, 7], [1, 2, 2]])
