"""The demand on a core of the neuron with the largest fan-in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import Population, Synapses
from snn_compile.mapping.block import Block, Demand, as_map
from snn_compile.mapping.counts import counts_of
from snn_compile.mapping.partition import Cutter
from snn_compile.targets.target import Target

Incoming = Sequence[tuple[Synapses, Shape]]
"""Synapse groups, each with the shape of its source."""


def fan_in(group: Synapses, source: Shape) -> Int:
    """Nonzero synapses of each neuron, int64 in the group's shape."""
    return counts_of(group, source).fan_in().reshape(group.shape)


@dataclass(frozen=True)
class Need:
    """The demand of one neuron and the capacity of a core; a capacity is None without a limit.

    Attributes:
        sources: pairs of a source neuron and a synapse group.
        memory: synapse memory of the neuron, in bits.
        most_sources: input axons of the core, less those of the neuron's own reset.
        most_memory: synapse memory of the core, in bits.
    """

    sources: int
    memory: int
    most_sources: int | None
    most_memory: int | None

    @property
    def parts(self) -> int:
        """The least number of parts that may each fit a core; 1 for a neuron that fits."""
        parts = [-(-self.sources // max(self.most_sources or self.sources, 1))]
        parts.append(-(-self.memory // max(self.most_memory or self.memory, 1)))
        return max(*parts, 1)

    @property
    def fits(self) -> bool:
        """Whether the neuron fits a core."""
        return not self.has_too_many_sources and not self.has_too_much_memory

    @property
    def has_too_many_sources(self) -> bool:
        """Whether its fan-in exceeds the input axons of a core."""
        return self.most_sources is not None and self.sources > self.most_sources

    @property
    def has_too_much_memory(self) -> bool:
        """Whether its weights exceed the synapse memory of a core."""
        return self.most_memory is not None and self.memory > self.most_memory


def need(population: Population, incoming: Incoming, target: Target) -> Need:
    """The demand of the neuron with the most synapses in a population."""
    demand = _largest_demand(population, incoming, target)
    own = target.synapses_per_soft_reset_neuron.value if population.soft_reset else 0
    most = target.input_axons_per_core.value
    return Need(
        demand.input_axons - own,
        demand.synapse_memory_bits,
        None if most is None else most - own,
        target.synapse_memory_per_core.value,
    )


def _largest_demand(population: Population, incoming: Incoming, target: Target) -> Demand:
    size = as_map(population.shape)
    counted = [(group, counts_of(group, source)) for group, source in incoming]
    total = sum(counts.fan_in() for _, counts in counted)
    largest = np.unravel_index(int(np.argmax(total)), size)
    unread = np.zeros(size, dtype=np.int64)
    cutter = Cutter(population, counted, unread, target)
    return cutter.demand(Block(*((int(i), int(i) + 1) for i in largest)))


def limits_fan_in(target: Target) -> bool:
    """Whether a target limits fan-in, by input axons or by synapse memory."""
    limits: Iterable[int | None] = (
        target.input_axons_per_core.value,
        target.synapse_memory_per_core.value,
    )
    return any(limit is not None for limit in limits)
