"""How synapses lie in a core's memory: what a format of it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from snn_compile.ir.quantized import ConvSynapses, Synapses
from snn_compile.mapping.block import Block
from snn_compile.mapping.fan_out import Counts

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

RESET_WEIGHT_BITS = 8
"""Width of the recurrent weight of a soft reset (NxTF: an 8-bit mantissa of the threshold)."""


@dataclass(frozen=True)
class Sources:
    """Sources of the blocks of each cut.

    Attributes:
        total: of all blocks.
        most: of the largest block.
    """

    total: Float
    most: Float


class Format(Protocol):
    """How synapses lie in memory. All sizes are in bits.

    Attributes:
        per_axon: what each input axon adds to lists that ``least_lists`` counts without it.
    """

    per_axon: int

    def each(self, synapses: Synapses) -> int:
        """What a synapse takes: groups with equal counts that agree in it take the same memory."""
        ...

    def taken(self, synapses: Synapses, counts: Counts, block: Block, n_axons: int) -> int:
        """What a synapse group takes on the core of a block: an upper bound."""
        ...

    def reset(self) -> int:
        """What the recurrent synapse of a neuron takes."""
        ...

    def estimated(
        self, synapses: Synapses, counts: Counts, cuts: tuple[Int, Int, Int], sources: Sources
    ) -> tuple[Float, Float]:
        """What all blocks of each cut take, and the largest block, as if no weight were zero."""
        ...

    def is_shared(self, synapses: Synapses) -> bool:
        """Whether a kernel is stored once."""
        ...

    def is_by_axon(self, synapses: Synapses) -> bool:
        """Whether each axon adds ``per_axon``."""
        ...

    def least_kernels(self, synapses: ConvSynapses) -> Float:
        """(channels,) the least that the shared kernels of each channel take, once."""
        ...

    def least_lists(self, synapses: Synapses, fan_in: Float) -> Float:
        """The least that the lists of neurons take, given their sources."""
        ...
