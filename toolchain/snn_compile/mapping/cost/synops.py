"""Synaptic operations of a network, wherever its neurons are, from spike counts.

A synaptic operation is one message through one synapse of nonzero weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import Input, Neurons, QuantizedGraph, Synapses
from snn_compile.mapping.counts import counts_of
from snn_compile.mapping.taps import Int


def fan_out(synapses: Synapses, source_shape: Shape) -> Int:
    """Synapses of each source neuron in one group, in the source's shape; exact at the borders."""
    return counts_of(synapses, source_shape).fan_out()


def fan_outs(program: QuantizedGraph) -> dict[NodeId, Int]:
    """Synapses of each neuron of the input and of each population that sends, over all readers."""
    total = {
        node.id: np.zeros(node.shape, dtype=np.int64)
        for node in program.graph
        if isinstance(node, Input | Neurons)
    }
    for node in program.graph:
        if isinstance(node, Synapses):
            (source,) = node.inputs
            total[source] += fan_out(node, program.graph[source].shape)
    return total


def synops(program: QuantizedGraph, spikes: Mapping[NodeId, float]) -> float:
    """Synaptic operations from the number of messages of each source: spikes x mean fan-out.

    An estimate where spikes are spread unevenly; ``exact_synops`` takes a map of them.

    Args:
        program: the network.
        spikes: messages of the input and of each population; a missing entry counts as 0.
    """
    total = 0.0
    for name, reached in fan_outs(program).items():
        total += spikes.get(name, 0.0) * float(reached.mean())
    return total


def exact_synops(
    program: QuantizedGraph, spikes: Mapping[NodeId, npt.NDArray[np.integer | np.floating]]
) -> float:
    """Synaptic operations from the number of messages of each neuron.

    Args:
        program: the network.
        spikes: messages of each neuron of the input and of each population, in its shape.
    """
    total = 0.0
    for name, reached in fan_outs(program).items():
        if name in spikes:
            total += float((spikes[name] * reached).sum())
    return total


def neuron_updates(program: QuantizedGraph) -> int:
    """Neuron updates of one inference: every neuron at every step of its window."""
    neurons = sum(int(np.prod(node.shape)) for node in program.populations)
    return neurons * program.window.n_steps
