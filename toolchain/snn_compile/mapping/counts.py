"""Synapse and source counts of a block of neurons, by arithmetic on the geometry.

Nothing here enumerates synapses of a convolution: a kernel tap reaches a rectangle of the map, so
counts are products of a row and a column factor. All counts are exact: taps that fall into the
padding do not exist, and a weight of zero is no synapse.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    QuantizedGraph,
    SparseSynapses,
    Synapses,
)
from snn_compile.mapping.block import Block, Span, as_map

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
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


@dataclass(frozen=True)
class _Axis:
    """Taps of a kernel along one axis, over a span of outputs: which inputs they read."""

    reached: Bool
    """(taps, inputs): whether a tap reads an input."""

    @cached_property
    def outputs(self) -> Int:
        """For each tap the outputs at which it reads a real input, not padding."""
        return np.asarray(self.reached.sum(axis=1), dtype=np.int64)

    @cached_property
    def any(self) -> Bool:
        """Inputs that any tap reads."""
        return np.asarray(self.reached.any(axis=0))

    @cached_property
    def n_any(self) -> int:
        """Number of inputs that any tap reads."""
        return int(np.count_nonzero(self.any))


@dataclass(frozen=True)
class _Taps:
    """The kernels that read each source channel, over a span of output channels."""

    first: int
    """First source channel."""
    counts: Int
    """(source channels, kh, kw): weights of each tap that are not zero."""

    @cached_property
    def total(self) -> Int:
        """(kh, kw): the same, summed over the source channels."""
        return np.asarray(self.counts.sum(axis=0), dtype=np.int64)

    @cached_property
    def full(self) -> Int:
        """Source channels of which every tap is in use."""
        return np.flatnonzero((self.counts > 0).all(axis=(1, 2)))

    @cached_property
    def patterns(self) -> list[tuple[Bool, Int]]:
        """The other sets of taps in use, each with its source channels."""
        used = self.counts > 0
        partly = np.flatnonzero(used.any(axis=(1, 2)) & ~used.all(axis=(1, 2)))
        if not partly.size:
            return []
        flat = used[partly].reshape(len(partly), -1)
        masks, which = np.unique(flat, axis=0, return_inverse=True)
        shape = self.counts.shape[1:]
        return [
            (mask.reshape(shape), partly[which.ravel() == index])
            for index, mask in enumerate(masks)
        ]


def _count(used: Bool) -> Int:
    """How often each place is used: in bytes, which many fewer instructions add up."""
    total = np.zeros(used.shape[1:], np.int64)
    for start in range(0, len(used), 255):
        total += np.add.reduce(used[start : start + 255].view(np.uint8), axis=0, dtype=np.uint8)
    return total


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
        self._axes: dict[tuple[int, Span], _Axis] = {}
        self._taps: dict[Span, _Taps] = {}

    @cached_property
    def _up_to(self) -> npt.NDArray[np.int32]:
        """Nonzero weights of each tap, cumulative over the output channels."""
        below = np.zeros((1, *self.used.shape[1:]), dtype=np.int32)
        return np.concatenate([below, np.cumsum(self.used, axis=0, dtype=np.int32)])

    def _read_at(self, axis: int, span: Span) -> Int:
        """(taps, outputs): the position that a tap reads, of padding too, for a span of outputs."""
        geometry, n_taps = self.synapse_group.geometry, self.used.shape[2 + axis]
        taps = geometry.dilation[axis] * np.arange(n_taps)[:, None]
        at: Int = np.arange(*span)[None] * geometry.stride[axis] + taps - geometry.padding[axis]
        return at

    def _axis(self, axis: int, span: Span) -> _Axis:
        """Taps along y (axis 0) or x (axis 1), over a span of output rows or columns."""
        known = self._axes.get((axis, span))
        if known is None:
            at, size = self._read_at(axis, span), self.source[1 + axis]
            reached = np.zeros((len(at), size), dtype=np.bool_)
            tap, position = np.nonzero((at >= 0) & (at < size))
            reached[tap, at[tap, position]] = True
            known = self._axes[axis, span] = _Axis(reached)
        return known

    def _kernels(self, span: Span) -> _Taps:
        """The kernels of a span of output channels, by the source channel that they read."""
        known = self._taps.get(span)
        if known is None:
            out = len(self.used) // self.synapse_group.geometry.groups
            first, last = span[0] // out, -(-span[1] // out)
            starts = np.arange(first, last) * out
            starts, stops = np.maximum(starts, span[0]), np.minimum(starts + out, span[1])
            if span in ((0, len(self.used)), (span[0], span[0] + 1)):  # the common queries
                counts = (
                    _count(self.used[starts[0] : stops[0]])[None]
                    if len(starts) == 1
                    else np.add.reduceat(self.used[: span[1]], starts, axis=0, dtype=np.int64)
                )
            else:
                counts = (self._up_to[stops] - self._up_to[starts]).astype(np.int64)
            counts = counts.reshape(-1, *counts.shape[2:])
            known = self._taps[span] = _Taps(first * self.used.shape[1], counts)
        return known

    def _factors(self, block: Block) -> tuple[_Taps, _Axis, _Axis]:
        return (
            self._kernels(block.channels),
            self._axis(0, block.rows),
            self._axis(1, block.columns),
        )

    def reads(self, axis: int, span: Span) -> int:
        """Source channels, rows or columns of a span of outputs, as if no weight were zero."""
        if axis:  # asked for every piece of every cut: nothing is kept
            at = self._read_at(axis - 1, span)
            inside = at[(at >= 0) & (at < self.source[axis])]
            if not inside.size:
                return 0
            first = inside.min()
            seen = np.zeros(inside.max() - first + 1, dtype=np.bool_)
            seen[inside - first] = True
            return int(np.count_nonzero(seen))
        out = len(self.used) // self.synapse_group.geometry.groups
        return int((-(-span[1] // out) - span[0] // out) * self.used.shape[1])

    def read_by(self, block: Block) -> tuple[Bool, Bool, Bool]:
        """The source's channels, rows and columns that a block reads, as if no weight were zero."""
        channels = np.zeros(self.source[0], dtype=np.bool_)
        out = len(self.used) // self.synapse_group.geometry.groups
        first, last = block.channels[0] // out, -(-block.channels[1] // out)
        channels[first * self.used.shape[1] : last * self.used.shape[1]] = True
        return channels, self._axis(0, block.rows).any, self._axis(1, block.columns).any

    def synapses(self, block: Block) -> int:
        """Synapses onto a block."""
        taps, rows, columns = self._factors(block)
        return int(rows.outputs @ taps.total @ columns.outputs)

    def sources(self, block: Block) -> int:
        """Distinct sources of a block."""
        taps, rows, columns = self._factors(block)
        found = len(taps.full) * rows.n_any * columns.n_any
        for mask, channels in taps.patterns:
            found += len(channels) * int(np.count_nonzero(_reach(mask, rows, columns)))
        return found

    def stored(self, block: Block) -> tuple[int, int]:
        """Weights of the kernels that a block uses, and those that are not zero."""
        start, stop = block.channels
        every = (stop - start) * int(np.prod(self.used.shape[1:]))
        return every, int(self._kernels(block.channels).total.sum())

    def mark(self, block: Block, reached: Int) -> None:
        """Add one for each source of a block."""
        taps, rows, columns = self._factors(block)
        if not (rows.n_any and columns.n_any):
            return
        (y0, y1), (x0, x1) = _bounds(rows.any), _bounds(columns.any)
        full = np.logical_and.outer(rows.any[y0:y1], columns.any[x0:x1])
        if len(taps.full) == len(taps.counts):
            reached[taps.first : taps.first + len(taps.full), y0:y1, x0:x1] += full
            return
        for mask, channels in [(None, taps.full), *taps.patterns]:
            where = full if mask is None else _reach(mask, rows, columns)[y0:y1, x0:x1]
            reached[taps.first + channels, y0:y1, x0:x1] += where

    def onto(self, block: Block) -> tuple[Box, Int]:
        """Synapses of each source onto a block."""
        taps, rows, columns = self._factors(block)
        if not (rows.n_any and columns.n_any):
            return (slice(0, 0),) * 3, np.zeros((0, 0, 0), dtype=np.int64)
        (y0, y1), (x0, x1) = _bounds(rows.any), _bounds(columns.any)
        # In floats, whose products are much faster and exact for numbers this small.
        along_y, along_x = rows.reached[:, y0:y1].astype(float), columns.reached[:, x0:x1]
        across = along_y.T @ (taps.counts.astype(float) @ along_x.astype(float))
        box = slice(taps.first, taps.first + len(taps.counts)), slice(y0, y1), slice(x0, x1)
        return box, across.astype(np.int64)

    def forget(self) -> None:
        """Free what is kept of spans."""
        self._axes.clear()
        self._taps.clear()
        self.__dict__.pop("_up_to", None)

    def fan_in(self) -> Int:
        """Synapses onto each neuron."""
        geometry, used = self.synapse_group.geometry, self.used.sum(axis=1, dtype=np.int64)
        rows, columns = (
            _reads(geometry, axis, used.shape[1 + axis], self.source[1 + axis], n)
            for axis, n in enumerate(as_map(self.synapse_group.shape)[1:])
        )
        found = np.einsum("okx,ky,xz->oyz", used, rows, columns)
        return np.asarray(found.reshape(-1), dtype=np.int64)


def _reads(geometry: Geometry, axis: int, n_taps: int, n_inputs: int, n_outputs: int) -> Int:
    """(taps, outputs): 1 where a tap reads an input, 0 where it reads padding."""
    taps = geometry.dilation[axis] * np.arange(n_taps)[:, None]
    at = np.arange(n_outputs)[None] * geometry.stride[axis] + taps - geometry.padding[axis]
    return ((at >= 0) & (at < n_inputs)).astype(np.int64)


def _reach(mask: Bool, rows: _Axis, columns: _Axis) -> Bool:
    """The map of inputs that a set of taps reads."""
    taps = mask.astype(np.int64)
    return (rows.reached.T.astype(np.int64) @ taps @ columns.reached.astype(np.int64)) > 0


def _bounds(reached: Bool) -> Span:
    """The half-open range that encloses all true entries."""
    where = np.flatnonzero(reached)
    return int(where[0]), int(where[-1]) + 1


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
            targets = block.flat(self.synapse_group.shape)
            first, fan_in = self.ends[targets], self.ends[targets + 1] - self.ends[targets]
            skipped = first - np.concatenate([[0], fan_in.cumsum()[:-1]])
            places = np.repeat(skipped, fan_in) + np.arange(fan_in.sum())
            known = self._indices[block] = self.index[places]
        return known

    def synapses(self, block: Block) -> int:
        """Synapses onto a block."""
        if self.alike is not None:
            return self.alike * block.size
        targets = block.flat(self.synapse_group.shape)
        return int((self.ends[targets + 1] - self.ends[targets]).sum())

    def sources(self, block: Block) -> int:
        """Distinct sources of a block."""
        if self.apart:  # interleaved and joined maps
            return self.synapses(block)
        return len(np.unique(self._onto(block)))

    def stored(self, block: Block) -> tuple[int, int]:
        """The synapses of a block: a list has no zeros."""
        n_synapses = self.synapses(block)
        return n_synapses, n_synapses

    def mark(self, block: Block, reached: Int) -> None:
        """Add one for each source of a block."""
        np.add.at(reached.reshape(-1), np.unique(self._onto(block)), 1)

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
    """Counts over every synapse group of a network."""
    return {
        node.id: counts_of(node, program.graph[node.inputs[0]].shape)
        for node in program.graph
        if isinstance(node, Synapses)
    }
