"""Bin packing of blocks onto cores."""

from __future__ import annotations

import numpy as np

from snn_compile.mapping.block import Part, Placement, capacity
from snn_compile.targets.target import Target


def pack(parts: list[Part], target: Target) -> tuple[Placement, ...]:
    """Place blocks by first-fit decreasing; cores are numbered in the order of the network.

    A block that exceeds a limit alone gets its own core. The number of cores is not
    limited here: the design rules compare it with the board.
    """
    limits = capacity(target)
    sizes = np.array([part.demand.values for part in parts], dtype=np.int64).reshape(-1, 4)
    bound = np.array([np.iinfo(np.int64).max if n is None else n for n in limits], dtype=np.int64)
    fullest = [max(part.demand.fullness(limits)) for part in parts]
    free = np.empty((len(parts), 4), dtype=np.int64)
    members: list[list[int]] = []
    for index in sorted(range(len(parts)), key=lambda i: (-fullest[i], i)):
        fits = np.flatnonzero((free[: len(members)] >= sizes[index]).all(axis=1))
        if fits.size:
            core = int(fits[0])
        else:
            core = len(members)
            members.append([])
            free[core] = bound
        members[core].append(index)
        free[core] -= sizes[index]
    per_chip = target.cores_per_chip.value
    placements = [
        (index, core) for core, blocks in enumerate(sorted(members, key=min)) for index in blocks
    ]
    return tuple(
        Placement(
            population=parts[index].population,
            core=core,
            chip=0 if per_chip is None else core // per_chip,
            block=parts[index].block,
            demand=parts[index].demand,
            n_synapses=parts[index].n_synapses,
        )
        for index, core in sorted(placements)
    )
