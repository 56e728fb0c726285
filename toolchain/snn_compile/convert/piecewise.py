"""Piecewise linear approximation of a function: the fewest lines within its payload's resolution.

A function is sampled where it bends, and cut greedily: each line is as long as the tolerance
permits. Piecewise linear functions, with or without jumps, are reproduced exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from snn_compile.convert.curve_samples import (
    EXACT,
    FIRST,
    CurveSamples,
    NoValueError,
    next_step,
    relative_to,
    sampled,
)
from snn_compile.convert.linear import Float
from snn_compile.ir.curve import Curve
from snn_compile.ir.expression import Expression, evaluate, is_uniform, of_channel
from snn_compile.ir.fixedpoint import Int
from snn_compile.numerics.functions import floor_log2

TOLERANCE = 0.375
"""Tolerance of a line, in payload steps. Payload rounding costs half a step, 12-bit slopes an
eighth at most: an activation is within one step of the function."""


def extremes(expression: Expression, low: Float, high: Float) -> tuple[Float, Float]:
    """Smallest (at most 0) and largest (at least 0) value of each channel in a range, (C,).

    From samples, evenly spaced and denser about 0.
    """
    if is_uniform(expression):
        ends, which = _distinct(np.stack([low, high], axis=1))
        least, most = _extremes(expression, ends[:, 0], ends[:, 1])
        return least[which], most[which]
    return _extremes(expression, low, high)


def _extremes(expression: Expression, low: Float, high: Float) -> tuple[Float, Float]:
    even = np.linspace(0.0, 1.0, FIRST)
    about = np.ldexp(1.0, np.arange(-20, 100, 2))
    x = low[:, None] + (high - low)[:, None] * even
    near = np.clip(np.concatenate([-about, about]), low[:, None], high[:, None])
    y = evaluate(expression, np.concatenate([x, near], axis=1))
    known = np.where(np.isfinite(y), y, 0.0)
    return known.min(axis=1, initial=0.0), known.max(axis=1, initial=0.0)


@dataclass(frozen=True)
class _Line:
    """From ``begin`` on: ``value + slope * (x - anchor)``, within ``error`` of the function."""

    begin: float
    anchor: float
    value: float
    slope: float
    error: float


def fit_curve(
    expression: Expression,
    low: Float,
    high: Float,
    step: Float,
    segments: int,
    most: float,
    *,
    relative: bool = False,
    everywhere: bool = True,
) -> Curve:
    """Lines for each channel, at most ``segments``.

    They are fitted on the range of the argument extended by half on either side, as far as the
    function is defined and payloads reach. Beyond, the outer lines are extrapolated.

    Args:
        expression: the function.
        low: smallest argument, (C,).
        high: largest, (C,).
        step: value of one payload step, (C,).
        segments: maximal number of lines per channel.
        most: largest payload, in steps; larger values saturate.
        relative: whether an error beyond the tolerance is distributed in proportion to the
            function, rather than uniformly.
        everywhere: whether the function must be defined on the whole range, because arguments were
            measured there; otherwise undefined parts are left out.

    Raises:
        NoValueError: the function is undefined within the range.
    """
    same = is_uniform(expression)
    if same:  # fewer distinct lines, and channels with unseen arguments follow the others
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    keys = np.stack([*_rounded_ranges(low, high), _rounded_steps(step)], axis=1)
    distinct, index = _distinct(keys)
    owns: list[tuple[Expression, int]] = [(expression, k) for k in range(len(distinct))]
    if not same:
        places: dict[tuple[Expression, int], int] = {}
        index = np.array(
            [
                places.setdefault((of_channel(expression, channel), k), len(places))
                for channel, k in enumerate(index.tolist())
            ]
        )
        owns = list(places)
    rows = []
    for own, k in owns:
        a, b, unit = distinct[k].tolist()
        rows.append(_fitted(own, a, b, unit, segments, most, relative, everywhere))
    return _stacked(rows).of(index.tolist())


def _distinct(rows: Float) -> tuple[Float, Int]:
    """Distinct rows in the order in which they appear first, and which of them each row is."""
    if (rows == rows[:1]).all():
        return rows[:1], np.zeros(len(rows), np.int64)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rows[first[order]], rank[which.ravel()]


def _rounded_ranges(low: Float, high: Float) -> tuple[Float, Float]:
    """Ranges rounded outwards to an eighth, so that channels share their lines."""
    sizes = (high - low, np.abs(low) * 2.0**-20, np.abs(high) * 2.0**-20)
    size = np.maximum(np.max(sizes, axis=0), 2.0**-60)
    grid = np.ldexp(1.0, floor_log2(size) - 3)
    least = np.floor(low / grid) * grid
    return least, np.maximum(np.ceil(high / grid) * grid, least + grid)  # dead channels have only 0


def _rounded_steps(step: Float) -> Float:
    """Steps rounded down to a power of two, or 1.5 times one."""
    power = np.ldexp(1.0, floor_log2(step))
    return np.where(step >= power * 1.5, power * 1.5, power)


@lru_cache(maxsize=1024)
def _fitted(
    expression: Expression,
    low: float,
    high: float,
    step: float,
    segments: int,
    most: float,
    relative: bool,
    everywhere: bool,
) -> tuple[tuple[_Line, ...], float, float]:
    """Lines of one channel, their largest error, and the smallest value."""
    lines: tuple[_Line, ...] | None = None
    tolerance = TOLERANCE * step
    for margin in ((high - low) / 2.0, 0.0):
        samples = sampled(expression, low, high, margin, step, most, everywhere)
        lines = _cut(samples, EXACT * step, segments) or _cut(samples, tolerance, segments)
        if lines is not None:
            break
    if lines is None:
        samples = replace(samples, jumps=samples.jumps[-1:])
        if relative:
            samples = relative_to(samples, most * next_step(step))
    while lines is None:
        tolerance *= 2.0**0.25
        lines = _cut(samples, tolerance, segments)
    return lines, max(line.error for line in lines), float(samples.y.min())


def _cut(samples: CurveSamples, tolerance: float, segments: int) -> tuple[_Line, ...] | None:
    """The fewest lines within the tolerance, or None if more than ``segments``."""
    lines: list[_Line] = []
    start, jumps = 0, iter(samples.jumps)
    end = next(jumps)
    while start < len(samples.x):
        if len(lines) == segments:
            return None
        if start == end:
            end = next(jumps)
        line, start = _longest(samples, start, end, tolerance)
        lines.append(line)
    return tuple(lines)


def _longest(samples: CurveSamples, start: int, end: int, tolerance: float) -> tuple[_Line, int]:
    """The longest line from a sample on, and the start of the next; by doubling and bisection.

    Adjacent lines share a sample, so that none extends beyond its samples.
    """
    good, ahead = start + 1, 2
    while start + ahead <= end and _is_line(samples, start, start + ahead, tolerance):
        good, ahead = start + ahead, ahead * 2
    bad = min(start + ahead, end + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        if _is_line(samples, start, middle, tolerance):
            good = middle
        else:
            bad = middle
    return _line(samples, start, good), good if good == end else good - 1


def _is_line(samples: CurveSamples, start: int, end: int, tolerance: float) -> bool:
    """Whether the line of the samples from start to end is within the tolerance of each."""
    _, rest, above, below = _chord(samples, start, end)
    balance = (above + below) / 2.0
    if max(above - balance, balance - below) > tolerance:  # weights only enlarge it
        return False
    if samples.weight is None:
        return True
    weighted = np.abs(rest - balance) / samples.weight[start:end]
    return float(np.maximum.reduce(weighted)) <= tolerance


def _line(samples: CurveSamples, start: int, end: int) -> _Line:
    """The chord of the samples from start to end, shifted to balance the errors on both sides."""
    slope, _, above, below = _chord(samples, start, end)
    first, last = samples.x.item(start), samples.x.item(end - 1)
    anchor = (first + last) / 2.0
    value = samples.y.item(start) + slope * (anchor - first) + (above + below) / 2.0
    return _Line(first, anchor, value, slope, (above - below) / 2.0)


def _chord(samples: CurveSamples, start: int, end: int) -> tuple[float, Float, float, float]:
    """Slope of the line through the first and the last of some samples.

    With the samples' distances above it, the largest and the smallest.
    """
    x, y = samples.x, samples.y
    first, last, at_first = x.item(start), x.item(end - 1), y.item(start)
    slope = (y.item(end - 1) - at_first) / (last - first) if last > first else 0.0
    rest = x[start:end] - first
    rest *= slope
    rest += at_first
    np.subtract(y[start:end], rest, out=rest)
    return slope, rest, float(np.maximum.reduce(rest)), float(np.minimum.reduce(rest))


def _stacked(rows: Iterable[tuple[tuple[_Line, ...], float, float]]) -> Curve:
    rows = list(rows)
    most = max(len(lines) for lines, _, _ in rows)

    def column(name: str, missing: float | None = None) -> Float:
        found = np.empty((len(rows), most))
        for to, (lines, _, _) in zip(found, rows, strict=True):
            own = [getattr(line, name) for line in lines]
            to[: len(own)] = own
            to[len(own) :] = own[-1] if missing is None else missing
        return found

    return Curve(
        column("begin", np.inf)[:, 1:],
        column("anchor"),
        column("value"),
        column("slope"),
        np.array([error for _, error, _ in rows]),
        np.array([low for _, _, low in rows]),
    )


__all__ = ["NoValueError", "extremes", "fit_curve"]
