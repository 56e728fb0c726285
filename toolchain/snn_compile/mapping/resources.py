"""Utilization of the target by a mapped network, for the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from snn_compile.ir.graph import NodeId
from snn_compile.mapping.block import LIMITS, Demand, Placement, capacity
from snn_compile.mapping.core_rules import core_demands
from snn_compile.mapping.coverings import tightened
from snn_compile.mapping.links import Link, links
from snn_compile.mapping.program import MappedProgram


@dataclass(frozen=True)
class CoreResources:
    """One core.

    Attributes:
        core: its index on the board.
        chip: the chip.
        neurons: compartments in use.
        synapse_memory_bits: bits in use.
        input_axons: in use.
        output_axons: in use.
        populations: populations with neurons on it.
        percent: utilization of its tightest limit.
    """

    core: int
    chip: int
    neurons: int
    synapse_memory_bits: int
    input_axons: int
    output_axons: int
    populations: tuple[NodeId, ...]
    percent: float


@dataclass(frozen=True)
class LayerResources:
    """One population.

    Attributes:
        name: its id.
        neurons: number of neurons.
        compartments: their number; more than neurons where a neuron takes several.
        synapses: unrolled incoming synapses of nonzero weight, without taps in the padding.
        weight_memory_bits: its weights stored once, as in the model.
        synapse_memory_bits: memory of its blocks on their cores, copies and overhead included.
        blocks: blocks it is cut into.
        cores: the cores that hold them.
    """

    name: NodeId
    neurons: int
    compartments: int
    synapses: int
    weight_memory_bits: int
    synapse_memory_bits: int
    blocks: int
    cores: tuple[int, ...]


@dataclass(frozen=True)
class BindingLimit:
    """The limit with the highest utilization.

    Attributes:
        limit: its name.
        core: the core with this utilization.
        used: demand on that core.
        available: capacity of a core.
        percent: utilization.
    """

    limit: str
    core: int
    used: int
    available: int
    percent: float

    def __str__(self) -> str:
        return f"{self.limit}, core {self.core}, {self.percent:.0f} %"


@dataclass(frozen=True)
class ChipLink:
    """What one chip sends to another.

    Attributes:
        sender: the chip that sends.
        reader: the chip that reads.
        messages: of a step, if every neuron sends one: pairs of a neuron and a block that reads it.
    """

    sender: int
    reader: int
    messages: int


@dataclass(frozen=True)
class LayerBound:
    """One limit of one layer.

    Attributes:
        layer: the population.
        rule: name of the limit.
        bound: the least that any placement takes.
        used: taken by this one.
        limit: capacity of a core; None without a limit.
    """

    layer: NodeId
    rule: str
    bound: int
    used: int
    limit: int | None


@dataclass(frozen=True)
class LowerBound:
    """What any placement needs: see ``lower_bound``.

    Attributes:
        cores: the least number.
        used: cores in use.
        layers: each limit of each layer.
    """

    cores: int
    used: int
    layers: tuple[LayerBound, ...]


@dataclass(frozen=True)
class Resources:
    """The whole network.

    Attributes:
        cores: in use.
        cores_available: on the board; None without a limit.
        chips: in use.
        per_core: every core in use.
        binding_limit: None on a target without limits.
        layers: every population.
        links: between populations, and from the input.
        lower_bound: the least that any placement needs.
        between_chips: messages of a step from chip to chip, if every neuron sends one.
    """

    cores: int
    cores_available: int | None
    chips: int
    per_core: tuple[CoreResources, ...]
    binding_limit: BindingLimit | None
    layers: tuple[LayerResources, ...]
    links: tuple[Link, ...]
    lower_bound: LowerBound
    between_chips: tuple[ChipLink, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report's ``resources``, in types that JSON has."""
        plain: dict[str, Any] = asdict(self)
        return plain


def use_of_cores(mapped: MappedProgram) -> tuple[tuple[CoreResources, ...], BindingLimit | None]:
    """Every core in use, and the limit with the highest utilization."""
    limits = capacity(mapped.target)
    holding: dict[int, list[NodeId]] = {}
    chip_of: dict[int, int] = {}
    for placement in mapped.placements:
        holding.setdefault(placement.core, []).append(placement.population)
        chip_of[placement.core] = placement.chip
    per_core = []
    binding: BindingLimit | None = None
    for core, demand in core_demands(mapped.placements).items():
        full = demand.fullness(limits)
        tightest = full.index(max(full))
        percent = 100.0 * full[tightest]
        per_core.append(
            CoreResources(
                core=core,
                chip=chip_of[core],
                neurons=demand.neurons,
                synapse_memory_bits=demand.synapse_memory_bits,
                input_axons=demand.input_axons,
                output_axons=demand.output_axons,
                populations=tuple(dict.fromkeys(holding[core])),
                percent=percent,
            )
        )
        available = limits[tightest]
        if available is not None and (binding is None or percent > binding.percent):
            used = demand.values[tightest]
            binding = BindingLimit(LIMITS[tightest], core, used, available, percent)
    return tuple(per_core), binding


def resources(mapped: MappedProgram) -> Resources:
    """Summarize a mapped network."""
    per_core, binding = use_of_cores(mapped)
    return Resources(
        cores=mapped.cores,
        cores_available=mapped.target.cores,
        chips=mapped.chips,
        per_core=per_core,
        binding_limit=binding,
        layers=_layers(mapped),
        links=links(mapped),
        lower_bound=_lower_bound(mapped),
        between_chips=tuple(ChipLink(a, b, n) for (a, b), n in mapped.links.items()),
    )


def _lower_bound(mapped: MappedProgram) -> LowerBound:
    least = tightened(mapped.least, mapped.cores, mapped.program, mapped.target)
    used = {name: Demand() for name in least.layers}
    for placement in mapped.placements:
        used[placement.population] += placement.demand
    rows = tuple(
        LayerBound(name, rule, bound, taken, limit)
        for name, bounds in least.layers.items()
        for rule, bound, taken, limit in zip(
            LIMITS, bounds, used[name].values, capacity(mapped.target), strict=True
        )
    )
    return LowerBound(least.cores, mapped.cores, rows)


def _layers(mapped: MappedProgram) -> tuple[LayerResources, ...]:
    layers = []
    placements: dict[NodeId, list[Placement]] = {}
    for placement in mapped.placements:
        placements.setdefault(placement.population, []).append(placement)
    for population in mapped.program.populations:
        held = placements.get(population.id, [])
        stored = (s.weight for s in mapped.program.synapses_into(population))
        layers.append(
            LayerResources(
                name=population.id,
                neurons=int(np.prod(population.shape)),
                compartments=sum(p.demand.neurons for p in held),
                synapses=sum(p.n_synapses for p in held),
                weight_memory_bits=sum(w.values.size * w.format.bits for w in stored),
                synapse_memory_bits=sum(p.demand.synapse_memory_bits for p in held),
                blocks=len(held),
                cores=tuple(sorted({p.core for p in held})),
            )
        )
    return tuple(layers)
