"""Blocks of neurons, their demand on a core, and their placement."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId, Shape
from snn_compile.targets.target import Target

Span = tuple[int, int]
"""A half-open range."""

LIMITS = ("neurons", "synapse memory", "input axons", "output axons")
"""Names of the four limits of a core, in the order of the fields of :class:`Demand`."""


def as_map(shape: Shape) -> tuple[int, int, int]:
    """A shape as channels, rows and columns; a flat population is a map of 1 x 1."""
    if len(shape) == 1:
        return shape[0], 1, 1
    return shape[0], math.prod(shape[1:-1]), shape[-1]


class Block(NamedTuple):
    """A box of neurons of one population: channels x rows x columns."""

    channels: Span
    rows: Span
    columns: Span

    @staticmethod
    def whole(shape: Shape) -> Block:
        """The block of all neurons of a population."""
        c, h, w = as_map(shape)
        return Block((0, c), (0, h), (0, w))

    @property
    def size(self) -> int:
        """Number of neurons."""
        (c, c_end), (y, y_end), (x, x_end) = self
        return (c_end - c) * (y_end - y) * (x_end - x)

    @property
    def spans(self) -> tuple[Span, Span, Span]:
        """Its ranges of channels, rows and columns."""
        return self

    def between(self, axis: int, start: int, stop: int) -> Block:
        """The slab of it in a range of one axis."""
        channels, rows, columns = self
        if axis == 0:
            return Block((start, stop), rows, columns)
        if axis == 1:
            return Block(channels, (start, stop), columns)
        return Block(channels, rows, (start, stop))

    def halves(self, axis: int) -> tuple[Block, Block]:
        """Both halves along an axis."""
        start, stop = self.spans[axis]
        middle = (start + stop) // 2
        return self.between(axis, start, middle), self.between(axis, middle, stop)

    def shared(self, other: Block) -> int:
        """Number of neurons that are in both."""
        pairs = zip(self.spans, other.spans, strict=True)
        return math.prod(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a, b in pairs)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the block in an array of the population's shape as a map."""
        return slice(*self.channels), slice(*self.rows), slice(*self.columns)

    def flat(self, shape: Shape) -> npt.NDArray[np.int64]:
        """Flat indices of its neurons in a population of the given shape, row-major."""
        c, h, w = as_map(shape)
        channels, rows, columns = (
            np.arange(n, dtype=np.int64)[part]
            for n, part in zip((c, h, w), self.slices, strict=True)
        )
        flat: npt.NDArray[np.int64] = (channels[:, None, None] * h + rows[:, None]) * w + columns
        return flat.ravel()


class Demand(NamedTuple):
    """Demand of a block, or of a core's blocks together, on each of the four limits.

    Attributes:
        neurons: compartments.
        synapse_memory_bits: bits of synapse memory.
        input_axons: pairs of a source neuron and a synapse group of a block that it reaches.
        output_axons: pairs of a neuron and a synapse group of a block that it reaches.
    """

    neurons: int = 0
    synapse_memory_bits: int = 0
    input_axons: int = 0
    output_axons: int = 0

    def __add__(self, other: Demand) -> Demand:  # type: ignore[override]  # sums, not a longer tuple
        return Demand(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def values(self) -> tuple[int, int, int, int]:
        """The four numbers, in the order of ``LIMITS``."""
        return self

    def exceeds(self, capacity: Capacity) -> bool:
        """Whether any limit is exceeded."""
        for needed, limit in zip(self, capacity, strict=True):
            if limit is not None and needed > limit:
                return True
        return False

    def fullness(self, capacity: Capacity) -> tuple[float, ...]:
        """Utilization of each limit; 0 without a limit."""
        pairs = zip(self.values, capacity, strict=True)
        return tuple(0.0 if limit is None else n / max(limit, 1) for n, limit in pairs)


Capacity = tuple[int | None, int | None, int | None, int | None]


def capacity(target: Target) -> Capacity:
    """The four limits of a core of a target, in the order of ``LIMITS``."""
    return (
        target.neurons_per_core.value,
        target.synapse_memory_per_core.value,
        target.input_axons_per_core.value,
        target.output_axons_per_core.value,
    )


@dataclass(frozen=True)
class Part:
    """A block of a population and its demand, before placement."""

    population: NodeId
    block: Block
    demand: Demand = field(default_factory=Demand)
    n_synapses: int = 0


@dataclass(frozen=True)
class Placement:
    """A block of a population on a core.

    Attributes:
        population: the population.
        core: index of the core on the board.
        chip: the chip that holds the core.
        block: the neurons.
        demand: their demand on the core.
        n_synapses: unrolled synapses with a weight that is not zero.
    """

    population: NodeId
    core: int
    chip: int
    block: Block
    demand: Demand
    n_synapses: int

    @property
    def n_neurons(self) -> int:
        """Neurons of the network; a neuron may take several compartments."""
        return self.block.size
