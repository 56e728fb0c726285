"""Receptive fields as matrices: products with them, and gradients that flow back.

Maps are (C, H, W, B), the batch last. Those of a convolution have their rows outermost in memory,
(H, C, W, B): what the rows under a kernel give to one tap column is then a matrix, and nothing is
copied but the map with its padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from math import prod
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.geometry import Geometry, Pair
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, SparseSynapses, Synapses
from snn_compile.numerics.products import Float, blas
from snn_compile.sim import kernels
from snn_compile.sim.kernels import Array

NARROWEST = 8
"""Pixels of a row whose products are worth a call; narrower maps are multiplied as a whole."""
MOST_BACK = 512
"""Weights of a sum that takes gradients back; with more of them it would leave gradients few bits,
and each tap has a sum of its own."""
Fields = list[Array]
"""Matrices, the last axis of which runs over receptive fields."""


class Receptive(Protocol):
    """What synapses read of a population, for weights (R, K)."""

    def channels(self, rows: int) -> Int:
        """Source channel of each weight, (R, K)."""

    def largest_sum(self, weight: Float) -> float:
        """Largest sum of the magnitudes of a neuron's weights."""
        return _largest(weight)

    def largest_back(self, weight: Float) -> float:
        """Largest sum of the magnitudes of weights in a product of :meth:`back`."""

    def fields(self, x: Array) -> Fields:
        """Receptive fields of messages (C, H, W, B)."""

    def times(self, weight: Array, fields: Fields) -> Array:
        """Weighted sums, (O, H', W', B)."""

    def slope(self, gradient: Array, fields: Fields, chunk: int) -> Float:
        """Gradient of the weights, of which so many products are added in their type, (R, K)."""

    def back(self, weight: Array, gradient: Array) -> Array:
        """Gradient of the messages, (C, H, W, B)."""


def receptive(group: Synapses, source: Shape) -> Receptive:
    """How a group reads a population of this shape."""
    if isinstance(group, SparseSynapses):
        return Sparse(group, source)
    if isinstance(group, DenseSynapses):
        return Dense(group, source)
    if not isinstance(group, ConvSynapses):
        raise TypeError(f"'{group.id}' has no gradient")
    n_groups, n_out = group.geometry.groups, len(group.weight.values)
    if n_groups == source[0] == n_out:
        return Depthwise(group, source)
    return (Rows if n_groups == 1 and group.shape[2] >= NARROWEST else Gathered)(group, source)


class Dense(Receptive):
    """All messages."""

    def __init__(self, group: Synapses, source: Shape) -> None:
        self._source, self._shape = source, group.shape

    def channels(self, rows: int) -> Int:
        """Source channel of each weight, (R, K)."""
        each = np.repeat(np.arange(self._source[0]), prod(self._source[1:]))
        return np.broadcast_to(each, (rows, len(each)))

    def largest_back(self, weight: Float) -> float:
        """Largest sum of the magnitudes of weights that read a message."""
        return _largest(weight.T)

    def fields(self, x: Array) -> Fields:
        """The messages, (K, B)."""
        return [x.reshape(-1, x.shape[-1])]

    def times(self, weight: Array, fields: Fields) -> Array:
        """Weighted sums, (O, H', W', B)."""
        found: Array = blas(weight, fields[0])
        return found.reshape(*self._shape, -1)

    def slope(self, gradient: Array, fields: Fields, chunk: int) -> Float:
        """Gradient of the weights, of which so many products are added in their type, (R, K)."""
        flat = gradient.reshape(-1, gradient.shape[-1])
        return _inner(flat[None], fields[0][None], chunk)

    def back(self, weight: Array, gradient: Array) -> Array:
        """Gradient of the messages, (C, H, W, B)."""
        found: Array = blas(weight.T, gradient.reshape(-1, gradient.shape[-1]))
        return found.reshape(*self._source, -1)


class Sparse(Dense):
    """Messages that a matrix chooses, which has the weights."""

    def __init__(self, group: SparseSynapses, source: Shape) -> None:
        from scipy.sparse import csr_array

        super().__init__(group, source)
        weight = group.weight.values.astype(np.float64)
        size = (len(group.indptr) - 1, prod(source))
        # a copy, since scipy sorts indices in place, and those of a program are read-only
        self._matrix = csr_array((weight, group.indices, group.indptr), size, copy=True)
        self._scale = 2.0**group.exponent

    def largest_sum(self, weight: Float) -> float:
        """Largest sum of the magnitudes of a neuron's weights."""
        del weight
        return float(abs(self._matrix).sum(axis=1).max(initial=0))

    def largest_back(self, weight: Float) -> float:
        """Largest sum of the magnitudes of weights that read a message."""
        del weight
        return float(abs(self._matrix).sum(axis=0).max(initial=0))

    def times(self, weight: Array, fields: Fields) -> Array:
        """Weighted sums, (O, H', W', B)."""
        del weight
        found: Array = self._matrix @ fields[0].astype(np.float64) * self._scale
        return found.astype(fields[0].dtype).reshape(*self._shape, -1)

    def back(self, weight: Array, gradient: Array) -> Array:
        """Gradient of the messages, (C, H, W, B)."""
        del weight
        flat = gradient.reshape(-1, gradient.shape[-1]).astype(np.float64)
        found: Array = self._matrix.T @ flat * self._scale
        return found.astype(gradient.dtype).reshape(*self._source, -1)


class Rows(Receptive):
    """What a convolution reads whose kernels see all channels, row by row."""

    def __init__(self, group: ConvSynapses, source: Shape) -> None:
        self._source, self._geometry, self._width = source, group.geometry, group.shape[2]
        _, self._n_in, *taps = group.weight.shape
        self._taps = taps[0], taps[1]
        self._reverse = None
        if group.shape[0] * taps[0] <= MOST_BACK:
            self._reverse = _reverse(group.geometry, self._taps)

    def channels(self, rows: int) -> Int:
        """Source channel of each weight, (R, K)."""
        each = np.repeat(np.arange(self._n_in), prod(self._taps))
        return np.broadcast_to(each, (rows, len(each)))

    def largest_back(self, weight: Float) -> float:
        """Largest sum of the magnitudes of weights in a product of :meth:`back`."""
        if self._reverse is None:
            return _largest(weight.T)
        return max(map(_largest, _parts(self._turned(weight), self._reverse)))

    def fields(self, x: Array) -> Fields:
        """Matrices (H', taps * C, W' * B)."""
        return _fields(x, self._taps, self._geometry)

    def times(self, weight: Array, fields: Fields) -> Array:
        """Weighted sums, (O, H', W', B)."""
        by_tap = weight.reshape(len(weight), self._n_in, *self._taps)
        return _sums(by_tap, fields, self._geometry, self._width)

    def slope(self, gradient: Array, fields: Fields, chunk: int) -> Float:
        """Gradient of the weights, of which so many products are added in their type, (R, K)."""
        flat = by_row(gradient)
        found = np.concatenate([_inner(matrices, flat, chunk) for matrices in fields])
        height, width = self._taps
        if len(fields) == width:
            by_tap = found.reshape(width, height, self._n_in, -1).transpose(3, 2, 1, 0)
        else:
            by_tap = found.reshape(height, width, self._n_in, -1).transpose(3, 2, 0, 1)
        return by_tap.reshape(len(gradient), -1)

    def back(self, weight: Array, gradient: Array) -> Array:
        """Gradient of the messages, (C, H, W, B)."""
        if self._reverse is None:
            flat = blas(weight.T, by_row(gradient))  # (H', C * taps, W' * B)
            shape = (len(flat), self._n_in, prod(self._taps), *gradient.shape[2:])
            by_tap = flat.reshape(shape).transpose(2, 1, 0, 3, 4)
            return _scattered(by_tap, self._source, self._taps, self._geometry)
        fields = _fields(gradient, self._taps, self._reverse)
        return _sums(self._turned(weight), fields, self._reverse, self._source[2])

    def _turned(self, weight: Array) -> Array:
        """The kernels of :meth:`back`, (C, O, kh, kw)."""
        by_tap = weight.reshape(len(weight), self._n_in, *self._taps)
        return by_tap[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)


class Gathered(Receptive):
    """What a convolution reads whose kernels see the channels of a group, copied for each tap."""

    def __init__(self, group: ConvSynapses, source: Shape) -> None:
        self._source, self._shape, self._geometry = source, group.shape, group.geometry
        self._n_groups = group.geometry.groups
        _, _, *taps = group.weight.shape
        self._taps = taps[0], taps[1]

    def channels(self, rows: int) -> Int:
        """Source channel of each weight, (R, K)."""
        read = self._geometry.channels_read(rows, self._source[0] // self._n_groups)
        return np.repeat(read, prod(self._taps), axis=1)

    def largest_back(self, weight: Float) -> float:
        """Largest sum of the magnitudes of weights in a product of :meth:`back`."""
        return float(self._by_group(np.abs(weight)).sum(axis=1).max(initial=0))

    def fields(self, x: Array) -> Fields:
        """(G, C / G * taps, P)."""
        padded = kernels.pad(x, self._geometry.padding)
        taps = [view for _, _, view in kernels.tap_views(padded, self._taps, self._geometry)]
        stacked = np.stack(taps, axis=1)  # (C, taps, H, W, B)
        return [stacked.reshape(self._n_groups, -1, prod(stacked.shape[2:]))]

    def times(self, weight: Array, fields: Fields) -> Array:
        """Weighted sums, (O, H', W', B)."""
        found: Array = blas(self._by_group(weight), fields[0])
        return found.reshape(*self._shape, -1)

    def slope(self, gradient: Array, fields: Fields, chunk: int) -> Float:
        """Gradient of the weights, of which so many products are added in their type, (R, K)."""
        flat = self._by_group(gradient.reshape(len(gradient), -1))
        return _inner(flat[None], fields[0][None], chunk).reshape(len(gradient), -1)

    def back(self, weight: Array, gradient: Array) -> Array:
        """Gradient of the messages, (C, H, W, B)."""
        flat = self._by_group(gradient.reshape(len(gradient), -1))
        arrived = blas(self._by_group(weight).transpose(0, 2, 1), flat)
        shape = (self._source[0], prod(self._taps), *gradient.shape[1:])
        by_tap = arrived.reshape(shape).swapaxes(0, 1)
        return _scattered(by_tap, self._source, self._taps, self._geometry)

    def _by_group(self, rows: Array) -> Array:
        return rows.reshape(self._n_groups, -1, rows.shape[1])


class Depthwise(Gathered):
    """What a convolution reads whose kernels see one channel, each another one."""

    def fields(self, x: Array) -> Fields:
        """What each tap reads, (C, H', W', B)."""
        padded = _padded(x, self._geometry.padding).swapaxes(0, 1)
        return [view for _, _, view in kernels.tap_views(padded, self._taps, self._geometry)]

    def times(self, weight: Array, fields: Fields) -> Array:
        """Weighted sums, (O, H', W', B)."""
        (first, at), *others = zip(fields, weight.T[..., None, None, None], strict=True)
        found: Array = first * at
        for view, values in others:
            found += view * values
        return found

    def slope(self, gradient: Array, fields: Fields, chunk: int) -> Float:
        """Gradient of the weights, of which so many products are added in their type, (R, K)."""
        flat = by_row(gradient)[:, :, None]
        by_tap = [_inner(by_row(view)[:, :, None], flat, chunk) for view in fields]
        return np.stack(by_tap, axis=1).reshape(len(gradient), -1)

    def back(self, weight: Array, gradient: Array) -> Array:
        """Gradient of the messages, (C, H, W, B)."""
        by_tap = (gradient * values for values in weight.T[..., None, None, None])
        return _scattered(by_tap, self._source, self._taps, self._geometry)


def _largest(weight: Array) -> float:
    return float(np.abs(weight).sum(axis=1).max(initial=0))


def by_row(x: Array) -> Array:
    """(H, C, W * B), of (C, H, W, B)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], len(x), -1)


def _reverse(geometry: Geometry, taps: Pair) -> Geometry | None:
    """Of the convolution with turned kernels that takes gradients back; None if it has strides."""
    if geometry.stride != (1, 1):
        return None
    reach = [step * (n - 1) for step, n in zip(geometry.dilation, taps, strict=True)]
    padding = [most - side for most, side in zip(2 * reach, geometry.padding, strict=True)]
    return replace(geometry, padding=(padding[0], padding[1], padding[2], padding[3]))


def _by_column(geometry: Geometry) -> bool:
    """Whether the rows under a kernel follow each other, for all pixels of a row."""
    return geometry.stride == (1, 1) and geometry.dilation[0] == 1


def _fields(x: Array, taps: Pair, geometry: Geometry) -> Fields:
    """For each tap column (H', kh * C, W' * B), without a copy; else one matrix of all taps."""
    rows = _padded(x, geometry.padding)
    if not _by_column(geometry):
        views = kernels.tap_views(rows.swapaxes(0, 1), taps, geometry)
        stacked = np.stack([view.swapaxes(0, 1) for _, _, view in views], axis=1)
        height, n_taps, channels, width, n_samples = stacked.shape
        return [stacked.reshape(height, n_taps * channels, width * n_samples)]
    height, channels, width, n_samples = rows.shape
    step = geometry.dilation[1]
    size = height - taps[0] + 1, taps[0] * channels, (width - step * (taps[1] - 1)) * n_samples
    strides = rows.strides[0], rows.strides[1], rows.itemsize
    return [as_strided(rows[:, :, k * step :], size, strides) for k in range(taps[1])]


def _padded(x: Array, padding: tuple[int, int, int, int]) -> Array:
    """Rows (H, C, W, B) of a map with a border or cropped, contiguous."""
    rows = _cropped(x, padding).swapaxes(0, 1)
    top, left, bottom, right = (max(side, 0) for side in padding)
    if not (top or left or bottom or right):
        return np.ascontiguousarray(rows)
    height, channels, width, n_samples = rows.shape
    size = height + top + bottom, channels, width + left + right, n_samples
    found = np.zeros(size, x.dtype)
    found[top : top + height, :, left : left + width] = rows
    return found


def _cropped(x: Array, padding: tuple[int, int, int, int]) -> Array:
    """A view of what negative padding leaves of (C, H, W, B)."""
    top, left, bottom, right = (max(-side, 0) for side in padding)
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def _parts(weight: Array, geometry: Geometry) -> list[Array]:
    """Kernels (O, C, kh, kw) as matrices for :func:`_fields`."""
    if not _by_column(geometry):
        return [weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)]
    columns = np.moveaxis(weight, 3, 0).swapaxes(2, 3)  # (kw, O, kh, C)
    return list(columns.reshape(*columns.shape[:2], -1))


def _sums(weight: Array, fields: Fields, geometry: Geometry, width: int) -> Array:
    """Products of kernels (O, C, kh, kw) with receptive fields, (O, H', W', B)."""
    first, *others = zip(_parts(weight, geometry), fields, strict=True)
    found: Array = blas(*first)
    for part, matrices in others:
        found += blas(part, matrices)
    return found.reshape(*found.shape[:2], width, -1).swapaxes(0, 1)


def _inner(left: Array, right: Array, chunk: int) -> Float:
    """The products (H, ..., K, P) x (H, ..., O, P), summed over H and P, (..., K, O).

    So many products are added up in their type, the rest in float64.
    """
    chunk = min(chunk, left.shape[-1])
    whole = left.shape[-1] // chunk * chunk

    def cut(matrices: Array) -> Array:
        by_chunk = matrices[..., :whole].reshape(*matrices.shape[:-1], -1, chunk)
        return by_chunk.swapaxes(-2, -3)

    parts = blas(cut(left), cut(right).swapaxes(-1, -2))
    found: Float = parts.sum(axis=(0, -3), dtype=np.float64)
    if whole < left.shape[-1]:
        rest = blas(left[..., whole:], right[..., whole:].swapaxes(-1, -2))
        found += rest.sum(axis=0, dtype=np.float64)
    return found


def _scattered(by_tap: Iterable[Array], source: Shape, taps: Pair, geometry: Geometry) -> Array:
    """Sums (C, H, W, B) of what each tap sends back, (C, H', W', B)."""
    by_tap = iter(by_tap)
    first = next(by_tap)
    channels, height, width = source
    top, left, bottom, right = (max(side, 0) for side in geometry.padding)
    size = height + top + bottom, channels, width + left + right, first.shape[-1]
    whole = np.zeros(size, first.dtype).swapaxes(0, 1)
    views = kernels.tap_views(_cropped(whole, geometry.padding), taps, geometry)
    for (_, _, view), arrived in zip(views, chain([first], by_tap), strict=True):
        view += arrived
    return whole[:, top : top + height, left : left + width]
