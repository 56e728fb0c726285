"""Fusion of a convolution with the map before it, where that is exact."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.convert.linear import (
    Kernel,
    LinearMap,
    Sparse,
    Weights,
    Wiring,
    as_tap,
    by_source,
    sparse,
    to_one_group,
)
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Shape


def convolve(weight: Weights, geometry: Geometry, target: Shape, inner: LinearMap) -> LinearMap:
    """A convolution after a map."""
    outer = Kernel(inner.target, target, weight, geometry)
    if isinstance(inner, Wiring) and np.array_equal(inner.index, np.arange(prod(inner.source))):
        return replace(outer, source=inner.target)
    outer = replace(outer, weight=weight.astype(np.float64, copy=False))
    if isinstance(inner, Wiring):
        moved = as_tap(inner)
        if moved is not None and (tapped := _after_tap(outer, moved)) is not None:
            return tapped
    if isinstance(inner, Kernel) and inner.target == inner.maps:
        fused = _after_tap(outer, inner) or _after_pool(outer, inner)
        if fused is not None:
            return fused
    return Sparse(inner.source, target, sparse(outer) @ sparse(inner))


def _after_tap(outer: Kernel, tap: Kernel) -> Kernel | None:
    """A convolution after one with a single tap: scaled, picked or mixed channels, or padding."""
    g, t = outer.geometry, tap.geometry
    if t.stride != (1, 1) or tap.weight.shape[2:] != (1, 1):
        return None
    if t.padding != (0, 0, 0, 0) and tap.source[0] != tap.target[0]:
        return None
    if any(a > 0 > b for a, b in zip(g.padding, t.padding, strict=True)):
        return None  # zeros padded where values have just been cropped
    padding = tuple(a + b for a, b in zip(g.padding, t.padding, strict=True))
    top, left, bottom, right = padding
    geometry = replace(g, padding=(top, left, bottom, right))
    if t.groups == tap.source[0] == len(tap.weight):  # each channel stays itself
        scaled = by_source(outer, tap.weight.ravel().astype(np.float64))
        return replace(scaled, source=tap.source, geometry=geometry)
    full = to_one_group(outer)
    mixed = to_one_group(tap).weight[:, :, 0, 0]
    # Channel by channel: BLAS and einsum would add up in another order on another processor.
    weight = np.zeros((len(full.weight), mixed.shape[1], *full.weight.shape[2:]))
    middle, read = np.nonzero(mixed)
    if len(np.unique(read)) == len(read):  # channels are selected: no sums
        weight[:, read] += full.weight[:, middle] * mixed[middle, read][:, None, None]
    else:
        for taps, channel in zip(full.weight.transpose(1, 0, 2, 3), mixed, strict=True):
            weight += taps[:, None] * channel[:, None, None]
    return Kernel(tap.source, outer.target, weight, replace(geometry, groups=1))


def pool_composes(
    geometry: Geometry, pool: Geometry, kernel: tuple[int, int], size: tuple[int, int]
) -> bool:
    """Whether a convolution after a pool equals one convolution, borders included.

    Padding between the two is zero; the fused kernel reads the values at these positions instead.
    Exact without padding in between, or when windows tile the unpadded map.
    """
    if geometry.padding == (0, 0, 0, 0):
        return True
    tiles = kernel == pool.stride and pool.dilation == (1, 1)
    return (
        tiles
        and pool.padding == (0, 0, 0, 0)
        and all(n % k == 0 for n, k in zip(size, kernel, strict=True))
    )


def _after_pool(outer: Kernel, pool: Kernel) -> Kernel | None:
    """A convolution after a depthwise one with the same taps for all channels (average pooling)."""
    g, p = outer.geometry, pool.geometry
    if p.groups != pool.source[0] or pool.weight.shape[0] != p.groups:
        return None
    if not (pool.weight == pool.weight[:1]).all() or p.dilation != (1, 1):
        return None
    taps = pool.weight[0, 0]
    size = (pool.source[1], pool.source[2])
    if not pool_composes(g, p, (taps.shape[0], taps.shape[1]), size):
        return None
    (sy, sx), (dy, dx) = p.stride, g.dilation
    kh, kw = outer.weight.shape[2:]
    (ph, pw), (jump_y, jump_x) = taps.shape, (dy * sy, dx * sx)
    weight = np.zeros(
        (*outer.weight.shape[:2], (kh - 1) * jump_y + ph, (kw - 1) * jump_x + pw), np.float64
    )
    for a in range(kh):
        for b in range(kw):
            block = outer.weight[:, :, a, b, None, None] * taps
            weight[:, :, a * jump_y : a * jump_y + ph, b * jump_x : b * jump_x + pw] += block
    top, left, bottom, right = g.padding
    padding = (
        top * sy + p.padding[0],
        left * sx + p.padding[1],
        bottom * sy + p.padding[2],
        right * sx + p.padding[3],
    )
    geometry = Geometry((g.stride[0] * sy, g.stride[1] * sx), padding, (1, 1), g.groups)
    fused = (weight.shape[2], weight.shape[3])
    expected = g.output_size((pool.target[1], pool.target[2]), (kh, kw))
    if geometry.output_size(size, fused) != expected:
        return None
    return Kernel(pool.source, outer.target, weight, geometry)
