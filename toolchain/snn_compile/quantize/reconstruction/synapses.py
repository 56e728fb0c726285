"""Synapse groups with gradients: integers forward, real weights behind them.

Arrays are (C, H, W, B), the batch last. All sums are exact, in any order, in float32 wherever that
holds them (``snn_compile.numerics``): messages and weights are integers, and gradients are rounded
to as many bits of the largest of a layer as leave room.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, Synapses
from snn_compile.numerics.products import Float, bit_length, blas
from snn_compile.quantize.reconstruction.receptive import Fields, by_row, receptive
from snn_compile.sim.kernels import Array, exact_dtype

SINGLE_BITS, DOUBLE_BITS = 24, 53
"""Whole numbers of so many bits are exact in float32 and float64."""
GRADIENT_BITS, FEWEST_BITS = 12, 8
"""Bits of a gradient, relative to the largest of a layer; with fewer it takes float64."""
CHUNK_BITS = 6
"""Products for the gradient of a weight that float32 adds up at least; float64 adds the rest."""


def on_grid(gradient: Array, bits: int) -> Array:
    """A gradient rounded to so many bits of its largest magnitude, at most 22."""
    largest = max(gradient.max(initial=0), -gradient.min(initial=0))
    mantissa = SINGLE_BITS if gradient.dtype == np.float32 else DOUBLE_BITS
    # Adding a number whose last bit is worth a step rounds; subtracting it again is exact.
    shift = np.ldexp(1.5, int(bit_length(largest)) - bits + mantissa - 1)
    nearest: Array = gradient + gradient.dtype.type(shift)
    nearest -= gradient.dtype.type(shift)
    return nearest


def total(values: Array) -> Float:
    """Sum of each channel of (C, H, W, B) values, with the same bits everywhere, (C,)."""
    rows = by_row(values)
    bits = SINGLE_BITS - _length(rows.shape[-1])
    if bits < GRADIENT_BITS:
        rows, bits = rows.astype(np.float64), 2 * GRADIENT_BITS
    sums = blas(on_grid(rows, bits), np.ones((rows.shape[-1], 1), rows.dtype))
    found: Float = sums[..., 0].sum(axis=0, dtype=np.float64)
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
        self._reads = receptive(group, source)

    def largest(self) -> float:
        """Largest magnitude of a sum of products."""
        return self._reads.largest_sum(self.weight) * self.most

    def forward(self, x: Array) -> Array:
        """Synaptic input before its floor, in the type of the messages."""
        weight = self.weight * 2.0**self.group.exponent
        return self._reads.times(weight.astype(x.dtype), self._reads.fields(x))

    def backward(self, gradient: Array) -> Array:
        """Gradient of the source's messages, given that of the synaptic input."""
        bits = SINGLE_BITS - _length(self._reads.largest_back(self.weight))
        wide = bits < FEWEST_BITS
        flat = on_grid(gradient, min(bits, GRADIENT_BITS) if not wide else GRADIENT_BITS)
        flat = flat.astype(np.float64) if wide else flat
        weight = self.weight * 2.0**self.group.exponent
        back = self._reads.back(weight.astype(flat.dtype), flat)
        return back.astype(gradient.dtype, copy=False)


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
        self._reads = receptive(group, source)
        self.weight = group.weight.values.reshape(len(group.weight.values), -1).astype(np.float64)
        self.limit = (1 << (group.weight.format.bits - 1)) - 1
        self.channels = self._reads.channels(len(self.weight))
        self._read: tuple[Array, Fields] | None = None
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
        return self._reads.largest_sum(self._used) * self.most

    def forward(self, x: Array) -> Array:
        """Synaptic input before its floor, from messages (C, H, W, B), in their type."""
        fields = self._reads.fields(x)
        self._read = x, fields
        weight = self._used * 2.0**self.group.exponent
        return self._reads.times(weight.astype(x.dtype), fields)

    def backward(
        self, gradient: Array, ratio: Float, *, further: bool
    ) -> tuple[Float, Array | None]:
        """Gradients of the weights and of the messages.

        Args:
            gradient: of the synaptic input, (*shape, B).
            ratio: relative sizes of the source's levels, (C,).
            further: whether that of the messages is asked for.
        """
        if self._read is None:
            raise TypeError("no forward pass")
        (x, fields), self._read = self._read, None
        scale = 2.0**self.group.exponent
        room = SINGLE_BITS - max(
            _length(self._reads.largest_back(self._used)), _length(self.most) + CHUNK_BITS
        )
        bits = min(room, GRADIENT_BITS)
        chunk = 1 << max(SINGLE_BITS - bits - _length(self.most), 0)
        flat = on_grid(gradient, bits if bits >= FEWEST_BITS else GRADIENT_BITS)
        if bits < FEWEST_BITS:
            flat, chunk = flat.astype(np.float64), flat.size
        if x.dtype != flat.dtype:
            fields = self._reads.fields(x.astype(flat.dtype))
        slope = self._reads.slope(flat, fields, chunk)
        scaled = self.weight * ratio[self.channels]
        slope *= np.where(np.abs(scaled) <= self.limit + 0.5, ratio[self.channels] * scale, 0.0)
        if not further:
            return slope, None
        back = self._reads.back((self._used * scale).astype(flat.dtype), flat)
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
