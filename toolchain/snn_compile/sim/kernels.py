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

import numpy as np
import numpy.typing as npt

from snn_compile.ir.geometry import Geometry

Array = npt.NDArray[np.floating]

COLUMN_BYTES = 4 << 20
"""Size of one image-to-column buffer: large enough for BLAS, small enough for the cache."""


def exact_dtype(bound: int) -> type[np.float32] | type[np.float64]:
    """The floating type in which integer sums up to ``bound`` in magnitude are exact.

    Raises:
        OverflowError: even float64 is not exact.
    """
    if bound < 1 << 24:
        return np.float32
    if bound < 1 << 53:
        return np.float64
    raise OverflowError(f"sums of up to {bound} are not exact in float64")


def matmul(a: Array, b: Array) -> Array:
    """The BLAS product of two matrices.

    OpenBLAS's kernels for the edges of a matrix may compute on padding and leave floating-point
    flags behind that say nothing about the result; numpy would warn of them now and then.
    """
    with np.errstate(all="ignore"):
        product: Array = a @ b
    return product


def pad(x: Array, padding: tuple[int, int, int, int], value: float = 0.0) -> Array:
    """(C, H, W, B) with a border; padding is top, left, bottom, right; negative values crop."""
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
    x: Array, kernel: tuple[int, int], geometry: Geometry
) -> Iterator[tuple[int, int, Array]]:
    """Every kernel position with the (C, H', W', B) view of the padded input that it reads."""
    (sy, sx), (dy, dx) = geometry.stride, geometry.dilation
    height = (x.shape[1] - dy * (kernel[0] - 1) - 1) // sy + 1
    width = (x.shape[2] - dx * (kernel[1] - 1) - 1) // sx + 1
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            y0, x0 = a * dy, b * dx
            view = x[:, y0 : y0 + (height - 1) * sy + 1 : sy, x0 : x0 + (width - 1) * sx + 1 : sx]
            yield a, b, view


def conv2d(x: Array, weight: Array, geometry: Geometry) -> Array:
    """Cross-correlation: x (C, H, W, B), weight (O, C / groups, kh, kw) to (O, H', W', B)."""
    n_out, per_group, kh, kw = weight.shape
    groups = geometry.groups
    x = pad(x, geometry.padding)
    weight = weight.astype(x.dtype, copy=False)
    if per_group == 1 and groups > 1:
        return _depthwise(x, weight, geometry)
    if (kh, kw) == (1, 1) and geometry.stride == (1, 1) and groups == 1:
        flat = matmul(weight.reshape(n_out, per_group), x.reshape(x.shape[0], -1))
        return flat.reshape(n_out, *x.shape[1:])
    taps = [view for _, _, view in tap_views(x, (kh, kw), geometry)]
    _, height, width, batch = taps[0].shape
    out = np.empty((n_out, height, width, batch), dtype=x.dtype)
    row_bytes = per_group * kh * kw * width * batch * x.itemsize
    rows = max(1, min(height, COLUMN_BYTES // max(row_bytes, 1)))
    columns = np.empty((kh * kw, per_group, rows, width, batch), dtype=x.dtype)
    group_out = n_out // groups
    by_tap = weight.transpose(0, 2, 3, 1).reshape(n_out, -1)  # (O, kh * kw * I / groups)
    for g in range(groups):
        inputs = slice(g * per_group, (g + 1) * per_group)
        outputs = slice(g * group_out, (g + 1) * group_out)
        for y in range(0, height, rows):
            n_rows = min(rows, height - y)
            band = columns[:, :, :n_rows]
            for k, view in enumerate(taps):
                band[k] = view[inputs, y : y + n_rows]
            product = matmul(by_tap[outputs], band.reshape(by_tap.shape[1], -1))
            out[outputs, y : y + n_rows] = product.reshape(group_out, n_rows, width, batch)
    return out


def _depthwise(x: Array, weight: Array, geometry: Geometry) -> Array:
    """Grouped convolution with one input channel a group: a sum of scaled, shifted maps."""
    n_out, _, kh, kw = weight.shape
    repeat = n_out // geometry.groups
    out: Array | None = None
    for a, b, view in tap_views(x, (kh, kw), geometry):
        tap = weight[:, 0, a, b]
        if not tap.any():
            continue
        source = view if repeat == 1 else np.repeat(view, repeat, axis=0)
        term = source * tap[:, None, None, None]
        out = term if out is None else np.add(out, term, out=out)
    if out is None:
        height, width = geometry.output_size((x.shape[1], x.shape[2]), (kh, kw))
        out = np.zeros((n_out, height, width, x.shape[3]), dtype=x.dtype)
    return out


def max_pool(x: Array, kernel: tuple[int, int], geometry: Geometry) -> Array:
    """Maximum over windows; padding never wins. x (C, H, W, B)."""
    x = pad(x, geometry.padding, -np.inf)
    out: Array | None = None
    for _, _, view in tap_views(x, kernel, geometry):
        out = view.copy() if out is None else np.maximum(out, view, out=out)
    if out is None:
        raise ValueError("a pool has at least one tap")
    return out
