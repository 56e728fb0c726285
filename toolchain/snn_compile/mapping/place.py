"""Placement of a network: every population cut into blocks, every block on a core."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import numpy as np

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph, Synapses
from snn_compile.mapping.block import Part, Placement
from snn_compile.mapping.counts import Counts, counts_of
from snn_compile.mapping.lower_bound import Least, lower_bound
from snn_compile.mapping.pack import pack
from snn_compile.targets.target import Target

WASTE = (0.0, 0.3, 1.0)
"""Prices of what blocks leave empty: each is tried, and the fewest cores are taken."""
SHARPNESS = 4
"""How much more a limit costs than one that all layers together use less of."""


def all_counts(program: QuantizedGraph) -> dict[NodeId, Counts]:
    """Counts over every synapse group."""
    return {
        node.id: counts_of(node, program.graph[node.inputs[0]].shape)
        for node in program.graph
        if isinstance(node, Synapses)
    }


def place(program: QuantizedGraph, target: Target) -> tuple[Placement, ...]:
    """Blocks on cores, populations in topological order.

    The number of cores is not limited here: the design rules compare it with the board.
    """
    counts = all_counts(program)
    least = lower_bound(program, target, counts)
    prices = _prices(least, target)
    best: list[list[Part]] | None = None
    for waste in WASTE:
        cores = pack(program, target, counts, prices, waste)
        if best is None or len(cores) < len(best):
            best = cores
        if len(best) <= least.cores:
            break
    return _numbered(program, target, best or [])


def _prices(least: Least, target: Target) -> tuple[float, ...]:
    """Of the four limits, higher for those that all layers together need more of."""
    totals = np.array(least.shares(target))
    if not totals.any():
        return (1.0,) * len(totals)
    weights = (totals / totals.max()) ** SHARPNESS
    return tuple((weights / weights.sum()).tolist())


def _numbered(
    program: QuantizedGraph, target: Target, cores: list[list[Part]]
) -> tuple[Placement, ...]:
    """Cores numbered in the order of the network."""
    order: Mapping[NodeId, int] = {p.id: k for k, p in enumerate(program.populations)}

    def key(part: Part) -> tuple[int, tuple[int, ...]]:
        return order[part.population], tuple(start for start, _ in part.block.spans)

    per_chip = target.cores_per_chip.value
    numbered = zip(count(), sorted(cores, key=lambda parts: min(map(key, parts))), strict=False)
    return tuple(
        Placement(
            population=part.population,
            core=core,
            chip=0 if per_chip is None else core // per_chip,
            block=part.block,
            demand=part.demand,
            n_synapses=part.n_synapses,
        )
        for _, core, part in sorted(
            ((key(part), core, part) for core, parts in numbered for part in parts),
            key=lambda item: item[:2],
        )
    )
