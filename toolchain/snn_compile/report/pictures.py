"""What the outputs of a few samples look like: small images of maps, points of vectors.

They are part of ``report.json``, so that its page can be written again; images are PNG data URIs.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.samples.rows import Array, Rows

N_SAMPLES, MAX_SIDE, MAX_POINTS = 3, 80, 300
"""Samples whose maps are shown, pixels of a side, and points of a scatter plot."""
_HUES = (0.58, 0.08, 0.33, 0.95, 0.75, 0.15, 0.48)
"""Of the classes after the first, which is dark: neighbours in the circle are far apart."""


def pictures(expected: Expected, x: Rows, first: Rows, fixed: Rows) -> dict[str, Any]:
    """The entries ``samples`` or ``scatter`` of an output in ``report.json``; empty for classes.

    Args:
        expected: of the output.
        x: (N, *input shape) real inputs.
        first: (N, ...) answers of the first stage, as ``metrics.answers`` returns them.
        fixed: those of the network in fixed point.
    """
    if expected.kind is OutputKind.CLASSES:
        return {}
    if len(first.shape) == 1 or not _is_map(first.shape[1:]):
        return {"scatter": scatter(first, fixed)} if _is_real(expected) else {}
    show = _values if _is_real(expected) else _labels
    x, first, fixed = (rows[:N_SAMPLES] for rows in (x, first, fixed))
    samples = []
    for index in range(len(x)):
        entry: dict[str, Any] = {"sample": index}
        if _is_map(x.shape[1:]):
            entry["input"] = data_uri(grey(_plane(x[index])))
        samples.append({**entry, **show(expected, _plane(first[index]), _plane(fixed[index]))})
    return {"samples": samples}


def picture(x: Array) -> str:
    """A small image of a sample as a data URI; empty for one without extent.

    Spikes in time and place, (T, C, H, W), are added up over time; what has no height and width is
    a strip with a field for each value.
    """
    values = np.asarray(x, np.float64)
    if values.ndim == 4:
        values = values.sum(axis=0)
    if not values.size or not np.isfinite(values).all():
        return ""
    if not _is_map(values.shape):
        flat = values.reshape(-1)[: MAX_SIDE * MAX_SIDE]
        wide = min(MAX_SIDE, len(flat))
        values = np.pad(flat, (0, -len(flat) % wide)).reshape(-1, wide)
        return data_uri(grey(values))
    return data_uri(grey(_plane(values)))


def scatter(first: Rows, fixed: Rows) -> list[list[float]]:
    """Pairs of values of the first stage and of the fixed-point network, evenly chosen."""
    each = prod(first.shape[1:])
    chosen = np.unique(np.linspace(0, len(first) * each - 1, MAX_POINTS).astype(np.int64))
    places = [divmod(int(place), each) for place in chosen]
    return [
        [float(f"{rows[row : row + 1].reshape(-1)[k]:.5g}") for rows in (first, fixed)]
        for row, k in places
    ]


def grey(values: Array, low: float | None = None, high: float | None = None) -> Array:
    """Values (H, W) or (H, W, 3) as bytes: black is the lowest, white the highest."""
    low = float(values.min()) if low is None else low
    span = (float(values.max()) if high is None else high) - low
    shades = np.clip((values - low) / (span or 1.0), 0, 1)
    return np.asarray(np.rint(255 * shades), np.uint8)


def data_uri(pixels: Array) -> str:
    """A PNG of bytes (H, W) in grey or (H, W, 3) in colour, as a data URI."""
    height, width = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    rows = pixels.reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # no row is filtered
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    encoded = base64.b64encode(b"\x89PNG\r\n\x1a\n" + content).decode("ascii")
    return f"data:image/png;base64,{encoded}"


def _is_real(expected: Expected) -> bool:
    return expected.kind is OutputKind.REGRESSION


def _is_map(shape: Sequence[int]) -> bool:
    """Whether values have a height and a width: (H, W), or channels before them."""
    return len(shape) in (2, 3) and min(shape[-2:]) > 1


def _plane(values: Array) -> Array:
    """A map (H, W), or (H, W, 3) of three channels, thinned out; of others the first channel."""
    if values.ndim == 3:
        values = np.moveaxis(values, 0, -1) if len(values) == 3 else values[0]
    step = -(-max(values.shape[:2]) // MAX_SIDE)
    return values[::step, ::step]


def _values(expected: Expected, first: Array, fixed: Array) -> dict[str, Any]:
    low, high = float(first.min()), float(first.max())
    difference = np.abs(fixed - first)
    if difference.ndim == 3:
        difference = difference.max(axis=2)
    return {
        "onnx": data_uri(grey(first, low, high)),
        "fixed": data_uri(grey(fixed, low, high)),
        "difference": data_uri(grey(difference, 0.0)),
        "largest": float(difference.max()),
    }


def _labels(expected: Expected, first: Array, fixed: Array) -> dict[str, Any]:
    colours = _colours(expected.n_classes)
    differs = first != fixed
    return {
        "onnx": data_uri(colours[first]),
        "fixed": data_uri(colours[fixed]),
        "difference": data_uri(np.asarray(255 * differs, np.uint8)),
        "differing": int(differs.sum()),
        "of": int(differs.size),
    }


def _colours(n: int) -> Array:
    """Colours (n, 3) of classes; the first is dark, and later rounds of hues are paler."""
    found = [(40, 44, 52)]
    for index in range(n - 1):
        round_, hue = divmod(index, len(_HUES))
        found.append(_colour(_HUES[hue], 0.75 / (1 + round_ / 2)))
    return np.array(found[:n], np.uint8)


def _colour(hue: float, saturation: float) -> tuple[int, int, int]:
    from colorsys import hls_to_rgb

    red, green, blue = hls_to_rgb(hue, 0.6, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)
