"""Cutting of populations into blocks that fit a core."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from snn_compile.ir.quantized import DenseSynapses, Population, Synapses
from snn_compile.mapping.block import (
    Block,
    Capacity,
    Demand,
    Part,
    Span,
    as_map,
    capacity,
)
from snn_compile.mapping.conv_counts import ConvCounts
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.memory import format_of
from snn_compile.mapping.stored import Format, Sources
from snn_compile.mapping.taps import Int
from snn_compile.targets.target import Target

Float = npt.NDArray[np.float64]
Size = tuple[int, int, int]

TRIED = 200
"""Cuts that are measured exactly before the fewest blocks are taken."""


class Cutter:
    """Cuts one population.

    Args:
        population: the population.
        incoming: the synapse groups that feed it, with their counts.
        destinations: for each neuron, as a map, the blocks that it must be sent to.
        target: the chip.
        prices: of a core's four limits, each as a share of the core.
        form: how the chip stores synapses, if one is to remember what it has seen.
    """

    def __init__(
        self,
        population: Population,
        incoming: list[tuple[Synapses, Counts]],
        destinations: Int,
        target: Target,
        prices: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        form: Format | None = None,
    ) -> None:
        self.population = population
        self.incoming = incoming
        self.target = target
        self.destinations = destinations
        self.prices = prices
        self.limits = capacity(target)
        self.format = form or format_of(target)
        self._demands: dict[Block, Demand] = {}
        self._cut: dict[float, list[Part]] = {}
        soft = population.soft_reset
        self.compartments = target.neurons_per_soft_reset_neuron.value if soft else 1
        self.recurrent = target.synapses_per_soft_reset_neuron.value if soft else 0
        self._reset_bits = self.format.reset()

    @cached_property
    def sent(self) -> Int:
        """The summed-area table of the destinations."""
        summed: Int = np.pad(self.destinations, [(1, 0)] * 3)
        for axis in (2, 1, 0):
            np.cumsum(summed, axis=axis, out=summed)
        return summed

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for cutters that give equal answers, of all with the same target and prices."""
        return (
            as_map(self.population.shape),
            self.population.soft_reset,
            tuple((counts, self.format.each(synapses)) for synapses, counts in self.incoming),
            self.population.id if self._each_sent is None else self._each_sent,
        )

    @cached_property
    def _each_sent(self) -> int | None:
        """To how many blocks each neuron must be sent; None if they differ."""
        first = int(self.destinations[0, 0, 0])
        return first if (self.destinations == first).all() else None

    def of(self, population: Population) -> Cutter:
        """The cutter of a population whose own one has the same key; it shares what is known."""
        other = copy.copy(self)
        other.population = population
        return other

    def forget(self) -> None:
        """Free the memory of what can be computed again."""
        self._demands.clear()
        self.__dict__.pop("sent", None)
        for _, counts in self.incoming:
            counts.forget()

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
            memory += self.format.taken(synapses, counts, block, n_axons)
        size = block.size
        recurrent = size * self.recurrent
        return Demand(
            neurons=size * self.compartments,
            synapse_memory_bits=memory + recurrent * self._reset_bits,
            input_axons=axons + recurrent,
            output_axons=self._sent(block) + recurrent,
        )

    def _sent(self, block: Block) -> int:
        """Sum of the destinations of a block's neurons; few or all neurons need no table."""
        if self._each_sent is not None:
            return self._each_sent * block.size
        if block.size in (1, self.destinations.size):
            return int(self.destinations[block.slices].sum())
        (c, c_end), (y, y_end), (x, x_end) = block
        at = self.sent.item
        return (
            at(c_end, y_end, x_end) - at(c_end, y, x_end) - at(c_end, y_end, x) + at(c_end, y, x)
        ) - (at(c, y_end, x_end) - at(c, y, x_end) - at(c, y_end, x) + at(c, y, x))

    def price(self, demand: Demand) -> float:
        """What a demand costs, as a share of a core."""
        total = 0.0
        for price, needed, limit in zip(self.prices, demand.values, self.limits, strict=True):
            if limit is not None:
                total += price * needed / max(limit, 1)
        return total

    def part(self, block: Block) -> Part:
        """A block with its demand."""
        n_synapses = sum(counts.synapses(block) for _, counts in self.incoming)
        return Part(self.population.id, block, self.demand(block), n_synapses)

    def cut(self, waste: float) -> list[Part]:
        """The cheapest even cut of channels, rows and columns whose blocks all fit.

        A limit that a single neuron in the middle exceeds is raised to that neuron's demand, and a
        limit that no cut can meet is doubled: the design rules then report the violation, with
        blocks as small as possible.

        Args:
            waste: the price of what blocks of a size leave empty in their cores, from 0, where
                something else will fill it, to 1.
        """
        if waste not in self._cut:
            self._cut[waste] = self._cheapest(waste)
        return [replace(part, population=self.population.id) for part in self._cut[waste]]

    def _cheapest(self, waste: float) -> list[Part]:
        size = as_map(self.population.shape)
        middle = self.demand(Block(*((n // 2, n // 2 + 1) for n in size)))
        limits = _raised(self.limits, middle, 1)
        while True:
            over = Demand()
            for pieces in self._cuts(size, limits, waste):
                found = self._over(size, pieces, limits)
                if found is None:
                    return [self.part(block) for block in blocks_of(size, pieces)]
                over = found
            limits = _raised(limits, over, 2)

    def _over(self, size: Size, pieces: Size, limits: Capacity) -> Demand | None:
        """The demand of a block that exceeds the limits after a cut; the middle one first."""
        centre = Block(*(_spans(n, k)[k // 2] for n, k in zip(size, pieces, strict=True)))
        for block in itertools.chain([centre], blocks_of(size, pieces)):
            demand = self.demand(block)
            if demand.exceeds(limits):
                return demand
        return None

    def _cuts(self, size: Size, limits: Capacity, waste: float) -> Iterator[Size]:
        """Even cuts, the cheapest first, and after some of them those with the fewest blocks.

        Only the smallest number of pieces for each size of piece is tried, and no cut with too many
        neurons in a block. Of equals, that with the fewest cuts of the map comes first.
        """
        axes = [np.unique(-(-n // np.arange(1, n + 1))) for n in size]
        c, h, w = (pieces.ravel() for pieces in np.meshgrid(*axes, indexing="ij"))
        largest = self.compartments * (-(-size[0] // c)) * (-(-size[1] // h)) * (-(-size[2] // w))
        if limits[0] is not None:
            fits = largest <= limits[0]
            c, h, w = c[fits], h[fits], w[fits]
        if len(c) > 1:
            cost, likely = self._costs(size, (c, h, w), limits, waste)
            order = np.lexsort((h, w, c * h * w, np.round(cost, 9), ~likely))
            for k in order[: min(TRIED, int(likely.sum()))].tolist():
                yield int(c[k]), int(h[k]), int(w[k])
        order = np.lexsort((h, w, c * h * w))
        yield from zip(c[order].tolist(), h[order].tolist(), w[order].tolist(), strict=True)

    def _costs(
        self, size: Size, cuts: tuple[Int, Int, Int], limits: Capacity, waste: float
    ) -> tuple[Float, npt.NDArray[np.bool_]]:
        """The cost of each cut, and whether its blocks fit, as if no weight were zero."""
        n_blocks = cuts[0] * cuts[1] * cuts[2]
        neurons = math.prod(size)
        totals = [np.full(len(n_blocks), float(neurons * self.compartments))]
        most = [
            float(self.compartments)
            * (-(-size[0] // cuts[0]))
            * (-(-size[1] // cuts[1]))
            * (-(-size[2] // cuts[2]))
        ]
        axons: Float | float = 0.0
        largest_axons: Float | float = 0.0
        memory: Float | float = 0.0
        largest_memory: Float | float = 0.0
        for synapses, counts in self.incoming:
            sources = _sources(synapses, counts, size, cuts)
            axons, largest_axons = axons + sources.total, largest_axons + sources.most
            bits, most_bits = self.format.estimated(synapses, counts, cuts, sources)
            memory, largest_memory = memory + bits, largest_memory + most_bits
        recurrent = float(self.recurrent)
        totals += [np.asarray(memory), np.asarray(axons) + neurons * recurrent]
        most += [np.asarray(largest_memory), np.asarray(largest_axons) + most[0] * recurrent]
        cost, fullest = np.zeros(len(n_blocks)), np.zeros(len(n_blocks))
        likely = np.ones(len(n_blocks), dtype=np.bool_)
        prices = (self.prices[0], self.prices[1], self.prices[2] + self.prices[3] / 2)
        for total, part, limit, price in zip(totals, most, limits, prices, strict=False):
            if limit is None:
                continue
            cost = cost + price * total / max(limit, 1)
            fullest = np.maximum(fullest, part / max(limit, 1))
            likely &= part <= limit
        together = np.maximum(1.0, np.floor(1.0 / np.maximum(fullest, 1e-6)))
        empty = n_blocks * np.maximum(0.0, 1.0 - together * fullest) / together
        return np.asarray(cost + waste * empty), likely


def _sources(synapses: Synapses, counts: Counts, size: Size, cuts: tuple[Int, Int, Int]) -> Sources:
    """The sources of all blocks of each cut, and of the largest block."""
    n_blocks = cuts[0] * cuts[1] * cuts[2]
    if not isinstance(counts, ConvCounts):
        n_sources = float(math.prod(counts.source_shape))
        each = np.full(len(n_blocks), n_sources)
        if not isinstance(synapses, DenseSynapses):
            fan_in = float(counts.fan_in().mean())
            each = np.minimum(n_sources, fan_in * math.prod(size) / n_blocks)
        return Sources(each * n_blocks, each)
    total, most = np.ones(len(n_blocks)), np.ones(len(n_blocks))
    for axis, n_pieces in enumerate(cuts):
        if axis == 0 and synapses.geometry.groups == 1:  # type: ignore[union-attr]
            most *= counts.source[0]
            total *= counts.source[0] * n_pieces
            continue
        numbers, inverse = np.unique(n_pieces, return_inverse=True)
        edges = [_edges(size[axis], k) for k in numbers.tolist()]
        read = [counts.reads(axis, each[:-1], each[1:]) for each in edges]
        total *= np.array([each.sum() for each in read], dtype=np.float64)[inverse]
        most *= np.array([each.max() for each in read], dtype=np.float64)[inverse]
    return Sources(total, most)


def _raised(limits: Capacity, demand: Demand, factor: int) -> Capacity:
    """The limits, raised to a demand (or more) where it exceeds them."""
    a, b, c, d = (
        limit if limit is None or needed <= limit else max(factor * limit, needed)
        for needed, limit in zip(demand.values, limits, strict=True)
    )
    return a, b, c, d


@lru_cache(maxsize=4096)
def _edges(n: int, pieces: int) -> Int:
    """Where the even pieces of an axis of n begin and end; the larger ones at both ends of it.

    Blocks there read padding, so they have room for more.
    """
    size, larger = divmod(n, pieces)
    first, last = -(-larger // 2), pieces - larger // 2
    i = np.arange(pieces + 1, dtype=np.int64)
    edges: Int = i * size + np.minimum(i, first) + np.maximum(0, i - last)
    edges.setflags(write=False)
    return edges


@lru_cache(maxsize=4096)
def _spans(n: int, pieces: int) -> tuple[Span, ...]:
    """The even pieces of an axis of n."""
    return tuple(itertools.pairwise(_edges(n, pieces).tolist()))


def blocks_of(size: Size, pieces: Size) -> Iterator[Block]:
    """The blocks of an even cut."""
    spans = [_spans(n, k) for n, k in zip(size, pieces, strict=True)]
    for channels, rows, columns in itertools.product(*spans):
        yield Block(channels, rows, columns)
