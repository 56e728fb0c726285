"""Synapse groups with gradients: integers forward, real weights behind them.

Arrays are (C, H, W, B), the batch last. All sums are exact in float64, in any order
(``snn_compile.numerics``): messages and weights are integers, dropped messages have
``FRACTION_BITS`` more, and gradients are rounded to as many bits as leave room.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, SparseSynapses, Synapses
from snn_compile.numerics.products import MANTISSA_BITS, Float, bit_length, blas, rounded
from snn_compile.sim import kernels

FRACTION_BITS = 8
"""Bits of a dropped message below a whole one."""
ROOM = 28
"""Bits of sums of magnitudes that stay exact beside a gradient of ``GRADIENT_BITS``."""
GRADIENT_BITS = 24
"""Most bits of a gradient, relative to the largest of a layer."""


def on_grid(gradient: Float, others: int) -> Float:
    """A gradient rounded so that its sums of products are exact.

    Args:
        gradient: values.
        others: bits of the sum of the magnitudes that it is multiplied by.
    """
    bits = min(GRADIENT_BITS, MANTISSA_BITS - 1 - others)
    largest = np.abs(gradient).max(initial=0)
    return rounded(gradient, bit_length(largest).astype(np.int64) - bits)


class Fixed:
    """Synapses that stay as they are: ``floor(W x 2**exponent)`` of (C, H, W, B)."""

    def __init__(self, group: Synapses, source: Shape) -> None:
        self.group = group
        self._weight = group.weight.values.reshape(len(group.weight.values), -1).astype(np.float64)
        self._fields: Rows | Kernel
        if isinstance(group, SparseSynapses):
            self._fields = Rows(group, source)
        else:
            self._fields = Kernel(group, source)

    def forward(self, x: Float) -> Float:
        """Synaptic input before its floor."""
        y = self._fields.times(self._weight, self._fields.fields(x))
        y = y.reshape(*self.group.shape, -1)
        y *= 2.0**self.group.exponent
        return y

    def backward(self, gradient: Float) -> Float:
        """Gradient of the source's messages, given that of the synaptic input."""
        flat = on_grid(gradient, ROOM)
        flat *= 2.0**self.group.exponent
        return self._fields.back(self._weight, flat)


class Rows:
    """What :class:`Kernel` is, for sparse synapses; their weights are in the matrix."""

    def __init__(self, group: SparseSynapses, source: Shape) -> None:
        from scipy.sparse import csr_array

        weight = group.weight.values.astype(np.float64)
        size = (len(group.indptr) - 1, prod(source))
        self._matrix = csr_array((weight, group.indices, group.indptr), size)
        self._source = source

    def fields(self, x: Float) -> Float:
        """(F, B), from messages (C, H, W, B)."""
        return x.reshape(-1, x.shape[-1])

    def times(self, weight: Float, fields: Float) -> Float:
        """(O, B)."""
        del weight
        found: Float = self._matrix @ fields
        return found

    def back(self, weight: Float, gradient: Float) -> Float:
        """Gradient of the messages, (C, H, W, B)."""
        del weight
        found: Float = self._matrix.T @ gradient.reshape(-1, gradient.shape[-1])
        return found.reshape(*self._source, -1)


class Kernel:
    """Receptive fields of a convolution or a dense layer, and products with them."""

    def __init__(self, group: ConvSynapses | DenseSynapses, source: Shape) -> None:
        self.source, self.shape = source, group.shape
        self.geometry: Geometry | None = None
        self.taps = (1, 1)
        if isinstance(group, ConvSynapses):
            self.geometry = group.geometry
            _, _, *taps = group.weight.shape
            self.taps = (taps[0], taps[1])
        self.n_groups = 1 if self.geometry is None else self.geometry.groups

    def channels(self, rows: int) -> Int:
        """Source channel of each weight, (R, K)."""
        if self.geometry is None:
            each = np.repeat(np.arange(self.source[0]), prod(self.source[1:]))
            return np.broadcast_to(each, (rows, len(each)))
        per_group = self.source[0] // self.n_groups
        read = self.geometry.channels_read(rows, per_group)
        return np.repeat(read, prod(self.taps), axis=1)

    def fields(self, x: Float) -> Float:
        """(G, K, P) receptive fields of messages (C, H, W, B)."""
        if self.geometry is None:
            return x.reshape(1, -1, x.shape[-1])
        padded = kernels.pad(x, self.geometry.padding)
        taps = [view for _, _, view in kernels.tap_views(padded, self.taps, self.geometry)]
        stacked = np.stack(taps, axis=1)  # (C, taps, H, W, B)
        return stacked.reshape(self.n_groups, -1, prod(stacked.shape[2:]))

    def times(self, weight: Float, fields: Float) -> Float:
        """(O, P), for weights (O, K)."""
        by_group = weight.reshape(self.n_groups, -1, weight.shape[1])
        found: Float = blas(by_group, fields)
        return found.reshape(len(weight), -1)

    def slope(self, gradient: Float, fields: Float) -> Float:
        """Gradient of the weights (O, K)."""
        by_group = gradient.reshape(self.n_groups, -1, fields.shape[-1])
        found: Float = blas(by_group, fields.transpose(0, 2, 1))
        return found.reshape(-1, fields.shape[1])

    def back(self, weight: Float, gradient: Float) -> Float:
        """Gradient of the messages, (C, H, W, B)."""
        n_samples = gradient.shape[-1]
        by_group = weight.reshape(self.n_groups, -1, weight.shape[1])
        flat = gradient.reshape(self.n_groups, by_group.shape[1], -1)
        fields: Float = blas(by_group.transpose(0, 2, 1), flat)
        if self.geometry is None:
            return fields.reshape(*self.source, n_samples)
        channels, height, width = self.source
        top, left, bottom, right = self.geometry.padding
        room = [max(side, 0) for side in self.geometry.padding]
        whole = np.zeros(
            (channels, height + room[0] + room[2], width + room[1] + room[3], n_samples)
        )
        padded = kernels.pad(whole, (min(top, 0), min(left, 0), min(bottom, 0), min(right, 0)))
        by_tap = fields.reshape(channels, prod(self.taps), *self.shape[1:], n_samples)
        views = kernels.tap_views(padded, self.taps, self.geometry)
        for k, (_, _, view) in enumerate(views):
            view += by_tap[:, k]
        return whole[:, room[0] : room[0] + height, room[1] : room[1] + width]


class Learned:
    """Synapses whose weights are learned, on the integer grid of the group.

    Attributes:
        group: the synapses in fixed point.
        weight: (R, K) real weights in steps of the grid.
        limit: largest magnitude of an integer.
    """

    def __init__(self, group: ConvSynapses | DenseSynapses, source: Shape) -> None:
        self.group = group
        self._kernel = Kernel(group, source)
        self.weight = group.weight.values.reshape(len(group.weight.values), -1).astype(np.float64)
        self.limit = (1 << (group.weight.format.bits - 1)) - 1
        self.channels = self._kernel.channels(len(self.weight))
        self._fields: Float | None = None
        self._used = self.weight

    def integers(self, ratio: Float) -> Float:
        """(R, K) integers, for sizes of the source's levels relative to those before, (C,)."""
        nearest = np.rint(self.weight * ratio[self.channels])
        return np.clip(nearest, -self.limit, self.limit, out=nearest)

    def forward(self, x: Float, ratio: Float) -> Float:
        """Synaptic input before its floor, from messages (C, H, W, B)."""
        self._fields = self._kernel.fields(x)
        self._used = self.integers(ratio)
        y = self._kernel.times(self._used, self._fields) * 2.0**self.group.exponent
        return y.reshape(*self.group.shape, -1)

    def backward(self, gradient: Float, ratio: Float, bits: int) -> tuple[Float, Float]:
        """Gradients of the weights and of the messages.

        Args:
            gradient: of the synaptic input, (*shape, B).
            ratio: as before.
            bits: bits of a message.
        """
        fields, scale = self._fields, 2.0**self.group.exponent
        if fields is None:
            raise TypeError("no forward pass")
        count = int(bit_length(fields.shape[-1]))
        flat = on_grid(gradient, max(bits + count, 8 + int(bit_length(len(self.weight)))))
        slope = self._kernel.slope(flat, fields)
        scaled = self.weight * ratio[self.channels]
        slope *= np.where(np.abs(scaled) <= self.limit + 0.5, ratio[self.channels] * scale, 0.0)
        back = self._kernel.back(self._used, flat)
        back *= scale
        return slope, back

    def changed(self, ratio: Float) -> Synapses:
        """The synapses with the learned integers."""
        values = self.integers(ratio).astype(np.int64).reshape(self.group.weight.shape)
        return replace(self.group, weight=QTensor(values, self.group.weight.format))
