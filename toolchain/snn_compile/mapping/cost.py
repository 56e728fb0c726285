"""Synaptic operations and energy, from spike counts.

A synaptic operation is one message through one synapse of nonzero weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import Input, Neurons, QuantizedGraph, Synapses
from snn_compile.mapping.counts import Int, counts_of
from snn_compile.targets.target import Confidence, Constant, Target


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


class EnergyEstimate(TypedDict):
    """An energy in the report; ``confidence`` is the weakest of the figures used."""

    value: float
    low: float
    high: float
    unit: str
    source: str
    confidence: str


def energy(
    target: Target, *, synops: float, neuron_updates: float = 0.0, spikes: float = 0.0
) -> EnergyEstimate | None:
    """Energy of one inference, in joules; None if the target states no energies.

    Excludes static power, the management phase, the barrier between steps and the host's work: no
    public figures. A quantity without a figure in the target counts as 0, and ``source`` names only
    the counted ones.

    Args:
        target: the chip.
        synops: synaptic operations.
        neuron_updates: neurons times steps.
        spikes: messages sent.
    """
    terms = [
        (count, name, figure)
        for count, name, figure in (
            (synops, "synaptic operation", target.synaptic_op),
            (neuron_updates, "neuron update", target.neuron_update),
            (spikes, "spike", target.spike),
        )
        if figure is not None
    ]
    if not terms:
        return None
    joule = 1e-12
    return EnergyEstimate(
        value=joule * sum(n * figure.value for n, _, figure in terms),
        low=joule * sum(n * figure.low for n, _, figure in terms),
        high=joule * sum(n * figure.high for n, _, figure in terms),
        unit="J",
        source=f"{target.file}: "
        + "; ".join(
            f"{figure.value:g} ({figure.low:g} to {figure.high:g}) {figure.unit} a {name}"
            for _, name, figure in terms
        ),
        confidence=_weakest(figure for _, _, figure in terms).value,
    )


def _weakest(figures: Iterable[Constant]) -> Confidence:
    order = list(Confidence)
    return max((figure.confidence for figure in figures), key=order.index)
