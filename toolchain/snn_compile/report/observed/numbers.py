"""Where a layer's integers lie on their grids, and what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import Population, QuantizedGraph, Synapses
from snn_compile.mapping.counts import counts_of

BINS = 32
"""Most bins of a histogram."""
_WIDE = 64
"""Ratio of two thresholds beyond which the scale is logarithmic."""
_PIECE = 1 << 20
"""Weights that are counted at once: counting takes eight bytes for each."""


def layer_numbers(program: QuantizedGraph, population: Population) -> dict[str, Any]:
    """Entries of a layer in ``report.json``: sources, largest fan-in, histograms.

    A relay has no histograms: it carries the values of another layer, by weights of 1.
    """
    groups = program.synapses_into(population)
    found: dict[str, Any] = {
        "sources": list(dict.fromkeys(str(group.inputs[0]) for group in groups)),
        "fan_in": largest_fan_in(program, groups),
    }
    if population.relay:
        return found
    if groups:
        found["weights_histogram"] = weights_histogram(groups)
    steps = population.threshold_steps
    if steps is not None and steps.size:
        found["thresholds_histogram"] = thresholds_histogram(steps)
    return found


def largest_fan_in(program: QuantizedGraph, groups: Sequence[Synapses]) -> int:
    """Most synapses other than 0 onto a neuron, over all groups that reach it."""
    shapes = [program.graph[group.inputs[0]].shape for group in groups]
    each = (counts_of(group, shape).fan_in() for group, shape in zip(groups, shapes, strict=True))
    total = sum(each, start=np.zeros((), np.int64))
    return int(np.max(total, initial=0))


def weights_histogram(groups: Sequence[Synapses]) -> dict[str, Any]:
    """All weights of a layer on the levels of its widest ones."""
    low = min(group.weight.format.min for group in groups)
    high = max(group.weight.format.max for group in groups)
    counts = np.zeros(high - low + 1, np.int64)
    for group in groups:
        values = group.weight.values.reshape(-1)
        for start in range(0, values.size, _PIECE):
            counts += np.bincount(values[start : start + _PIECE] - low, minlength=counts.size)
    return on_levels(counts, low)


def thresholds_histogram(steps: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Thresholds of the channels, in steps of the potential.

    Channels that hardly ever fire have thresholds far above the others: then their logarithms.
    """
    scale = {}
    if steps.min() > 0 and steps.max() > _WIDE * steps.min():
        steps, scale = np.log2(steps), {"log2": True}
    low, high = float(steps.min()), float(steps.max())
    n = min(BINS // 2, len(np.unique(steps)))
    width = (high - low) / n if high > low else 1.0
    places = np.minimum(((steps - low) / width).astype(np.int64), n - 1)
    counts = np.bincount(places, minlength=n).tolist()
    return {"low": low, "width": width, "counts": counts, **scale}


def on_levels(counts: Int, low: int) -> dict[str, Any]:
    """A histogram from the count of each level from ``low`` on, neighbours together."""
    width = -(-len(counts) // BINS)
    padded = np.pad(counts, (0, -len(counts) % width))
    return {
        "low": float(low),
        "width": float(width),
        "counts": padded.reshape(-1, width).sum(axis=1).tolist(),
    }
