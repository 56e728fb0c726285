"""Synapse and source counts of a block of neurons, by arithmetic on the geometry.

Nothing here enumerates synapses of a convolution: a kernel tap reaches a rectangle of the map, so
counts are products of a row and a column factor. All counts are exact: taps that fall into the
padding do not exist, and a weight of zero is no synapse.
"""

from __future__ import annotations

import abc
import math
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    QuantizedGraph,
    SparseSynapses,
    Synapses,
)
from snn_compile.mapping.block import Block, Span, as_map
from snn_compile.mapping.taps import Along, Bool, Int, Kernels, n_used, reach

Box = tuple[slice, slice, slice]
STRIDE = 64
"""Output channels between two of which the sum of all weights before them is kept."""
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


class _FanOut(abc.ABC):
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


class ConvCounts(_FanOut):
    """Counts over a convolution; factors of spans seen before are kept."""

    def __init__(self, synapses: ConvSynapses, source: Shape) -> None:
        super().__init__(synapses.shape, source)
        self.synapse_group = synapses
        self.source = as_map(source)
        self.used = synapses.weight.values != 0
        self._per_channel = math.prod(self.used.shape[1:])
        self._kernels_of: dict[Span, Kernels] = {}

    @cached_property
    def _along(self) -> tuple[Along, Along]:
        """The taps along y and along x."""
        geometry = self.synapse_group.geometry
        y, x = (
            Along(
                self.used.shape[2 + axis],
                geometry.stride[axis],
                geometry.dilation[axis],
                geometry.padding[axis],
                self.source[1 + axis],
                as_map(self.synapse_group.shape)[1 + axis],
            )
            for axis in (0, 1)
        )
        return y, x

    @cached_property
    def _up_to(self) -> npt.NDArray[np.int32]:
        """Nonzero weights of each tap in the output channels before every ``STRIDE``-th one."""
        n_kept = len(self.used) // STRIDE
        found = np.zeros((n_kept + 1, *self.used.shape[1:]), dtype=np.int32)
        for k in range(n_kept):
            found[k + 1] = found[k] + n_used(self.used[k * STRIDE : (k + 1) * STRIDE])
        return found

    def _n_used(self, start: int, stop: int) -> Int:
        """Nonzero weights of each tap in a range of output channels."""
        first, last = -(-start // STRIDE), stop // STRIDE
        if first >= last:
            return n_used(self.used[start:stop])
        within = (self._up_to[last] - self._up_to[first]).astype(np.int64)
        before, after = self.used[start : first * STRIDE], self.used[last * STRIDE : stop]
        return np.asarray(within + n_used(before) + n_used(after))

    def _kernels(self, span: Span) -> Kernels:
        """The kernels of a span of output channels, by the source channel that they read."""
        known = self._kernels_of.get(span)
        if known is None:
            out = len(self.used) // self.synapse_group.geometry.groups
            first, last = span[0] // out, -(-span[1] // out)
            starts = np.arange(first, last) * out
            starts, stops = np.maximum(starts, span[0]), np.minimum(starts + out, span[1])
            counts = (
                self._n_used(int(starts[0]), int(stops[0]))[None]
                if len(starts) == 1
                else np.add.reduceat(self.used[: span[1]], starts, axis=0, dtype=np.int64)
            )
            counts = counts.reshape(-1, *counts.shape[2:])
            known = self._kernels_of[span] = Kernels(first * self.used.shape[1], counts)
        return known

    def reads(self, axis: int, starts: Int, stops: Int) -> Int:
        """Source channels, rows or columns of spans of outputs, as if no weight were zero."""
        if axis:
            return self._along[axis - 1].n_read_each(starts, stops)
        out, each = len(self.used) // self.synapse_group.geometry.groups, self.used.shape[1]
        return np.asarray((-(-stops // out) - starts // out) * each)

    def read_by(self, axis: int, span: Span) -> Bool:
        """Which source channels, rows or columns a span reads, as if no weight were zero."""
        if axis:
            return self._along[axis - 1].any(span)
        channels = np.zeros(self.source[0], dtype=np.bool_)
        out, each = len(self.used) // self.synapse_group.geometry.groups, self.used.shape[1]
        channels[span[0] // out * each : -(-span[1] // out) * each] = True
        return channels

    def synapses(self, block: Block) -> int:
        """Synapses onto a block."""
        rows, columns = self._along
        total = self._kernels(block.channels).total
        return int(rows.outputs(block.rows) @ total @ columns.outputs(block.columns))

    def sources(self, block: Block) -> int:
        """Distinct sources of a block."""
        kernels, (rows, columns) = self._kernels(block.channels), self._along
        found = kernels.n_full and (
            kernels.n_full * rows.n_read(block.rows) * columns.n_read(block.columns)
        )
        if kernels.patterns:
            along_y, along_x = rows.reached(block.rows), columns.reached(block.columns)
            for mask, channels in kernels.patterns:
                found += len(channels) * int(np.count_nonzero(reach(mask, along_y, along_x)))
        return found

    def stored(self, block: Block) -> tuple[int, int]:
        """Weights of the kernels that a block uses, and those that are not zero."""
        start, stop = block.channels
        return (stop - start) * self._per_channel, self._kernels(block.channels).n_weights

    def mark(self, block: Block, reached: Int) -> None:
        """Add one for each source of a block."""
        kernels, (rows, columns) = self._kernels(block.channels), self._along
        any_y, any_x = rows.any(block.rows), columns.any(block.columns)
        (y0, y1), (x0, x1) = rows.extent(block.rows), columns.extent(block.columns)
        if y0 == y1 or x0 == x1:
            return
        full = np.logical_and.outer(any_y[y0:y1], any_x[x0:x1])
        if kernels.n_full == len(kernels.counts):
            reached[kernels.first : kernels.first + kernels.n_full, y0:y1, x0:x1] += full
            return
        along_y, along_x = rows.reached(block.rows), columns.reached(block.columns)
        for mask, channels in [(None, kernels.full), *kernels.patterns]:
            where = full if mask is None else reach(mask, along_y, along_x)[y0:y1, x0:x1]
            reached[kernels.first + channels, y0:y1, x0:x1] += where

    def onto(self, block: Block) -> tuple[Box, Int]:
        """Synapses of each source onto a block."""
        kernels, (rows, columns) = self._kernels(block.channels), self._along
        (y0, y1), (x0, x1) = rows.extent(block.rows), columns.extent(block.columns)
        if y0 == y1 or x0 == x1:
            return (slice(0, 0),) * 3, np.zeros((0, 0, 0), dtype=np.int64)
        # In floats, whose products are much faster and exact for numbers this small.
        along_y = rows.reached(block.rows)[:, y0:y1].astype(float)
        along_x = columns.reached(block.columns)[:, x0:x1].astype(float)
        across = along_y.T @ (kernels.counts.astype(float) @ along_x)
        channels = slice(kernels.first, kernels.first + len(kernels.counts))
        return (channels, slice(y0, y1), slice(x0, x1)), across.astype(np.int64)

    def forget(self) -> None:
        """Free what is kept of spans."""
        self._kernels_of.clear()
        for kept in ("_up_to", "_along"):
            self.__dict__.pop(kept, None)

    def fan_in(self) -> Int:
        """Synapses onto each neuron; rows and columns that read the same taps are summed once."""
        used = self.used.sum(axis=1, dtype=np.int64)
        (rows, row), (columns, column) = (
            np.unique(along.is_input, axis=1, return_inverse=True) for along in self._along
        )
        found = np.einsum("okx,ky,xz->oyz", used, rows.astype(np.int64), columns.astype(np.int64))
        return np.asarray(found[:, row.ravel()][:, :, column.ravel()].reshape(-1), dtype=np.int64)


class DenseCounts(_FanOut):
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


class SparseCounts(_FanOut):
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
