"""What a point will cost, as far as its options alone tell: the order in which points run.

A prediction compares points of one model, and is no estimate of a cost. It counts the messages
that a neuron sends in an inference if its activation has every value equally often: one payload,
as many spikes as the value, or as many as the value has binary digits that are 1. Energy follows
the messages, cores follow the bits of a weight, steps and latency follow the window.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snn_compile.codings import Coding
from snn_compile.options.kinds import AUTO
from snn_compile.sweep.points import Point

MAX_WEIGHT_BITS = 8


def predict(point: Point, figure: str) -> tuple[float, ...]:
    """The cost of a point in a figure, and in others where that is equal; less is cheaper."""
    messages, window = _messages(point.coding), _window(point.coding)
    bits = _weight_bits(point)
    energy, cores, time = (messages, bits, window), (bits, window, messages), (window, messages)
    return {"energy": energy, "cores": cores}.get(figure, (*time, bits))


def in_order(points: list[Point], figure: str) -> list[Point]:
    """Points from the cheapest to the dearest; equal ones in the order of the grid."""
    return sorted(points, key=lambda point: predict(point, figure))


def _messages(coding: Coding | None) -> float:
    """Messages of a neuron in an inference."""
    if coding is None or coding.payloads:
        return 1.0
    values = np.arange(coding.levels + 1)
    counts = None if coding.schedule is None else coding.schedule.spikes
    sent = values if counts is None else counts(values)
    return float(np.minimum(sent, coding.window.n_steps).mean())


def _window(coding: Coding | None) -> float:
    return 1.0 if coding is None else float(coding.window.n_steps)


def _weight_bits(point: Point) -> float:
    bits: Any = point.options.weight_bits
    return float(MAX_WEIGHT_BITS if bits == AUTO else bits)
