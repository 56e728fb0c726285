"""The last stage: a quantized network, unchanged, with every neuron placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from functools import cached_property

import numpy as np

from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.stages import StageError
from snn_compile.mapping.block import Placement, as_map
from snn_compile.mapping.chips import between_chips
from snn_compile.mapping.counts import all_counts
from snn_compile.mapping.lower_bound import Least, lower_bound
from snn_compile.mapping.rules import RULES
from snn_compile.targets.target import Target


@dataclass(frozen=True, eq=False)
class MappedProgram:
    """Every neuron of the network is on exactly one core, and every design rule holds.

    Attributes:
        program: the mapped network, the same object: placement cannot change a spike.
        target: the chip.
        placements: blocks of neurons, populations in topological order.
        bound: what any placement needs, where that is known.
        counted: messages of a step from chip to chip, where these are known.
        is_checked: that every design rule holds.
    """

    program: QuantizedGraph
    target: Target
    placements: tuple[Placement, ...]
    bound: Least | None = None
    counted: Mapping[tuple[int, int], int] | None = None
    is_checked: InitVar[bool] = False

    @cached_property
    def least(self) -> Least:
        """What any placement needs."""
        return self.bound or lower_bound(self.program, self.target, all_counts(self.program))

    @cached_property
    def links(self) -> Mapping[tuple[int, int], int]:
        """Messages of a step from chip to chip, if every neuron sends one."""
        if self.counted is not None:
            return self.counted
        return between_chips(self.program, all_counts(self.program), self.placements)

    def __post_init__(self, is_checked: bool) -> None:
        populations = {node.id: node for node in self.program.populations}
        held = {
            node.id: np.zeros(as_map(node.shape), dtype=np.int64) for node in populations.values()
        }
        for placement in self.placements:
            if placement.population not in held:
                raise StageError(f"a placement names '{placement.population}', not a population")
            held[placement.population][placement.block.slices] += 1
        for name, times in held.items():
            if (times != 1).any():
                raise StageError(f"neurons of '{name}' are not placed exactly once")
        for rule in () if is_checked else RULES:
            for violation in rule(self.program, self.target, self.placements):
                raise StageError(f"a mapped program breaks '{rule.__name__}': {violation.message}")

    @property
    def cores(self) -> int:
        """Cores in use."""
        return len({placement.core for placement in self.placements})

    @property
    def chips(self) -> int:
        """Chips in use."""
        return len({placement.chip for placement in self.placements})
