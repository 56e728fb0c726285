"""Convolution and pooling against loops, and the type in which integer sums are exact."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from snn_compile.ir.geometry import Geometry
from snn_compile.sim import kernels


def padded(x, padding, value):
    """(C, H, W) with a border by definition: crop first, then pad."""
    top, left, bottom, right = padding
    _, h, w = x.shape
    x = x[:, max(-top, 0) : h - max(-bottom, 0), max(-left, 0) : w - max(-right, 0)]
    widths = [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))]
    return np.pad(x, [(0, 0), *widths], constant_values=value)


def naive(x, weight, geometry):
    n_out, per_group, kh, kw = weight.shape
    x = padded(x, geometry.padding, 0)
    (sy, sx), (dy, dx) = geometry.stride, geometry.dilation
    height = (x.shape[1] - dy * (kh - 1) - 1) // sy + 1
    width = (x.shape[2] - dx * (kw - 1) - 1) // sx + 1
    y = np.zeros((n_out, height, width))
    for o, r, c in product(range(n_out), range(height), range(width)):
        group = o // (n_out // geometry.groups)
        for i, a, b in product(range(per_group), range(kh), range(kw)):
            value = x[group * per_group + i, r * sy + a * dy, c * sx + b * dx]
            y[o, r, c] += weight[o, i, a, b] * value
    return y


GEOMETRIES = [
    (4, 6, (3, 3), Geometry()),
    (4, 6, (3, 3), Geometry(padding=(1, 1, 1, 1))),
    (4, 6, (1, 1), Geometry()),
    (4, 6, (1, 1), Geometry(stride=(2, 3))),
    (4, 5, (2, 3), Geometry(stride=(2, 1), padding=(0, 2, 1, 0))),
    (4, 5, (2, 3), Geometry(dilation=(3, 2), padding=(2, 1, 0, 3))),
    (4, 6, (3, 3), Geometry(groups=2, padding=(1, 0, 1, 0))),
    (4, 4, (3, 3), Geometry(groups=4, padding=(1, 1, 1, 1))),
    (4, 8, (3, 2), Geometry(groups=4, stride=(2, 2))),  # depthwise with a multiplier
    (4, 12, (2, 2), Geometry(groups=4, dilation=(2, 1), padding=(0, 1, 2, 0))),
    (4, 6, (2, 2), Geometry(padding=(-1, 0, 0, -2))),
    (4, 6, (2, 2), Geometry(padding=(-1, 2, 1, -1), stride=(2, 1))),
    (4, 4, (2, 2), Geometry(padding=(1, -1, -2, 1), groups=4)),
    (1, 3, (3, 3), Geometry(padding=(1, 1, 1, 1))),
]


@pytest.mark.parametrize(("n_in", "n_out", "kernel", "geometry"), GEOMETRIES)
@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_conv2d_equals_the_loop(monkeypatch, n_in, n_out, kernel, geometry, rows):
    random = np.random.default_rng(0)
    x = random.integers(-99, 100, (n_in, 8, 9, 3)).astype(np.float64)
    weight = random.integers(-128, 128, (n_out, n_in // geometry.groups, *kernel)).astype(
        np.float64
    )
    if rows < 1000:  # bands of so many rows
        width = geometry.output_size((8, 9), kernel)[1]
        row_bytes = weight[0].size * width * 3 * 8
        monkeypatch.setattr(kernels, "COLUMN_BYTES", rows * row_bytes)
    y = kernels.conv2d(x, weight, geometry)
    assert y.shape == (n_out, *geometry.output_size((8, 9), kernel), 3)
    for b in range(3):
        np.testing.assert_array_equal(y[..., b], naive(x[..., b], weight, geometry))
    assert y.dtype == np.float64
    assert kernels.conv2d(x.astype(np.float32), weight, geometry).dtype == np.float32


@pytest.mark.parametrize(("n_in", "n_out", "kernel", "geometry"), GEOMETRIES)
def test_a_bias_is_added_to_every_pixel(n_in, n_out, kernel, geometry):
    random = np.random.default_rng(0)
    x = random.integers(-9, 10, (n_in, 8, 9, 3)).astype(np.float32)
    weight = random.integers(-9, 10, (n_out, n_in // geometry.groups, *kernel)).astype(np.float32)
    bias = random.integers(-9, 10, n_out).astype(np.float64)
    y = kernels.conv2d(x, weight, geometry, bias)
    expected = kernels.conv2d(x, weight, geometry) + bias[:, None, None, None]
    np.testing.assert_array_equal(y, expected)
    assert y.dtype == np.float32


@pytest.mark.parametrize(("limit", "n_parts"), [(10**9, 1), (10**5, 2), (10**4, 1)])
def test_the_parts_of_a_row_are_multiplied_alike(monkeypatch, limit, n_parts):
    random = np.random.default_rng(0)
    x = random.integers(-9, 10, (4, 6, 8, 32)).astype(np.float32)
    weight = random.integers(-9, 10, (16, 4, 3, 3)).astype(np.float32)
    geometry = Geometry(padding=(1, 1, 1, 1), stride=(2, 1))
    expected = kernels.conv2d(x.astype(np.float64), weight.astype(np.float64), geometry)
    monkeypatch.setattr(kernels, "SMALL_PRODUCT", limit)
    assert kernels._n_parts(8 * 32, weight.size) == n_parts
    np.testing.assert_array_equal(kernels.conv2d(x, weight, geometry), expected)


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 2, 0, 1)])
def test_depthwise_without_any_weight_is_zero(padding):
    geometry = Geometry(groups=3, stride=(2, 1), padding=padding)
    y = kernels.conv2d(np.ones((3, 5, 5, 2)), np.zeros((3, 1, 2, 2)), geometry)
    assert y.shape == (3, *geometry.output_size((5, 5), (2, 2)), 2)
    assert not y.any()


@pytest.mark.parametrize(
    ("kernel", "geometry"),
    [
        ((2, 2), Geometry(stride=(2, 2))),
        ((3, 3), Geometry(stride=(2, 2), padding=(1, 1, 1, 1))),
        ((3, 2), Geometry(stride=(1, 2), padding=(0, 0, 2, 1))),
        ((2, 2), Geometry(dilation=(2, 3))),
    ],
)
def test_max_pool_equals_the_loop(kernel, geometry):
    x = np.random.default_rng(0).normal(size=(3, 7, 8, 2)) - 3  # padding with 0 would win
    y = kernels.max_pool(x, kernel, geometry)
    (sy, sx), (dy, dx) = geometry.stride, geometry.dilation
    for b in range(2):
        p = padded(x[..., b], geometry.padding, -np.inf)
        for c, r, k in product(*(range(n) for n in y.shape[:3])):
            taps = product(range(kernel[0]), range(kernel[1]))
            window = [p[c, r * sy + i * dy, k * sx + j * dx] for i, j in taps]
            assert y[c, r, k, b] == max(window)


def test_kernels_do_not_change_their_input():
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 2))
    before = x.copy()
    kernels.conv2d(x, np.ones((3, 1, 2, 2)), Geometry(groups=3))
    kernels.conv2d(x, np.ones((2, 3, 1, 1)), Geometry())
    kernels.max_pool(x, (1, 1), Geometry())
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("bound", "dtype"),
    [
        (0, np.float32),
        ((1 << 24) - 1, np.float32),
        (1 << 24, np.float64),
        ((1 << 53) - 1, np.float64),
    ],
)
def test_exact_dtype(bound, dtype):
    assert kernels.exact_dtype(bound) is dtype
    assert int(dtype(bound)) == bound
    assert int(dtype(-bound)) == -bound


def test_no_float_is_exact_beyond_53_bits():
    with pytest.raises(OverflowError, match="not exact in float64"):
        kernels.exact_dtype(1 << 53)


def test_float32_sums_at_the_bound_are_exact_in_any_order():
    """255 * 127 * 518 < 2**24: the largest fan-in for 8 by 8 bits in float32."""
    n = ((1 << 24) - 1) // (255 * 127)
    assert kernels.exact_dtype(n * 255 * 127) is np.float32
    x = np.full((n, 4), 255, np.float32)
    weight = np.full((3, n), 127, np.float32)
    assert (weight @ x == n * 255 * 127).all()
