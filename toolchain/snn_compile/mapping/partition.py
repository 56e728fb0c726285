"""Partitioning of populations into blocks that fit a core."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Population, QuantizedGraph, Synapses
from snn_compile.mapping.block import (
    Block,
    Capacity,
    Demand,
    Part,
    Span,
    as_map,
    capacity,
)
from snn_compile.mapping.counts import Counts, Int, counts_of
from snn_compile.mapping.memory import RESET_WEIGHT_BITS, memory_bits
from snn_compile.targets.target import Target


class Cutter:
    """Cuts one population.

    Args:
        population: the population.
        incoming: the synapse groups that feed it, with their counts.
        destinations: for each neuron, as a map, the blocks that it must be sent to.
        target: the chip.
    """

    def __init__(
        self,
        population: Population,
        incoming: list[tuple[Synapses, Counts]],
        destinations: Int,
        target: Target,
    ) -> None:
        self.population = population
        self.incoming = incoming
        self.target = target
        self.destinations = destinations
        self._demands: dict[Block, Demand] = {}
        soft = population.soft_reset
        self.compartments = target.neurons_per_soft_reset_neuron.value if soft else 1
        self.recurrent = target.synapses_per_soft_reset_neuron.value if soft else 0

    @cached_property
    def sent(self) -> Int:
        """The summed-area table of the destinations."""
        padded = np.pad(self.destinations, [(1, 0)] * 3)
        summed: Int = padded.cumsum(axis=0).cumsum(axis=1).cumsum(axis=2)
        return summed

    def demand(self, block: Block) -> Demand:
        """Demand of a block on a core."""
        known = self._demands.get(block)
        if known is None:
            known = self._demands[block] = self._demand(block)
        return known

    def _demand(self, block: Block) -> Demand:
        axons = memory = 0
        for synapses, counts in self.incoming:
            n_axons = counts.sources(block)
            axons += n_axons
            memory += memory_bits(synapses, counts, block, n_axons, self.target)
        recurrent = block.size * self.recurrent
        per_synapse = RESET_WEIGHT_BITS + self.target.index_bits.value
        memory += recurrent * (per_synapse + self.target.entry_overhead_bits.value)
        return Demand(
            neurons=block.size * self.compartments,
            synapse_memory_bits=memory,
            input_axons=axons + recurrent,
            output_axons=self._sent(block) + recurrent,
        )

    def _sent(self, block: Block) -> int:
        """Sum of the destinations of a block's neurons; few or all neurons need no table."""
        if block.size in (1, self.destinations.size):
            return int(self.destinations[block.slices].sum())
        (c, c_end), (y, y_end), (x, x_end) = block.channels, block.rows, block.columns
        upper, lower = (
            self.sent[k, y_end, x_end]
            - self.sent[k, y, x_end]
            - self.sent[k, y_end, x]
            + self.sent[k, y, x]
            for k in (c_end, c)
        )
        return int(upper - lower)

    def cut(self) -> list[Part]:
        """The fewest blocks, by an even cut of channels, rows and columns, that all fit.

        A limit that a single neuron in the middle exceeds is raised to that neuron's demand, and a
        limit that no cut can meet is doubled: the design rules then report the violation, with
        blocks as small as possible.
        """
        size = as_map(self.population.shape)
        middle = self.demand(Block(*((n // 2, n // 2 + 1) for n in size)))
        limits = _raised(capacity(self.target), middle, 1)
        while True:
            over = Demand()
            for pieces in _cuts(size, limits[0], self.compartments):
                found = self._over(size, pieces, limits)
                if found is None:
                    return [self._part(block) for block in _blocks(size, pieces)]
                over = found
            limits = _raised(limits, over, 2)

    def _over(
        self, size: tuple[int, int, int], pieces: tuple[int, int, int], limits: Capacity
    ) -> Demand | None:
        """The demand of a block that exceeds the limits after a cut; the middle one first."""
        centre = Block(*(_piece(n, k, k // 2) for n, k in zip(size, pieces, strict=True)))
        for block in itertools.chain([centre], _blocks(size, pieces)):
            demand = self.demand(block)
            if demand.exceeds(limits):
                return demand
        return None

    def _part(self, block: Block) -> Part:
        n_synapses = sum(counts.synapses(block) for _, counts in self.incoming)
        return Part(self.population.id, block, self.demand(block), n_synapses)


def _raised(limits: Capacity, demand: Demand, factor: int) -> Capacity:
    """The limits, raised to a demand (or more) where it exceeds them."""
    a, b, c, d = (
        limit if limit is None or needed <= limit else max(factor * limit, needed)
        for needed, limit in zip(demand.values, limits, strict=True)
    )
    return a, b, c, d


def _piece(n: int, pieces: int, index: int) -> Span:
    """One of the even pieces of an axis of n; the larger ones at the ends, by the padding."""
    size, larger = divmod(n, pieces)
    first, last = -(-larger // 2), pieces - larger // 2
    start, stop = (i * size + min(i, first) + max(0, i - last) for i in (index, index + 1))
    return start, stop


def _cuts(
    size: tuple[int, int, int], max_neurons: int | None, compartments: int
) -> Iterator[tuple[int, int, int]]:
    """Ways of cutting a map evenly, fewest blocks first; of those, fewest cuts of the map first.

    Only the smallest number of pieces for each size of piece is tried, and no cut with too many
    neurons in a block.
    """
    if max_neurons is None or math.prod(size) * compartments <= max_neurons:
        yield 1, 1, 1  # before the search for the others
    axes = [np.unique(-(-n // np.arange(1, n + 1))) for n in size]
    c, h, w = (pieces.ravel() for pieces in np.meshgrid(*axes, indexing="ij"))
    largest = compartments * (-(-size[0] // c)) * (-(-size[1] // h)) * (-(-size[2] // w))
    fits = c * h * w > 1
    if max_neurons is not None:
        fits &= largest <= max_neurons
    c, h, w = c[fits], h[fits], w[fits]
    order = np.lexsort((h, w, c * h * w))
    yield from zip(c[order].tolist(), h[order].tolist(), w[order].tolist(), strict=True)


def _blocks(size: tuple[int, int, int], pieces: tuple[int, int, int]) -> Iterator[Block]:
    """The blocks of an even cut."""
    spans = [[_piece(n, k, i) for i in range(k)] for n, k in zip(size, pieces, strict=True)]
    for channels, rows, columns in itertools.product(*spans):
        yield Block(channels, rows, columns)


def partition(program: QuantizedGraph, target: Target) -> dict[NodeId, list[Part]]:
    """Blocks of every population, in topological order.

    Readers are cut before those they read, so that the output axons of a block are known.
    """
    sent: dict[NodeId, Int] = {
        node.id: np.zeros(as_map(node.shape), dtype=np.int64) for node in program.graph
    }
    counts: Mapping[NodeId, Counts] = {
        node.id: counts_of(node, program.graph[node.inputs[0]].shape)
        for node in program.graph
        if isinstance(node, Synapses)
    }
    parts: dict[NodeId, list[Part]] = {}
    for population in reversed(program.populations):
        incoming = [(s, counts[s.id]) for s in program.synapses_into(population)]
        cutter = Cutter(population, incoming, sent[population.id], target)
        parts[population.id] = cutter.cut()
        for synapses, counted in incoming:
            for part in parts[population.id]:
                counted.mark(part.block, sent[synapses.inputs[0]])
    return {population.id: parts[population.id] for population in program.populations}
