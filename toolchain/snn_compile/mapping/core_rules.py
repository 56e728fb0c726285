"""The design rules of cores, and of the links between chips: what a placement must observe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from snn_compile.errors import Origin
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Population, QuantizedGraph
from snn_compile.mapping.block import LIMITS, Demand, Placement, capacity
from snn_compile.mapping.chips import between_chips
from snn_compile.mapping.counts import all_counts
from snn_compile.mapping.violation import Violation, times
from snn_compile.targets.target import Target

_UNITS = ("neurons", "bits", "input axons", "output axons")


def core_demands(placements: Sequence[Placement]) -> dict[int, Demand]:
    """Total demand of the blocks of each core, in the order of the cores."""
    sums: dict[int, list[int]] = {}
    for placement in placements:
        so_far, demand = sums.setdefault(placement.core, [0, 0, 0, 0]), placement.demand
        so_far[0] += demand.neurons
        so_far[1] += demand.synapse_memory_bits
        so_far[2] += demand.input_axons
        so_far[3] += demand.output_axons
    return {core: Demand(*so_far) for core, so_far in sorted(sums.items())}


def _origin(program: QuantizedGraph, population: NodeId) -> Origin:
    return program.graph[population].origin


def _core_limit(
    rule: str,
    index: int,
    program: QuantizedGraph,
    target: Target,
    placements: Sequence[Placement],
    remedy: Callable[[Placement, int], str],
) -> list[Violation]:
    """Cores that exceed one of the four limits: the worst one of each layer.

    Args:
        rule: name of the rule.
        index: of the limit among ``LIMITS``.
        program: the network.
        target: the chip.
        placements: of the network on it.
        remedy: what to do about the largest block of a core, given the limit.
    """
    limit = capacity(target)[index]
    if limit is None:
        return []
    totals: dict[int, int] = {}
    for placement in placements:
        core = placement.core
        totals[core] = totals.get(core, 0) + placement.demand.values[index]
    over = {core: total for core, total in sorted(totals.items()) if total > limit}
    on_core: dict[int, list[Placement]] = {core: [] for core in over}
    for placement in placements if over else ():
        if placement.core in over:
            on_core[placement.core].append(placement)
    worst: dict[NodeId, Violation] = {}
    for core, needed in over.items():
        largest = max(on_core[core], key=lambda p: p.demand.values[index])
        name = largest.population
        if name in worst and worst[name].needed >= needed:
            continue
        what = f"{largest.n_neurons} neuron{'s' if largest.n_neurons != 1 else ''} of '{name}'"
        worst[name] = Violation(
            rule,
            f"{what} on core {core}: {needed} of {limit} {_UNITS[index]}"
            f" ({LIMITS[index]}, {times(needed, limit)}) on {target.name}",
            _origin(program, name),
            remedy(largest, limit),
            needed,
            limit,
        )
    return list(worst.values())


def neurons_per_core(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No core exceeds its number of compartments."""

    def remedy(largest: Placement, limit: int) -> str:
        each = largest.demand.neurons // largest.n_neurons
        return (
            f"a neuron that resets by subtraction takes {each} compartments, and a core has"
            f" {limit}: --reset zero, or another target"
        )

    return _core_limit("neurons_per_core", 0, program, target, placements, remedy)


def synapse_memory_per_core(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No core exceeds its synapse memory."""

    def remedy(largest: Placement, limit: int) -> str:
        fits = largest.n_synapses * limit // largest.demand.synapse_memory_bits
        return (
            f"a core holds {fits:,} of the {largest.n_synapses:,} synapses of these neurons:"
            " fewer --weight-bits, or fewer inputs to a neuron"
        )

    return _core_limit("synapse_memory_per_core", 1, program, target, placements, remedy)


def input_axons_per_core(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No core has more source neurons than input axons."""

    def remedy(largest: Placement, limit: int) -> str:
        soft = program.graph[largest.population]
        own = isinstance(soft, Population) and soft.soft_reset
        fan_in = limit - (target.synapses_per_soft_reset_neuron.value if own else 0)
        return (
            f"the largest fan-in that fits is {max(fan_in, 0):,}: pool before this layer,"
            " or --allow-approximate, which drops the synapses of least weight"
        )

    return _core_limit("input_axons_per_core", 2, program, target, placements, remedy)


def output_axons_per_core(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """No core has more destinations than output axons."""

    def remedy(largest: Placement, limit: int) -> str:
        each = -(-largest.demand.output_axons // largest.n_neurons)
        return (
            f"a neuron reaches {each:,} blocks, and a core can address {limit:,}: the layers that"
            f" read '{largest.population}' must take fewer cores, by fewer channels or fewer"
            " --weight-bits"
        )

    return _core_limit("output_axons_per_core", 3, program, target, placements, remedy)


def cores_per_board(
    program: QuantizedGraph, target: Target, placements: Sequence[Placement]
) -> list[Violation]:
    """The board has as many cores as the network needs."""
    del program
    needed, limit = len({placement.core for placement in placements}), target.cores
    if limit is None or needed <= limit:
        return []
    demands = core_demands(placements)
    totals = [
        sum(demand.fullness(capacity(target))[i] for demand in demands.values())
        for i in range(len(LIMITS))
    ]
    binding = LIMITS[totals.index(max(totals))]
    chips = target.chips.value
    message = (
        f"needs {needed} cores; {target.name} has {limit} on {chips}"
        f" chip{'s' if chips != 1 else ''} x {target.cores_per_chip.value}:"
        f" the binding limit is {binding} ({times(needed, limit)})"
    )
    fewer = ", fewer --weight-bits" if binding == "synapse memory" else ""
    enough = -(-needed // (target.cores_per_chip.value or needed))
    hint = f"--chips {enough} would do, or a smaller network{fewer}"
    return [Violation("cores_per_board", message, None, hint, needed, limit)]


def link_bandwidth(
    program: QuantizedGraph,
    target: Target,
    placements: Sequence[Placement],
    counted: Mapping[tuple[int, int], int] | None = None,
) -> list[Violation]:
    """No chip sends more to another than the link between them carries in a step.

    Args:
        program: the network.
        target: the chip.
        placements: of the network on it.
        counted: messages of a step from chip to chip, if they have been counted.
    """
    limit = target.link_messages_per_step.value
    if limit is None or not placements:
        return []
    links = counted
    if links is None:
        links = between_chips(program, all_counts(program), placements)
    over = {link: n for link, n in links.items() if n > limit}
    if not over:
        return []
    (sender, reader), needed = max(over.items(), key=lambda item: item[1])
    message = (
        f"chip {sender} sends up to {needed} messages a step to chip {reader}; a link of"
        f" {target.name} carries {limit} ({times(needed, limit)}; links over it: {len(over)})"
    )
    hint = "fewer neurons a chip, or --placement with layers that are linked on one chip"
    return [Violation("link_bandwidth", message, None, hint, needed, limit)]
