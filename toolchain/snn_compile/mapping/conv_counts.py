"""Counts over a convolution, by arithmetic on its geometry.

No synapse is enumerated: a kernel tap reaches a rectangle of the map, so counts are products of a
row and a column factor.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses
from snn_compile.mapping.block import Block, Span, as_map
from snn_compile.mapping.fan_out import Box, FanOut
from snn_compile.mapping.taps import Along, Bool, Int, Kernels, n_used, reach

STRIDE = 64
"""Output channels between two of which the sum of all weights before them is kept."""


class ConvCounts(FanOut):
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
