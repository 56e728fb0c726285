"""The spiking network in floating point: what spikes cost before integers cost anything."""

from __future__ import annotations

from functools import singledispatch
from math import prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.spiking import Reset
from snn_compile.ir.stages import SpikingGraph
from snn_compile.sim import kernels, reference
from snn_compile.sim.batches import Advance, batch_size, map_batches, no_progress
from snn_compile.sim.kernels import Array


def evaluate(
    network: SpikingGraph,
    frames: Int,
    *,
    advance: Advance = no_progress,
) -> npt.NDArray[np.floating]:
    """The first output for encoded frames (N, *input shape): (N, C, H, W), real values."""
    size = batch_size(max(prod(n.shape) for n in network.graph) * network.window.n_steps)
    output = next(n for n in network.graph if isinstance(n, spiking.Readout))

    def run(piece: npt.NDArray[np.generic], start: int) -> npt.NDArray[np.floating]:
        values = forward(network, piece.astype(np.int64), start)
        return np.moveaxis(values[output.id][..., -1, :], -1, 0) / network.window.n_steps

    pieces = list(map_batches(run, frames, size, advance))
    return np.concatenate(pieces) if pieces else np.empty((0, *output.shape))


def forward(network: SpikingGraph, frames: Int, first: int = 0) -> dict[NodeId, Array]:
    """Every readout's potential for one piece, (*shape, T, B) float32."""
    n_steps = network.window.n_steps
    values: dict[NodeId, Array] = {}
    outputs: dict[NodeId, Array] = {}
    readers = {node.id: len(network.graph.consumers(node.id)) for node in network.graph}
    values[network.input.id] = sent(network.input, frames, n_steps, first)
    for population in network.populations:
        a = current(network, population, values)
        for group in network.synapses_into(population):
            readers[group.inputs[0]] -= 1
            if not readers[group.inputs[0]]:
                del values[group.inputs[0]]
        answer = respond(population, a, n_steps)
        (outputs if isinstance(population, spiking.Readout) else values)[population.id] = answer
    return outputs


def sent(node: spiking.Input, frames: Int, n_steps: int, first: int = 0) -> Array:
    """The input's messages, (*shape, 1 or T, B); one step where all steps are the same."""
    messages = reference.sent(node, frames, n_steps, first)
    return np.moveaxis(messages, (0, 1), (-1, -2)).astype(np.float32)


def current(
    network: SpikingGraph, population: spiking.Population, values: dict[NodeId, Array]
) -> Array:
    """Summed synaptic input of a population, (*shape, 1 or T, B)."""
    total: Array | None = None
    for group in network.synapses_into(population):
        messages = values[group.inputs[0]]
        *source, n_steps, batch = messages.shape
        flat = messages.reshape(*source, n_steps * batch)
        part = _synapses(group, flat).reshape(*group.shape, n_steps, batch)
        total = part if total is None else total + part
    if total is None:
        raise TypeError(f"'{population.id}' has no synapses")
    return total


@singledispatch
def _synapses(group: spiking.Synapses, s: Array) -> Array:
    raise TypeError(f"no evaluation rule for {type(group).__name__}")


@_synapses.register
def _(group: spiking.ConvSynapses, s: Array) -> Array:
    return kernels.conv2d(s, group.weight, group.geometry)


@_synapses.register
def _(group: spiking.DenseSynapses, s: Array) -> Array:
    return kernels.matmul(group.weight.astype(s.dtype), s.reshape(-1, s.shape[-1]))


@_synapses.register
def _(group: spiking.SparseSynapses, s: Array) -> Array:
    from scipy.sparse import csr_array

    flat = s.reshape(-1, s.shape[-1])
    shape = (len(group.indptr) - 1, len(flat))
    product: Array = (
        csr_array((group.weight.astype(s.dtype), group.indices, group.indptr), shape) @ flat
    )
    return product


@singledispatch
def respond(population: spiking.Population, a: Array, n_steps: int) -> Array:
    """What a population sends (a readout: its potential) at each step, (*shape, T, B)."""
    raise TypeError(f"no equations for {type(population).__name__}")


@respond.register
def _(population: spiking.GradedNeurons, a: Array, n_steps: int) -> Array:
    del n_steps
    threshold = population.threshold[:, None, None, None, None].astype(a.dtype)
    bias = population.bias[..., None, None].astype(a.dtype)
    return np.clip(np.floor((a + bias) / threshold + 0.5), 0, population.levels)


@respond.register
def _(population: spiking.IFNeurons, a: Array, n_steps: int) -> Array:
    threshold = population.threshold[:, None, None, None].astype(a.dtype)
    drive = a + population.bias[..., None, None].astype(a.dtype)
    v = np.full((*a.shape[:-2], a.shape[-1]), population.initial_potential, a.dtype) * threshold
    spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), a.dtype)
    for t in range(n_steps):
        v += drive[..., min(t, drive.shape[-2] - 1), :]
        fired = v >= threshold
        spikes[..., t, :] = fired
        if population.reset is Reset.SUBTRACT:
            v -= threshold * fired
        else:
            v[fired] = 0
    return spikes


@respond.register
def _(population: spiking.Readout, a: Array, n_steps: int) -> Array:
    drive = a + population.bias[..., None, None].astype(a.dtype)
    steps = np.broadcast_to(drive, (*drive.shape[:-2], n_steps, drive.shape[-1]))
    return np.cumsum(steps, axis=-2)
