"""Placement of a network: every population cut into blocks, every block on a core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.mapping.block import Part, Placement
from snn_compile.mapping.chips import links_of, spread, traffic
from snn_compile.mapping.counts import all_counts
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.lower_bound import Least, lower_bound
from snn_compile.mapping.pack import Packed, measured, pack
from snn_compile.mapping.placement_file import PlacementFile, chip_of, pins_of, placed_as
from snn_compile.mapping.taps import Int
from snn_compile.targets.target import Target

WASTE = (0.0, 0.3, 1.0)
"""Prices of what blocks leave empty: each is tried, and the fewest cores are taken."""
MOST_CORES, CLOSE = 400, 1.06
"""Cores for which another price is tried, and how many times the bound is close enough."""
SHARPNESS = 4
"""How much more a limit costs than one that all layers together use less of."""


@dataclass(frozen=True)
class Placed:
    """A network on cores.

    Attributes:
        blocks: on their cores, populations in topological order.
        least: what any placement needs.
        links: messages of a step from chip to chip, if they have been counted.
    """

    blocks: tuple[Placement, ...]
    least: Least
    links: Mapping[tuple[int, int], int] | None = None


def place(program: QuantizedGraph, target: Target, given: PlacementFile | None = None) -> Placed:
    """Blocks on cores.

    The number of cores is not limited here: the design rules compare it with the board.

    Args:
        program: the network.
        target: the chip.
        given: a placement, or pins of some layers.

    Raises:
        CompileError: what is given does not fit the network or the board.
    """
    counts = all_counts(program)
    least = lower_bound(program, target, counts)
    if given is not None and given.blocks:
        cores: dict[int, list[Part]] = {}
        for part, core in placed_as(given, program, target):
            cores.setdefault(core, []).append(part)
        parts = measured(program, target, counts, list(cores.values()))
        return Placed(_placements(program, target, dict(zip(cores, parts, strict=True))), least)
    pins = {} if given is None else pins_of(given, program, target)
    best = _packed(program, target, counts, least, pins)
    numbered, links = _numbered(program, target, counts, best)
    return Placed(_placements(program, target, numbered), least, links)


def blocks_without_chips(program: QuantizedGraph, target: Target) -> list[Part]:
    """The blocks that :func:`place` would put onto cores."""
    counts = all_counts(program)
    packed = _packed(program, target, counts, lower_bound(program, target, counts), {})
    return [part for parts in packed.cores for part in parts]


def _packed(
    program: QuantizedGraph,
    target: Target,
    counts: Mapping[NodeId, Counts],
    least: Least,
    pins: Mapping[NodeId, tuple[int, ...]],
) -> Packed:
    """The fewest cores, of a few prices of what blocks leave empty."""
    prices = _prices(least, target)
    best = pack(program, target, counts, prices, WASTE[0], pins)
    for waste in WASTE[1:]:
        if least.cores * CLOSE < best.n_cores <= MOST_CORES:
            other = pack(program, target, counts, prices, waste, pins)
            best = min(best, other, key=lambda packed: packed.n_cores)
    return best


def _prices(least: Least, target: Target) -> tuple[float, ...]:
    """Of the four limits, higher for those that all layers together need more of."""
    totals = np.array(least.shares(target))
    if not totals.any():
        return (1.0,) * len(totals)
    weights = (totals / totals.max()) ** SHARPNESS
    return tuple((weights / weights.sum()).tolist())


def _numbered(
    program: QuantizedGraph, target: Target, counts: Mapping[NodeId, Counts], packed: Packed
) -> tuple[dict[int, list[Part]], Mapping[tuple[int, int], int] | None]:
    """Cores by number: those of pinned layers as stated, the others in the order of the network.

    With the messages from chip to chip, where these decided.
    """
    order = _order(program)
    found: dict[int, list[Part]] = {}

    def first(parts: Sequence[Part]) -> tuple[int, tuple[int, ...]]:
        return min(map(order, parts))

    for numbers, cores in packed.pinned.items():
        found |= dict(zip(numbers, sorted(filter(None, cores), key=first), strict=False))
    reserved = {core for numbers in packed.pinned for core in numbers}
    others = sorted(packed.cores, key=first)
    per_chip = target.cores_per_chip.value
    if reserved or per_chip is None or len(others) <= per_chip:
        free = (core for core in count() if core not in reserved)
        return found | dict(zip(free, others, strict=False)), None
    edges = traffic(program, counts, others)
    chips = spread(len(others), per_chip, edges)
    return dict(zip(_numbers(chips, per_chip), others, strict=True)), links_of(chips, edges)


def _numbers(chips: Int, per_chip: int) -> list[int]:
    """Numbers of cores on their chips."""
    taken: dict[int, int] = {}
    numbers = []
    for chip in chips.tolist():
        numbers.append(chip * per_chip + taken.setdefault(chip, 0))
        taken[chip] += 1
    return numbers


def _order(program: QuantizedGraph) -> Callable[[Part], tuple[int, tuple[int, ...]]]:
    """The order of the network: by layer, then by place."""
    order = {p.id: k for k, p in enumerate(program.populations)}

    def key(part: Part) -> tuple[int, tuple[int, ...]]:
        return order[part.population], tuple(start for start, _ in part.block.spans)

    return key


def _placements(
    program: QuantizedGraph, target: Target, cores: Mapping[int, Sequence[Part]]
) -> tuple[Placement, ...]:
    key = _order(program)
    placed = sorted(
        ((key(part), core, part) for core, parts in cores.items() for part in parts),
        key=lambda item: item[:2],
    )
    return tuple(
        Placement(
            population=part.population,
            core=core,
            chip=chip_of(core, target),
            block=part.block,
            demand=part.demand,
            n_synapses=part.n_synapses,
        )
        for _, core, part in placed
    )
