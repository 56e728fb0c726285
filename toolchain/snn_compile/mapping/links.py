"""Links between layers: how many copies of a layer's messages cross the chip."""

from __future__ import annotations

from dataclasses import dataclass

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Population, Synapses
from snn_compile.mapping.block import Placement
from snn_compile.mapping.counts import counts_of
from snn_compile.mapping.program import MappedProgram


@dataclass(frozen=True)
class Link:
    """All synapses from one layer, or the input, to another.

    Attributes:
        source: the node that sends.
        target: the population that receives.
        axons: pairs of a source neuron and a block that it reaches: a message of every neuron once
            is this many messages on the chip.
    """

    source: NodeId
    target: NodeId
    axons: int


def links(mapped: MappedProgram) -> tuple[Link, ...]:
    """The links of a mapped network, in the order of the network."""
    placed: dict[NodeId, list[Placement]] = {}
    for placement in mapped.placements:
        placed.setdefault(placement.population, []).append(placement)
    found: dict[tuple[NodeId, NodeId], int] = {}
    for population in mapped.program.populations:
        groups = mapped.program.synapses_into(population)
        for group in groups:
            ends = (group.inputs[0], population.id)
            axons = _axons(mapped, population, group, placed.get(population.id, []), len(groups))
            found[ends] = found.get(ends, 0) + axons
    return tuple(Link(source, target, axons) for (source, target), axons in found.items())


def _axons(
    mapped: MappedProgram,
    population: Population,
    group: Synapses,
    blocks: list[Placement],
    n_groups: int,
) -> int:
    """The input axons of one synapse group; the only one of a layer has all that are not its own.

    A neuron that resets by subtraction may have recurrent synapses, which are no link.
    """
    target = mapped.target
    if n_groups == 1:
        own = target.synapses_per_soft_reset_neuron.value if population.soft_reset else 0
        return sum(p.demand.input_axons - own * p.block.size for p in blocks)
    counts = counts_of(group, mapped.program.graph[group.inputs[0]].shape)
    return sum(counts.sources(placement.block) for placement in blocks)
