"""Spike-norm: thresholds from the largest simulated input current."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from snn_compile.convert.linear import Float
from snn_compile.ir import spiking
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import SpikingGraph
from snn_compile.samples.rows import Rows
from snn_compile.sim import spiking as simulation
from snn_compile.sim.kernels import Array

SPIKES = 4096
"""Maximal number of samples times time steps from which thresholds are computed."""
MESSAGES = 1 << 26
"""Messages of the largest population in memory at once."""
MIN_SPIKES = 4
"""Minimal number of samples."""


def spike_norm(
    network: SpikingGraph,
    frames: Rows,
    scales: Mapping[NodeId, Float],
    chosen: Callable[[NodeId], bool],
    *,
    like: Mapping[NodeId, NodeId],
    caps: Mapping[NodeId, float] | None = None,
    per_layer: bool = False,
) -> dict[NodeId, Float]:
    """``threshold = max over steps of the current``, layer by layer, all before it fixed.

    Sengupta et al. 2019, "Going deeper in spiking neural networks", algorithm 1. The thresholds are
    large, because single steps may see many spikes at once; firing rates fall with depth and more
    steps are needed than with thresholds from activations.

    Args:
        network: the spiking network for the given scales.
        frames: encoded calibration samples.
        scales: full scale of each rectifier per channel that the network was built with.
        chosen: predicate of the rectifiers whose threshold is replaced.
        like: rectifiers that share another's scale.
        caps: caps of rectifiers that have one (ReLU6): upper bounds of a spike's value.
        per_layer: one threshold per layer instead of per channel.

    Returns:
        The scales, with those of the chosen rectifiers replaced.
    """
    n_steps = network.window.n_steps
    largest = max(prod(node.shape) for node in network.graph)
    n = min(len(frames), max(MIN_SPIKES, min(SPIKES, MESSAGES // largest) // n_steps))
    found = dict(scales)
    readers = {node.id: len(network.graph.consumers(node.id)) for node in network.graph}
    values = simulation.encode_inputs(network, frames[:n])
    for population in network.populations:
        if not isinstance(population, spiking.Neurons):
            continue
        a = simulation.current(network, population, values)
        for group in network.synapses_into(population):
            readers[group.inputs[0]] -= 1
            if not readers[group.inputs[0]]:
                del values[group.inputs[0]]
        name = population.id
        if name in like:
            found[name] = found[like[name]]
        elif chosen(name):
            drive = a + population.bias[..., None, None].astype(a.dtype)
            found[name] = _largest(drive, scales[name], per_layer)
            found[name] = np.minimum(found[name], (caps or {}).get(name, np.inf))
        rescaled = population.changed(threshold=found[name])
        spikes = simulation.respond(rescaled, a, n_steps)
        # Weights assume the old threshold as the value of a spike; it is now the new one.
        worth = (found[name] / scales[name]).astype(spikes.dtype)
        values[name] = spikes * worth[:, None, None, None, None]
    return found


def _largest(drive: Array, before: Float, per_layer: bool) -> Float:
    peak = drive.reshape(len(drive), -1).max(axis=1).astype(np.float64)
    if per_layer:
        peak = np.full_like(peak, peak.max())
    return np.where(peak > 0, peak, before)
