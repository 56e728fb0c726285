"""Linear operators on batches, written once for every simulator.

Layout: maps are (C, H, W, B) and vectors (F, B), the batch last, so that every copy an
image-to-column step makes is a contiguous run over the batch. All functions keep the dtype of
``x``.

**Exactness.** BLAS has no fast integer product, so integer networks run through it in floating
point. A sum of products of integers is exact in float32 while every partial sum stays below 2**24,
and in float64 below 2**53, whatever the order of the additions. ``exact_dtype`` picks the type from
a proven bound; nothing here rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from snn_compile.ir.geometry import Geometry
from snn_compile.numerics.products import blas

Array = npt.NDArray[np.floating]
Number = TypeVar("Number", npt.NDArray[np.floating], npt.NDArray[np.int64])
"""Arrays that are moved and not computed with."""

COLUMN_BYTES = 1 << 20
"""Size of the copy of the input that a convolution multiplies at once: it stays in the cache."""
SMALL_PRODUCT, NARROWEST = 1_000_000, 64
"""Products of so many multiplications OpenBLAS does without packing the matrices anew, which for
few weights is faster (by a third for 16 outputs); unless a matrix is narrower than this."""


def exact_dtype(bound: int) -> type[np.float32] | type[np.float64]:
    """The floating type in which integer sums up to ``bound`` in magnitude are exact.

    Raises:
        OverflowError: float64 is not exact either.
    """
    if bound < 1 << 24:
        return np.float32
    if bound < 1 << 53:
        return np.float64
    raise OverflowError(f"sums of up to {bound} are not exact in float64")


def pad(x: Number, padding: tuple[int, int, int, int], value: float = 0.0) -> Number:
    """(C, H, W, B) with a border; padding is (top, left, bottom, right); negative values crop."""
    top, left, bottom, right = padding
    if min(padding) < 0:
        x = x[
            :,
            max(-top, 0) : x.shape[1] - max(-bottom, 0),
            max(-left, 0) : x.shape[2] - max(-right, 0),
        ]
        top, left, bottom, right = (max(p, 0) for p in padding)
    if not (top or left or bottom or right):
        return x
    out = np.full(
        (x.shape[0], x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3]),
        value,
        dtype=x.dtype,
    )
    out[:, top : top + x.shape[1], left : left + x.shape[2]] = x
    return out


def tap_views(
    x: Number, kernel: tuple[int, int], geometry: Geometry
) -> Iterator[tuple[int, int, Number]]:
    """Every kernel position with the (C, H', W', B) view of the padded input that it reads."""
    (sy, sx), (dy, dx) = geometry.stride, geometry.dilation
    height = (x.shape[1] - dy * (kernel[0] - 1) - 1) // sy + 1
    width = (x.shape[2] - dx * (kernel[1] - 1) - 1) // sx + 1
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            y0, x0 = a * dy, b * dx
            view = x[:, y0 : y0 + (height - 1) * sy + 1 : sy, x0 : x0 + (width - 1) * sx + 1 : sx]
            yield a, b, view


def conv2d(x: Array, weight: Array, geometry: Geometry, bias: Array | None = None) -> Array:
    """Cross-correlation.

    Args:
        x: (C, H, W, B).
        weight: (O, C / groups, kh, kw).
        geometry: geometry of the kernel.
        bias: (O,), added to every pixel.

    Returns:
        (O, H', W', B); in memory, rows may be outermost.
    """
    n_out, n_in, kh, kw = weight.shape
    groups = geometry.groups
    weight = weight.astype(x.dtype, copy=False)
    if n_in == 1 and (groups > 1 or n_out == 1):
        out = _depthwise(pad(x, geometry.padding), weight, geometry)
    elif (kh, kw) == (1, 1) and geometry.stride == (1, 1) and groups == 1:
        x = pad(x, geometry.padding)
        flat = blas(weight.reshape(n_out, n_in), x.reshape(n_in, -1))
        out = flat.reshape(n_out, *x.shape[1:])
    elif groups > 1:
        one = replace(geometry, groups=1)
        pairs = zip(np.split(x, groups), np.split(weight, groups), strict=True)
        out = np.concatenate([_by_rows(part, kernels, one) for part, kernels in pairs])
    else:
        return _by_rows(x, weight, geometry, bias)
    if bias is not None:
        out += bias.astype(x.dtype)[:, None, None, None]
    return out


def _by_rows(x: Array, weight: Array, geometry: Geometry, bias: Array | None = None) -> Array:
    """Convolution as products with all receptive fields of a row.

    The input is copied with rows outermost and, within a row, once for every tap column. The rows
    under a kernel are then one contiguous matrix: kw copies of the input, not kh * kw.
    """
    weight, geometry = _without_gaps(weight, geometry)
    n_out, n_in, kh, kw = weight.shape
    (sy, sx), (_, dx), (top, left, _, _) = geometry.stride, geometry.dilation, geometry.padding
    height, width = geometry.output_size((x.shape[1], x.shape[2]), (kh, kw))
    columns = [_reached(x.shape[2], width, k * dx - left, sx) for k in range(kw)]
    row_bytes = kw * n_in * width * x.shape[3] * x.itemsize
    n_rows = max(1, min(height, (COLUMN_BYTES // max(row_bytes, 1) - kh) // sy + 1))
    rows = np.empty(((n_rows - 1) * sy + kh, kw, n_in, width, x.shape[3]), x.dtype)
    for k, (inside, _) in enumerate(columns):
        rows[:, k, :, : inside.start], rows[:, k, :, inside.stop :] = 0, 0
    by_tap = weight.transpose(0, 2, 3, 1).reshape(n_out, -1)  # (O, kh * kw * C)
    pixels = width * x.shape[3]
    n_parts = _n_parts(pixels, by_tap.size)
    under = _parts(rows, (n_rows, by_tap.shape[1], pixels), sy * rows.strides[0], n_parts)
    out = np.empty((height, n_out, width, x.shape[3]), x.dtype)
    products = _parts(out, (height, n_out, pixels), out.strides[0], n_parts)
    added = None if bias is None else bias.astype(x.dtype)[:, None, None]
    for y in range(0, height, n_rows):
        band = out[y : y + n_rows]
        _fill(rows[: (len(band) - 1) * sy + kh], x, y * sy - top, columns)
        blas(by_tap, under[: len(band)], out=products[y : y + n_rows])
        if added is not None:
            band += added
    return out.transpose(1, 0, 2, 3)


def _n_parts(pixels: int, weights: int) -> int:
    """Number of matrices for a row's receptive fields, such that their products are small."""
    for n_parts in (1, 2, 4, 8):
        part = pixels // n_parts
        if pixels % n_parts == 0 and part >= NARROWEST and part * weights <= SMALL_PRODUCT:
            return n_parts
    return 1


def _parts(x: Array, shape: tuple[int, int, int], stride: int, n_parts: int) -> Array:
    """Matrices (N, K, P) that start every ``stride`` bytes, as (N, parts, K, P / parts)."""
    n, height, width = shape
    part = width // n_parts
    strides = (stride, part * x.itemsize, width * x.itemsize, x.itemsize)
    return as_strided(x, (n, n_parts, height, part), strides)


def _without_gaps(weight: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    """The same convolution without vertical dilation: a kernel with zeros in the gaps."""
    dy, dx = geometry.dilation
    if dy == 1:
        return weight, geometry
    n_out, n_in, kh, kw = weight.shape
    full = np.zeros((n_out, n_in, dy * (kh - 1) + 1, kw), weight.dtype)
    full[:, :, ::dy] = weight
    return full, replace(geometry, dilation=(1, dx))


def _reached(n: int, n_out: int, offset: int, stride: int) -> tuple[slice, slice]:
    """Outputs that read within n inputs, at ``stride * output + offset``, and these inputs."""
    low = min(n_out, max(0, -(offset // stride)))
    high = max(low, min(n_out, (n - 1 - offset) // stride + 1))
    start = low * stride + offset
    return slice(low, high), slice(start, start + (high - low) * stride, stride)


def _fill(rows: Array, x: Array, first: int, columns: list[tuple[slice, slice]]) -> None:
    """Copy consecutive rows of x (C, H, W, B), 0 beyond its ends, into rows (R, kw, C, W', B)."""
    inside, taken = _reached(x.shape[1], len(rows), first, 1)
    rows[: inside.start], rows[inside.stop :] = 0, 0
    for k, (target, source) in enumerate(columns):
        rows[inside, k, :, target] = x[:, taken, source].transpose(1, 0, 2, 3)


def _depthwise(x: Array, weight: Array, geometry: Geometry) -> Array:
    """Grouped convolution with one input channel per group: a sum of scaled, shifted maps.

    x is padded.
    """
    n_out, _, kh, kw = weight.shape
    repeat = n_out // geometry.groups
    out: Array | None = None
    for a, b, view in tap_views(x, (kh, kw), geometry):
        tap = weight[:, 0, a, b]
        if not tap.any():
            continue
        term = view if repeat == 1 else np.repeat(view, repeat, axis=0)
        if out is None or (tap != 1).any():  # pools and comparators only add and subtract
            term = term * tap[:, None, None, None]
        out = term if out is None else np.add(out, term, out=out)
    if out is None:
        padded = replace(geometry, padding=(0, 0, 0, 0))
        height, width = padded.output_size((x.shape[1], x.shape[2]), (kh, kw))
        out = np.zeros((n_out, height, width, x.shape[3]), dtype=x.dtype)
    return out


def max_pool(x: Array, kernel: tuple[int, int], geometry: Geometry) -> Array:
    """Maximum over windows; padding never wins. x (C, H, W, B)."""
    x = pad(x, geometry.padding, -np.inf)
    out: Array | None = None
    for _, _, view in tap_views(x, kernel, geometry):
        out = view.copy() if out is None else np.maximum(out, view, out=out)
    if out is None:
        raise ValueError("a pool needs at least one tap")
    return out
