"""Synapse groups with gradients: integers forward, real weights behind them.

Arrays are (C, H, W, B), the batch last. All sums are exact, in any order, in float32 wherever that
holds them (``snn_compile.numerics``): messages and weights are integers, and gradients are rounded
to as many bits of the largest of a layer as leave room.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, SparseSynapses, Synapses
from snn_compile.numerics.products import Float, bit_length, blas
from snn_compile.sim import kernels
from snn_compile.sim.kernels import Array, exact_dtype

SINGLE_BITS, DOUBLE_BITS = 24, 53
"""Whole numbers of so many bits are exact in float32 and float64."""
GRADIENT_BITS, FEWEST_BITS = 12, 8
"""Bits of a gradient, relative to the largest of a layer; with fewer it takes float64."""
CHUNK_BITS = 6
"""Products for the gradient of a weight that float32 adds up at least; float64 adds the rest."""


def on_grid(gradient: Array, bits: int) -> Array:
    """A gradient rounded to so many bits of its largest magnitude, at most 22."""
    largest = np.abs(gradient).max(initial=0)
    mantissa = SINGLE_BITS if gradient.dtype == np.float32 else DOUBLE_BITS
    # Adding a number whose last bit is worth a step rounds; subtracting it again is exact.
    shift = np.ldexp(1.5, int(bit_length(largest)) - bits + mantissa - 1)
    nearest: Array = gradient + gradient.dtype.type(shift)
    nearest -= gradient.dtype.type(shift)
    return nearest


def total(values: Array) -> Float:
    """Sum of each channel of (C, ...) values, with the same bits everywhere, (C,)."""
    flat = on_grid(values, 20).reshape(len(values), -1)
    found: Float = flat.sum(axis=1, dtype=np.float64)
    return found


def _length(x: object) -> int:
    return int(bit_length(x))  # type: ignore[arg-type]


class Fixed:
    """Synapses that stay as they are: ``floor(W x 2**exponent)`` of (C, H, W, B).

    Args:
        group: the synapses.
        source: shape of the population that they read.
        most: largest magnitude of a message.
    """

    def __init__(self, group: Synapses, source: Shape, most: int) -> None:
        self.group, self.most = group, most
        self.weight = group.weight.values.reshape(len(group.weight.values), -1).astype(np.float64)
        self._fields: Rows | Kernel
        if isinstance(group, SparseSynapses):
            self._fields = Rows(group, source)
        else:
            self._fields = Kernel(group, source)

    def largest(self) -> float:
        """Largest magnitude of a sum of products."""
        return self._fields.largest_sum(self.weight) * self.most

    def forward(self, x: Array) -> Array:
        """Synaptic input before its floor, in the type of the messages."""
        y = self._fields.times(self.weight.astype(x.dtype), self._fields.fields(x))
        y = y.reshape(*self.group.shape, -1)
        y *= y.dtype.type(2.0**self.group.exponent)
        return y

    def backward(self, gradient: Array) -> Array:
        """Gradient of the source's messages, given that of the synaptic input."""
        bits = SINGLE_BITS - _length(self._fields.largest_back(self.weight))
        wide = bits < FEWEST_BITS
        flat = on_grid(gradient, min(bits, GRADIENT_BITS) if not wide else GRADIENT_BITS)
        flat *= flat.dtype.type(2.0**self.group.exponent)
        flat = flat.astype(np.float64) if wide else flat
        back = self._fields.back(self.weight.astype(flat.dtype), flat)
        return back.astype(gradient.dtype, copy=False)


class Rows:
    """What :class:`Kernel` is, for sparse synapses; their weights are in the matrix."""

    def __init__(self, group: SparseSynapses, source: Shape) -> None:
        from scipy.sparse import csr_array

        weight = group.weight.values.astype(np.float64)
        size = (len(group.indptr) - 1, prod(source))
        self._matrix = csr_array((weight, group.indices, group.indptr), size)
        self._source = source

    def largest_sum(self, weight: Float) -> float:
        """Largest sum of the magnitudes of a neuron's weights."""
        del weight
        return float(abs(self._matrix).sum(axis=1).max(initial=0))

    def largest_back(self, weight: Float) -> float:
        """Largest sum of the magnitudes of the weights that read a message."""
        del weight
        return float(abs(self._matrix).sum(axis=0).max(initial=0))

    def fields(self, x: Array) -> Array:
        """(F, B), from messages (C, H, W, B)."""
        return x.reshape(-1, x.shape[-1])

    def times(self, weight: Array, fields: Array) -> Array:
        """(O, B)."""
        del weight
        found: Array = (self._matrix @ fields.astype(np.float64)).astype(fields.dtype)
        return found

    def back(self, weight: Array, gradient: Array) -> Array:
        """Gradient of the messages, (C, H, W, B)."""
        del weight
        flat = gradient.reshape(-1, gradient.shape[-1]).astype(np.float64)
        found: Array = (self._matrix.T @ flat).astype(gradient.dtype)
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

    def largest_sum(self, weight: Float) -> float:
        """Largest sum of the magnitudes of a neuron's weights."""
        return float(np.abs(weight).sum(axis=1).max(initial=0))

    def largest_back(self, weight: Float) -> float:
        """Largest sum of the magnitudes of the weights with which a tap reads a message."""
        by_group = np.abs(weight).reshape(self.n_groups, -1, weight.shape[1])
        return float(by_group.sum(axis=1).max(initial=0))

    def fields(self, x: Array) -> Array:
        """(G, K, P) receptive fields of messages (C, H, W, B)."""
        if self.geometry is None:
            return x.reshape(1, -1, x.shape[-1])
        padded = kernels.pad(x, self.geometry.padding)
        taps = [view for _, _, view in kernels.tap_views(padded, self.taps, self.geometry)]
        stacked = np.stack(taps, axis=1)  # (C, taps, H, W, B)
        return stacked.reshape(self.n_groups, -1, prod(stacked.shape[2:]))

    def times(self, weight: Array, fields: Array) -> Array:
        """(O, P), for weights (O, K)."""
        by_group = weight.reshape(self.n_groups, -1, weight.shape[1])
        found: Array = blas(by_group, fields)
        return found.reshape(len(weight), -1)

    def slope(self, gradient: Array, fields: Array, chunk: int) -> Float:
        """Gradient of the weights (O, K), of which so many products are added in their type."""
        by_group = gradient.reshape(self.n_groups, -1, fields.shape[-1])
        n_chunks, rest = divmod(fields.shape[-1], chunk)
        found = np.zeros((self.n_groups, by_group.shape[1], fields.shape[1]))
        if n_chunks:
            whole = n_chunks * chunk
            left = by_group[..., :whole].reshape(*by_group.shape[:2], n_chunks, chunk)
            right = fields[..., :whole].reshape(*fields.shape[:2], n_chunks, chunk)
            parts = blas(left.transpose(0, 2, 1, 3), right.transpose(0, 2, 3, 1))
            found += parts.sum(axis=1, dtype=np.float64)
        if rest:
            found += blas(by_group[..., -rest:], fields[..., -rest:].transpose(0, 2, 1))
        return found.reshape(-1, fields.shape[1])

    def back(self, weight: Array, gradient: Array) -> Array:
        """Gradient of the messages, (C, H, W, B)."""
        n_samples = gradient.shape[-1]
        by_group = weight.reshape(self.n_groups, -1, weight.shape[1])
        flat = gradient.reshape(self.n_groups, by_group.shape[1], -1)
        fields: Array = blas(by_group.transpose(0, 2, 1), flat)
        if self.geometry is None:
            return fields.reshape(*self.source, n_samples)
        channels, height, width = self.source
        top, left, bottom, right = self.geometry.padding
        room = [max(side, 0) for side in self.geometry.padding]
        size = (channels, height + room[0] + room[2], width + room[1] + room[3], n_samples)
        whole = np.zeros(size, gradient.dtype)
        padded = kernels.pad(whole, (min(top, 0), min(left, 0), min(bottom, 0), min(right, 0)))
        by_tap = fields.reshape(channels, prod(self.taps), *self.shape[1:], n_samples)
        views = kernels.tap_views(padded, self.taps, self.geometry)
        for k, (_, _, view) in enumerate(views):
            view += by_tap[:, k]
        return whole[:, room[0] : room[0] + height, room[1] : room[1] + width]


class Learned:
    """Synapses whose weights are learned, on the integer grid of the group.

    Args:
        group: the synapses in fixed point.
        source: shape of the population that they read.
        most: largest magnitude of a message.

    Attributes:
        weight: (R, K) real weights in steps of the grid.
        limit: largest magnitude of an integer.
    """

    def __init__(self, group: ConvSynapses | DenseSynapses, source: Shape, most: int) -> None:
        self.group, self.most = group, most
        self._kernel = Kernel(group, source)
        self.weight = group.weight.values.reshape(len(group.weight.values), -1).astype(np.float64)
        self.limit = (1 << (group.weight.format.bits - 1)) - 1
        self.channels = self._kernel.channels(len(self.weight))
        self._fields: Array | None = None
        self._used = self.weight

    def use(self, weight: Float, ratio: Float) -> None:
        """Take other weights, for sizes of the source's levels relative to those before, (C,)."""
        self.weight = weight
        self._used = self.integers(ratio)

    def integers(self, ratio: Float) -> Float:
        """(R, K) integers, for sizes of the source's levels relative to those before, (C,)."""
        nearest = np.rint(self.weight * ratio[self.channels])
        return np.clip(nearest, -self.limit, self.limit, out=nearest)

    def largest(self) -> float:
        """Largest magnitude of a sum of products."""
        return self._kernel.largest_sum(self._used) * self.most

    def forward(self, x: Array) -> Array:
        """Synaptic input before its floor, from messages (C, H, W, B), in their type."""
        self._fields = self._kernel.fields(x)
        y = self._kernel.times(self._used.astype(x.dtype), self._fields)
        y *= y.dtype.type(2.0**self.group.exponent)
        return y.reshape(*self.group.shape, -1)

    def backward(
        self, gradient: Array, ratio: Float, *, further: bool
    ) -> tuple[Float, Array | None]:
        """Gradients of the weights and of the messages.

        Args:
            gradient: of the synaptic input, (*shape, B).
            ratio: relative sizes of the source's levels, (C,).
            further: whether that of the messages is asked for.
        """
        fields, scale = self._fields, 2.0**self.group.exponent
        self._fields = None
        if fields is None:
            raise TypeError("no forward pass")
        room = SINGLE_BITS - max(
            _length(self._kernel.largest_back(self._used)), _length(self.most) + CHUNK_BITS
        )
        bits = min(room, GRADIENT_BITS)
        chunk = 1 << max(SINGLE_BITS - bits - _length(self.most), 0)
        flat = on_grid(gradient, bits if bits >= FEWEST_BITS else GRADIENT_BITS)
        if bits < FEWEST_BITS:
            flat, fields, chunk = flat.astype(np.float64), fields.astype(np.float64), fields.size
        slope = self._kernel.slope(flat, fields.astype(flat.dtype, copy=False), chunk)
        scaled = self.weight * ratio[self.channels]
        slope *= np.where(np.abs(scaled) <= self.limit + 0.5, ratio[self.channels] * scale, 0.0)
        if not further:
            return slope, None
        back = self._kernel.back(self._used.astype(flat.dtype), flat)
        back *= back.dtype.type(scale)
        return slope, back.astype(gradient.dtype, copy=False)

    def changed(self, ratio: Float) -> Synapses:
        """The synapses with the learned integers."""
        values = self.integers(ratio).astype(np.int64).reshape(self.group.weight.shape)
        return replace(self.group, weight=QTensor(values, self.group.weight.format))


def type_of(groups: list[Fixed | Learned], bias: Float) -> type[np.float32] | type[np.float64]:
    """The floating type in which a population's potential and all sums for it are exact."""
    sums = [group.largest() for group in groups]
    scaled = sum(s * 2.0**g.group.exponent for s, g in zip(sums, groups, strict=True))
    return exact_dtype(int(max(*sums, scaled + np.abs(bias).max(initial=0) + len(groups))))
