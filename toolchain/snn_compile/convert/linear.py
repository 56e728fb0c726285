"""Linear maps between populations, and how they compose.

Between two populations of neurons a trained network may reshape, slice, pad, pool, convolve, scale
and add. All of it is linear, so it is one synapse group per source. Four forms suffice:

- ``Wiring``: every target reads one source neuron or none (reshape, transpose, slice, pad, concat);
- ``Kernel``: a convolution;
- ``Matrix``: all to all;
- ``Sparse``: anything.

Compositions stay in the most structured form that is exact, and fall back to ``Sparse``. Their
weights are float64; those of a layer as the network has them may be float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Shape
from snn_compile.numerics import products
from snn_compile.sim import kernels

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Float = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32] | Float
Index = npt.NDArray[np.int64]

PIECE = 1 << 16
"""Places compared at once."""


@dataclass(frozen=True, eq=False)
class Wiring:
    """``y[k] = x[index[k]]``, or 0 where ``index[k] < 0``; both flat, in row-major order."""

    source: Shape
    target: Shape
    index: Index

    @staticmethod
    def identity(shape: Shape) -> Wiring:
        """Every target reads the source at its own index."""
        return Wiring(shape, shape, np.arange(prod(shape)))


@dataclass(frozen=True, eq=False)
class Kernel:
    """Cross-correlation of the source (C, H, W) with weight (O, I / groups, kh, kw).

    ``target`` may be any shape of the right size; the values are those of (O, H', W') in row-major
    order.
    """

    source: Shape
    target: Shape
    weight: Weights
    geometry: Geometry

    @property
    def maps(self) -> Shape:
        """(O, H', W'), which ``target`` may be a reshape of."""
        size, taps = self.source[1:], self.weight.shape[2:]
        return (
            self.weight.shape[0],
            *self.geometry.output_size((size[0], size[1]), (taps[0], taps[1])),
        )


@dataclass(frozen=True, eq=False)
class Matrix:
    """``y = weight @ x``, both flat."""

    source: Shape
    target: Shape
    weight: Weights


@dataclass(frozen=True, eq=False)
class Sparse:
    """``y = matrix @ x``, both flat."""

    source: Shape
    target: Shape
    matrix: csr_array


LinearMap = Wiring | Kernel | Matrix | Sparse


def sparse(linear: LinearMap) -> csr_array:
    """A map as a matrix in compressed-row form, without explicit zeros."""
    from scipy.sparse import coo_array, csr_array

    size = (prod(linear.target), prod(linear.source))
    match linear:
        case Sparse():
            return linear.matrix
        case Matrix():
            return csr_array(linear.weight.astype(np.float64, copy=False))
        case Wiring():
            rows = np.flatnonzero(linear.index >= 0)
            columns = linear.index[rows]
            return csr_array(coo_array((np.ones(len(rows)), (rows, columns)), shape=size))
        case Kernel():
            rows, columns, values = _unroll(linear)
            return csr_array(coo_array((values, (rows, columns)), shape=size))


def _unroll(kernel: Kernel) -> tuple[Index, Index, Float]:
    """Row, column and weight of every synapse of a convolution with a non-zero weight."""
    n_out, per_group, kh, kw = kernel.weight.shape
    _, height, width = kernel.source
    geometry = kernel.geometry
    out_height, out_width = geometry.output_size((height, width), (kh, kw))
    (sy, sx), (dy, dx) = geometry.stride, geometry.dilation
    top, left = geometry.padding[:2]
    read = geometry.channels_read(n_out, per_group)
    rows, columns, values = [], [], []
    for a in range(kh):
        for b in range(kw):
            o, i = np.nonzero(kernel.weight[:, :, a, b])
            c = read[o, i]
            y, x = np.arange(out_height), np.arange(out_width)
            in_y, in_x = y * sy - top + a * dy, x * sx - left + b * dx
            y, in_y = (v[(in_y >= 0) & (in_y < height)] for v in (y, in_y))
            x, in_x = (v[(in_x >= 0) & (in_x < width)] for v in (x, in_x))
            to = (y[:, None] * out_width + x).ravel()
            at = (in_y[:, None] * width + in_x).ravel()
            rows.append((o[:, None] * (out_height * out_width) + to).ravel())
            columns.append((c[:, None] * (height * width) + at).ravel())
            values.append(np.repeat(kernel.weight[o, i, a, b], len(to)))
    values_in_order = np.concatenate(values).astype(np.float64, copy=False)
    return np.concatenate(rows), np.concatenate(columns), values_in_order


def wire(index: Index, target: Shape, inner: LinearMap) -> LinearMap:
    """Wiring after a map: target k takes value ``index[k]`` of the map, or 0."""
    if isinstance(inner, Wiring):
        picked = np.where(index >= 0, inner.index[np.maximum(index, 0)], -1)
        return Wiring(inner.source, target, picked)
    if len(index) == prod(inner.target) and np.array_equal(index, np.arange(len(index))):
        return replace(inner, target=target)
    if isinstance(inner, Matrix):
        rows = np.where(index[:, None] >= 0, inner.weight[np.maximum(index, 0)], 0.0)
        return Matrix(inner.source, target, rows)
    if (
        isinstance(inner, Kernel)
        and inner.target == inner.maps
        and (channels := channel_map(index, inner.target, target))
    ):
        return _select_outputs(inner, target, np.array(channels))
    picking = Wiring(inner.target, target, index)
    return Sparse(inner.source, target, sparse(picking) @ sparse(inner))


def channel_map(index: Index, source: Shape, target: Shape) -> list[int] | None:
    """For wiring that moves whole maps: the source channel of each target channel, or -1."""
    if len(source) != 3 or len(target) != 3 or source[1:] != target[1:]:
        return None
    area = prod(source[1:])
    by_channel = index.reshape(target[0], area)
    first = by_channel[:, 0]
    channel = np.where(first >= 0, first // area, -1)
    expected = np.where(channel[:, None] >= 0, channel[:, None] * area + np.arange(area), -1)
    return [int(c) for c in channel] if np.array_equal(expected, by_channel) else None


def _select_outputs(inner: Kernel, target: Shape, channels: Index) -> Kernel:
    """A convolution with selected, repeated or zeroed output channels."""
    full = to_one_group(inner)
    weight = np.zeros((len(channels), *full.weight.shape[1:]))
    weight[channels >= 0] = full.weight[channels[channels >= 0]]
    return replace(full, target=target, weight=weight)


def to_one_group(kernel: Kernel) -> Kernel:
    """The same convolution with one group; weights between groups are 0."""
    groups = kernel.geometry.groups
    if groups == 1:
        return kernel
    n_out, per_group, kh, kw = kernel.weight.shape
    weight = np.zeros((n_out, kernel.source[0], kh, kw))
    for g in range(groups):
        outs = slice(g * n_out // groups, (g + 1) * n_out // groups)
        weight[outs, g * per_group : (g + 1) * per_group] = kernel.weight[outs]
    return replace(kernel, weight=weight, geometry=replace(kernel.geometry, groups=1))


def as_tap(wiring: Wiring) -> Kernel | None:
    """Wiring over maps as a convolution with one tap per channel, if possible.

    Covers channel selection, spatial subsampling and cropping (a strided ``Slice``), and padding.
    """
    if len(wiring.source) != 3 or len(wiring.target) != 3:
        return None
    (_, height, width), (n_out, out_h, out_w) = wiring.source, wiring.target
    index = wiring.index.reshape(wiring.target)
    # All channels of a tap that read anything do so at the same places.
    is_used = (index >= 0).any(axis=(1, 2))
    if not is_used.any():
        return None
    first = index[is_used.argmax()]
    used = np.argwhere(first >= 0)
    _, origin_y, origin_x = np.unravel_index(first[tuple(used.T)], wiring.source)
    start = index[:, used[0, 0], used[0, 1]]
    channel = np.where(start >= 0, start // (height * width), -1)

    def line(to: Index, at: Index) -> tuple[int, int]:
        """Step and offset with ``at = step * to + offset``, from the first points."""
        other = np.flatnonzero(to != to[0])
        if not len(other):
            return 1, int(at[0] - to[0])
        k = other[0]
        step = int((at[k] - at[0]) // (to[k] - to[0]))
        return step, int(at[0] - step * to[0])

    (sy, oy), (sx, ox) = line(used[:, 0], origin_y), line(used[:, 1], origin_x)
    if sy < 1 or sx < 1:
        return None
    y, x = np.arange(out_h) * sy + oy, np.arange(out_w) * sx + ox
    inside = np.logical_and.outer((y >= 0) & (y < height), (x >= 0) & (x < width))
    place = y[:, None] * width + x
    at_once = max(PIECE // place.size, 1)
    for part in (slice(k, k + at_once) for k in range(0, n_out, at_once)):
        read = channel[part, None, None]
        wanted = np.where(inside & (read >= 0), read * height * width + place, -1)
        if not np.array_equal(index[part], wanted):
            return None
    padding = (
        max(-oy, 0),
        max(-ox, 0),
        max((out_h - 1) * sy + oy - (height - 1), 0),
        max((out_w - 1) * sx + ox - (width - 1), 0),
    )
    taps = (max(oy, 0) + 1, max(ox, 0) + 1)
    weight = np.zeros((n_out, wiring.source[0], *taps))
    known = np.flatnonzero(channel >= 0)
    weight[known, channel[known], -1, -1] = 1.0
    tap = Kernel(wiring.source, wiring.target, weight, Geometry((sy, sx), padding))
    if tap.geometry.output_size((height, width), taps) != (out_h, out_w):
        extra = (out_h - 1) * sy + taps[0] - (height + padding[0] + padding[2])
        wider = (out_w - 1) * sx + taps[1] - (width + padding[1] + padding[3])
        padding = (padding[0], padding[1], padding[2] + extra, padding[3] + wider)
        tap = replace(tap, geometry=Geometry((sy, sx), padding))
    return to_depthwise(tap)


def to_depthwise(kernel: Kernel) -> Kernel:
    """A one-group convolution as a depthwise one, if each channel reads only itself."""
    n_out, n_in = kernel.weight.shape[:2]
    if kernel.geometry.groups != 1 or n_out != n_in or n_in == 1:
        return kernel
    if kernel.weight[0, 1:].any() or kernel.weight[~np.eye(n_out, dtype=bool)].any():
        return kernel
    own = kernel.weight[np.arange(n_out), np.arange(n_out)][:, None]
    return replace(kernel, weight=own, geometry=replace(kernel.geometry, groups=n_out))


def multiply(weight: Weights, target: Shape, inner: LinearMap) -> LinearMap:
    """A matrix after a map."""
    if isinstance(inner, Wiring):
        n_sources = prod(inner.source)
        if np.array_equal(inner.index, np.arange(n_sources)):
            return Matrix(inner.source, target, weight)
        used = inner.index >= 0
        columns = np.zeros((n_sources, weight.shape[0]))
        np.add.at(columns, inner.index[used], weight[:, used].T)
        return Matrix(inner.source, target, np.ascontiguousarray(columns.T))
    weight = weight.astype(np.float64, copy=False)
    if isinstance(inner, Kernel) and inner.geometry.groups == inner.source[0] == inner.maps[0]:
        return Matrix(inner.source, target, _through_channels(weight, inner))
    return Matrix(inner.source, target, np.asarray(weight @ sparse(inner)))


def along_axis(matrix: Float, axis: int, target: Shape, inner: LinearMap) -> LinearMap:
    """A matrix along one axis of a map's target."""
    from scipy.sparse import csr_array, eye_array, kron

    around = [eye_array(prod(part)) for part in (target[:axis], target[axis + 1 :])]
    outer = csr_array(kron(kron(around[0], csr_array(matrix)), around[1]))
    return Sparse(inner.source, target, csr_array(outer @ sparse(inner)))


def _through_channels(weight: Float, kernel: Kernel) -> Float:
    """A matrix after a depthwise convolution (average pooling).

    Positions are summed in order, as in a sparse product.
    """
    geometry, (_, height, width) = kernel.geometry, kernel.source
    by_place = weight.reshape(len(weight), *kernel.maps)
    found = np.zeros((len(weight), *kernel.source))
    for a, b in reversed(list(np.ndindex(*kernel.weight.shape[2:]))):
        y = np.arange(kernel.maps[1])
        x = np.arange(kernel.maps[2])
        at_y = y * geometry.stride[0] - geometry.padding[0] + a * geometry.dilation[0]
        at_x = x * geometry.stride[1] - geometry.padding[1] + b * geometry.dilation[1]
        in_y, in_x = (at_y >= 0) & (at_y < height), (at_x >= 0) & (at_x < width)
        tap = kernel.weight[:, 0, a, b, None, None]
        seen = by_place[:, :, y[in_y, None], x[in_x]]
        found[:, :, at_y[in_y, None], at_x[in_x]] += seen * tap
    return found.reshape(len(weight), -1)


def scale(factor: Float, inner: LinearMap) -> LinearMap:
    """Element-wise scaling after a map; ``factor`` broadcasts to the target."""
    if (factor == 1).all():
        return inner
    if isinstance(inner, Wiring):
        tap = as_kernel(inner)
        inner = inner if tap is None else tap
    if isinstance(inner, Kernel):
        each = _by_channel(factor, inner)
        if each is not None:
            return replace(inner, weight=inner.weight * each[:, None, None, None])
    full = np.broadcast_to(factor, inner.target)
    if isinstance(inner, Matrix):
        return replace(inner, weight=inner.weight * full.reshape(-1, 1))
    from scipy.sparse import csr_array, diags_array

    matrix = csr_array(diags_array(full.ravel()) @ sparse(inner))
    return Sparse(inner.source, inner.target, matrix)


def _by_channel(factor: Float, kernel: Kernel) -> Float | None:
    """A factor's value for each channel of a convolution; None if it varies over a map."""
    channels = len(kernel.weight)
    if factor.shape == (channels, *[1] * (len(kernel.target) - 1)):  # the usual one
        return factor.ravel()
    rows = np.broadcast_to(factor, kernel.target).reshape(channels, -1)
    return rows[:, 0] if (rows == rows[:, :1]).all() else None


def as_kernel(wiring: Wiring) -> Kernel | None:
    """Wiring as a convolution, if possible: over maps, or one to one."""
    if np.array_equal(wiring.index, np.arange(prod(wiring.source))):
        channels = wiring.source[0]
        return Kernel(
            wiring.source,
            wiring.target,
            np.ones((channels, 1, 1, 1)),
            Geometry(groups=channels),
        )
    return as_tap(wiring)


def scale_sources(linear: LinearMap, unit: Float) -> LinearMap:
    """The map for sources measured in units: column k times the unit of source neuron k.

    Args:
        linear: the map.
        unit: (C,) for a source of shape (C, H, W).
    """
    if isinstance(linear, Kernel) and linear.source[0] == len(unit):
        return by_source(linear, unit)
    per_neuron = np.repeat(unit, prod(linear.source) // len(unit))
    if isinstance(linear, Matrix):
        return replace(linear, weight=linear.weight * per_neuron)
    from scipy.sparse import csr_array, diags_array

    matrix: Any = csr_array(sparse(linear) @ diags_array(per_neuron))
    return Sparse(linear.source, linear.target, matrix)


def apply_map(linear: LinearMap, x: Float) -> Float:
    """The map's value for one source, (prod(target),)."""
    if isinstance(linear, Kernel):
        geometry = linear.geometry
        found = products.linear(
            products.on_grid(linear.weight, 2),
            x.reshape(*linear.source, 1),
            lambda kernel, maps: kernels.conv2d(maps, kernel, geometry),
        )
    elif isinstance(linear, Matrix):
        weight = products.on_grid(linear.weight, 2)
        found = products.linear(weight, x.reshape(-1, 1), products.blas)
    else:
        found = np.asarray(sparse(linear) @ x.ravel())
    return found.ravel().astype(np.float64)


def by_source(kernel: Kernel, factor: Float) -> Kernel:
    """A convolution of source channels scaled by a factor each."""
    n_out, per_group, *taps = kernel.weight.shape
    one_group = kernel.geometry.groups == 1
    by_tap = factor[None] if one_group else factor[kernel.geometry.channels_read(n_out, per_group)]
    rows = kernel.weight.reshape(n_out, -1) * np.repeat(by_tap, prod(taps), axis=1)
    return replace(kernel, weight=rows.reshape(kernel.weight.shape))
