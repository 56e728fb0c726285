"""What is counted over a synapse group, and fan-out from the counts onto a block."""

from __future__ import annotations

import abc
from typing import Protocol

import numpy as np

from snn_compile.ir.graph import Shape
from snn_compile.mapping.block import Block, as_map
from snn_compile.mapping.taps import Int

Box = tuple[slice, slice, slice]
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


class Counts(Protocol):
    """Exact counts over one synapse group."""

    source_shape: Shape

    def synapses(self, block: Block) -> int:
        """Synapses, with a weight that is not zero, onto the neurons of a block."""
        ...

    def sources(self, block: Block) -> int:
        """Distinct source neurons with a synapse onto a block."""
        ...

    def stored(self, block: Block) -> tuple[int, int]:
        """Weights of the tensor that a block uses: all of them, and those that are not zero."""
        ...

    def mark(self, block: Block, reached: Int) -> None:
        """Add one, in a map of the sources, to each that has a synapse onto a block."""
        ...

    def onto(self, block: Block) -> tuple[Box, Int]:
        """Synapses of each source onto a block, in a box of the source's map with all of them."""
        ...

    def fan_out(self) -> Int:
        """Synapses of each source neuron, in the source's shape."""
        ...

    def fan_in(self) -> Int:
        """Synapses onto each neuron, flat."""
        ...

    def forget(self) -> None:
        """Free the memory of what can be computed again."""
        ...


class FanOut(abc.ABC):
    """Fan-out: the synapses onto all targets.

    Args:
        targets: shape of the population that the synapses reach.
        sources: shape of the population that they come from.
    """

    def __init__(self, targets: Shape, sources: Shape) -> None:
        self.target_shape, self.source_shape = targets, sources

    @abc.abstractmethod
    def onto(self, block: Block) -> tuple[Box, Int]:
        """See :class:`Counts`."""

    def fan_out(self) -> Int:
        """Synapses of each source."""
        everywhere = np.zeros(as_map(self.source_shape), dtype=np.int64)
        box, reached = self.onto(Block.whole(self.target_shape))
        everywhere[box] = reached
        return everywhere.reshape(self.source_shape)
