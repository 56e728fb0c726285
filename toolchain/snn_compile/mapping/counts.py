"""Synapse and source counts of a block of neurons, for each form of synapses.

All counts are exact: taps that fall into the padding do not exist, and a weight of zero is no
synapse.
"""

from __future__ import annotations

import numpy as np

from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    QuantizedGraph,
    SparseSynapses,
    Synapses,
)
from snn_compile.mapping.block import Block, as_map
from snn_compile.mapping.conv_counts import ConvCounts
from snn_compile.mapping.fan_out import EVERYWHERE, Box, Counts, FanOut
from snn_compile.mapping.taps import Bool, Int


class DenseCounts(FanOut):
    """Counts over an all-to-all connection."""

    def __init__(self, synapses: DenseSynapses, source: Shape) -> None:
        super().__init__(synapses.shape, source)
        self.synapse_group = synapses
        self.used = synapses.weight.values != 0
        self.per_target = np.count_nonzero(self.used, axis=1)
        self.full = bool(self.used.all())
        self._reached: dict[Block, Bool] = {}

    def _sources(self, block: Block) -> Bool:
        known = self._reached.get(block)
        if known is None:
            known = self.used[block.flat(self.synapse_group.shape)].any(axis=0)
            self._reached[block] = known
        return known

    def synapses(self, block: Block) -> int:
        """Synapses onto a block."""
        return int(self.per_target[block.flat(self.synapse_group.shape)].sum())

    def sources(self, block: Block) -> int:
        """Distinct sources of a block."""
        return self.used.shape[1] if self.full else int(np.count_nonzero(self._sources(block)))

    def stored(self, block: Block) -> tuple[int, int]:
        """Weights of the rows of a block, and those that are not zero."""
        return block.size * self.used.shape[1], self.synapses(block)

    def mark(self, block: Block, reached: Int) -> None:
        """Add one for each source of a block."""
        reached += self._sources(block).reshape(reached.shape)

    def onto(self, block: Block) -> tuple[Box, Int]:
        """Synapses of each source onto a block."""
        used = self.used[block.flat(self.synapse_group.shape)]
        per_source = np.asarray(np.count_nonzero(used, axis=0), dtype=np.int64)
        return EVERYWHERE, per_source.reshape(as_map(self.source_shape))

    def forget(self) -> None:
        """Free what is kept of blocks."""
        self._reached.clear()

    def fan_in(self) -> Int:
        """Synapses onto each neuron."""
        return np.asarray(self.per_target, dtype=np.int64)


class SparseCounts(FanOut):
    """Counts over an arbitrary wiring."""

    def __init__(self, synapses: SparseSynapses, source: Shape) -> None:
        super().__init__(synapses.shape, source)
        self.synapse_group = synapses
        self.n_sources = int(np.prod(source))
        used = synapses.weight.values != 0
        self.index = synapses.indices[used]
        self.ends = np.concatenate([[0], used.cumsum()])[synapses.indptr]
        fan_in = self.fan_in()
        self.alike = int(fan_in[0]) if (fan_in == fan_in[0]).all() else None
        self.apart = bool(np.bincount(self.index, minlength=1).max() <= 1)
        self._indices: dict[Block, Int] = {}

    def _onto(self, block: Block) -> Int:
        """The source of each synapse onto a block."""
        known = self._indices.get(block)
        if known is None:
            starts, stops = (self.ends[each] for each in self._runs(block))
            if len(starts) == 1:
                known = self.index[starts[0] : stops[0]]
            else:
                n = stops - starts
                skipped = starts - np.concatenate([[0], n.cumsum()[:-1]])
                known = self.index[np.repeat(skipped, n) + np.arange(n.sum())]
            self._indices[block] = known
        return known

    def _runs(self, block: Block) -> tuple[Int, Int]:
        """Where runs of adjacent neurons of a block start and stop."""
        _, height, width = as_map(self.synapse_group.shape)
        channels, (top, bottom), (left, right) = block
        if (top, bottom, left, right) == (0, height, 0, width):
            runs = np.array([channels], dtype=np.int64) * (height * width)
            return runs[:, 0], runs[:, 1]
        each = np.arange(*channels, dtype=np.int64) * height
        if (left, right) == (0, width):
            return (each + top) * width, (each + bottom) * width
        rows = (each[:, None] + np.arange(top, bottom)).ravel() * width
        return rows + left, rows + right

    def _reached(self, block: Block) -> Bool:
        """Which sources have a synapse onto a block."""
        found = np.zeros(self.n_sources, dtype=np.bool_)
        found[self._onto(block)] = True
        return found

    def synapses(self, block: Block) -> int:
        """Synapses onto a block."""
        if self.alike is not None:
            return self.alike * block.size
        starts, stops = self._runs(block)
        return int((self.ends[stops] - self.ends[starts]).sum())

    def sources(self, block: Block) -> int:
        """Distinct sources of a block."""
        if self.apart:  # interleaved and joined maps
            return self.synapses(block)
        return int(np.count_nonzero(self._reached(block)))

    def stored(self, block: Block) -> tuple[int, int]:
        """The synapses of a block: a list has no zeros."""
        n_synapses = self.synapses(block)
        return n_synapses, n_synapses

    def mark(self, block: Block, reached: Int) -> None:
        """Add one for each source of a block."""
        reached += self._reached(block).reshape(reached.shape)

    def onto(self, block: Block) -> tuple[Box, Int]:
        """Synapses of each source onto a block."""
        per_source = np.bincount(self._onto(block), minlength=self.n_sources)
        return EVERYWHERE, per_source.reshape(as_map(self.source_shape))

    def forget(self) -> None:
        """Free what is kept of blocks."""
        self._indices.clear()

    def fan_in(self) -> Int:
        """Synapses onto each neuron."""
        return np.diff(self.ends)


def counts_of(synapses: Synapses, source: Shape) -> Counts:
    """Counts over a synapse group that reads a population of the given shape."""
    if isinstance(synapses, ConvSynapses):
        return ConvCounts(synapses, source)
    if isinstance(synapses, DenseSynapses):
        return DenseCounts(synapses, source)
    return SparseCounts(synapses, source)


def all_counts(program: QuantizedGraph) -> dict[NodeId, Counts]:
    """Counts over every synapse group of a network; those that are alike share them.

    Relays, of which a deep network with joins has thousands, are alike.
    """
    alike: dict[tuple[object, ...], Counts] = {}
    found: dict[NodeId, Counts] = {}
    for node in program.graph:
        if not isinstance(node, Synapses):
            continue
        source = program.graph[node.inputs[0]].shape
        if isinstance(node, ConvSynapses) and node.weight.values.all():
            key = (node.shape, source, node.geometry, node.weight.shape)
            if key not in alike:
                alike[key] = counts_of(node, source)
            found[node.id] = alike[key]
        else:
            found[node.id] = counts_of(node, source)
    return found
