"""Lines in the place of a function: as few as its payload can tell from it.

A function is sampled where it bends, and cut greedily: each line goes as far as one of that
tolerance can. What is linear in pieces already, with or without jumps, comes out as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from snn_compile.convert.linear import Float
from snn_compile.ir.curve import Curve
from snn_compile.ir.expression import Expression, evaluate, is_uniform, of_channel
from snn_compile.ir.fixedpoint import Int
from snn_compile.numerics.functions import ceil_log2, floor_log2

TOLERANCE = 0.375
"""Of a line, in payload steps. Rounding the payload costs half a step, slopes of 12 bits an eighth
at most: an activation is within one step of the function."""
EXACT = 2.0**-12
"""In payload steps, below which a line is the function."""
FIRST, ROUNDS, MAX_SAMPLES = 257, 40, 1 << 14
"""Samples to begin with, how often intervals that bend are halved, and where that ends."""
REACH = 2.0
"""How far beyond the largest payload a function is looked at, as a multiple of it."""
STEEPEST = 2.0**16
"""Largest payloads above which a value is taken for that: a pole is infinite anyway."""
RESOLUTION = 2.0**-30
"""Narrowest interval, relative to the range: what changes within it is a jump."""


class NoValueError(ValueError):
    """A function has no finite value somewhere in the range of its argument."""


def extremes(expression: Expression, low: Float, high: Float) -> tuple[Float, Float]:
    """Smallest (at most 0) and largest (at least 0) value of each channel in a range, (C,).

    As samples show it, evenly spaced ones and such that are dense about 0.
    """
    even = np.linspace(0.0, 1.0, FIRST)
    about = np.ldexp(1.0, np.arange(-20, 100, 2))
    x = low[:, None] + (high - low)[:, None] * even
    near = np.clip(np.concatenate([-about, about]), low[:, None], high[:, None])
    y = evaluate(expression, np.concatenate([x, near], axis=1))
    known = np.where(np.isfinite(y), y, 0.0)
    return known.min(axis=1, initial=0.0), known.max(axis=1, initial=0.0)


@dataclass(frozen=True)
class _Line:
    """From ``begin`` on: ``value + slope * (x - anchor)``, within ``error`` of the function.

    ``weighted`` is the error over the weight that it has where it is.
    """

    begin: float
    anchor: float
    value: float
    slope: float
    error: float
    weighted: float


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
    """Lines for each channel, at most so many.

    They are fitted on the range of the argument and half of it more on either side, as far as the
    function has values there, and payloads reach. Beyond, the outer lines go on.

    Args:
        expression: the function.
        low: smallest argument, (C,).
        high: largest, (C,).
        step: value of one payload step, (C,).
        segments: most lines of a channel.
        most: largest payload, in steps: what exceeds it need not be told apart.
        relative: whether lines that are too few for the tolerance may be off in proportion to the
            function, rather than alike everywhere.
        everywhere: whether the function has to have values all over the range, because it has been
            seen there; else where it has none is left out.

    Raises:
        NoValueError: the function has none within the range.
    """
    same = is_uniform(expression)
    if same:  # few different lines, and channels that are in for a surprise follow the others
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    places: dict[tuple[Expression, tuple[float, float], float], int] = {}
    index = []
    for channel, (a, b, size) in enumerate(zip(low, high, step, strict=True)):
        own = expression if same else of_channel(expression, channel)
        fit = own, _rounded_range(a, b), _rounded_step(size)
        index.append(places.setdefault(fit, len(places)))
    rows = [
        _fitted(own, *ends, unit, segments, most, relative, everywhere)
        for own, ends, unit in places
    ]
    return _stacked(rows).of(index)


def _rounded_range(low: float, high: float) -> tuple[float, float]:
    """A range of few different values, so that channels share their lines: to an eighth."""
    size = max(high - low, abs(low) * 2.0**-20, abs(high) * 2.0**-20, 2.0**-60)
    grid = float(2.0 ** (floor_log2(size) - 3))
    least = float(np.floor(low / grid) * grid)
    return least, max(float(np.ceil(high / grid) * grid), least + grid)  # dead channels see only 0


def _rounded_step(step: float) -> float:
    """A power of two below, or one and a half times it."""
    power = float(2.0 ** floor_log2(step))
    return power * 1.5 if step >= power * 1.5 else power


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
        samples = _samples(expression, low, high, margin, step, most, everywhere)
        lines = _cut(samples, EXACT * step, segments) or _cut(samples, tolerance, segments)
        if lines is not None:
            break
    if lines is None:
        samples = replace(samples, jumps=samples.jumps[-1:])
        if relative:
            samples = _relative(samples, most * step)
    while lines is None:
        tolerance *= 2.0**0.25
        lines = _cut(samples, tolerance, segments)
    return lines, max(line.error for line in lines), float(samples.y.min())


def _relative(samples: _Samples, full: float) -> _Samples:
    """Samples up to full scale, with errors in proportion; alike from a sixty-fourth of it down."""
    size = np.abs(samples.y)
    reached = np.flatnonzero(size <= full)
    kept = slice(reached[0], reached[-1] + 1) if len(reached) > 1 else slice(0, len(size))
    x, y = samples.x[kept], samples.y[kept]
    weight = np.clip(size[kept] / full, 2.0**-6, 1.0)
    return _Samples(x, y, np.array([len(x)]), weight)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Of a function.

    Attributes:
        x: arguments, ascending.
        y: values.
        jumps: samples at which the function has jumped, ascending; at last the number of samples.
        weight: of an error at each sample, 1 being the usual one: the more, the less it counts.
    """

    x: Float
    y: Float
    jumps: Int
    weight: Float


def _samples(
    expression: Expression,
    low: float,
    high: float,
    margin: float,
    step: float,
    most: float,
    everywhere: bool,
) -> _Samples:
    """Arguments and values, the denser the more the function bends there."""

    def values(x: Float) -> Float:
        found: Float = evaluate(expression, x[None])[0]
        limit = STEEPEST * most * step
        finite = np.isfinite(found)
        return np.where(finite, np.clip(found, -limit, limit), found)

    x = np.linspace(low - margin, high + margin, FIRST)
    if not np.isfinite(values(x)).all():
        x = np.linspace(low, high, FIRST)
        known = np.isfinite(values(x))
        inner = (
            np.abs(x - (low + high) / 2.0) <= (high - low) * 0.375
        )  # ranges are rounded outwards
        x = x[known]
        if not len(x) or (everywhere and not known[inner].all()):
            raise NoValueError(f"no finite value everywhere from {low:.6g} to {high:.6g}")
    y = values(x)
    reached = np.flatnonzero(np.abs(y) <= REACH * most * step)
    if len(reached):  # what lies beyond at either end saturates
        kept = slice(max(reached[0] - 1, 0), reached[-1] + 2)
        x, y = x[kept], y[kept]
    narrowest = (x[-1] - x[0]) * RESOLUTION
    for _ in range(ROUNDS):
        middle = (x[:-1] + x[1:]) / 2.0
        between = values(middle)
        bends = np.abs(between - (y[:-1] + y[1:]) / 2.0) > EXACT / 4.0 * step
        bends |= _turning(x, y, EXACT / 4.0 * step)
        bends &= (np.diff(x) > narrowest) & np.isfinite(between)
        if not bends.any() or len(x) > MAX_SAMPLES:
            break
        x, y = _merged(x, y, middle[bends], between[bends])
    at = np.array([_simplest(x[i], x[i + 1]) for i in _jumps(x, y, narrowest, step)])
    if len(at):
        x, y = _merged(x, y, at, values(at))
    jumps = np.append(_jumps(x, y, narrowest, step) + 1, len(x))
    return _Samples(x, y, jumps, np.ones(len(x)))


def _jumps(x: Float, y: Float, narrowest: float, step: float) -> Int:
    """Intervals that are too narrow for what happens in them."""
    found: Int = np.flatnonzero((np.diff(x) <= narrowest) & (np.abs(np.diff(y)) > EXACT * step))
    return found


def _merged(x: Float, y: Float, more: Float, values: Float) -> tuple[Float, Float]:
    """Samples in the order of their arguments, each of these once."""
    x, first = np.unique(np.concatenate([x, more]), return_index=True)
    return x, np.concatenate([y, values])[first]


def _simplest(low: np.floating, high: np.floating) -> float:
    """The number of the fewest bits in an interval: where a jump is, rather than next to it."""
    if low <= 0.0 <= high:
        return 0.0
    grid = 2.0 ** float(ceil_log2(max(abs(low), abs(high))))
    while np.ceil(low / grid) * grid > high:
        grid /= 2.0
    return float(np.ceil(low / grid) * grid)


def _turning(x: Float, y: Float, tolerance: float) -> npt.NDArray[np.bool_]:
    """Intervals beside a point that lies off the line between its neighbours."""
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    off = np.abs(y[1:-1] - (y[:-2] + share * (y[2:] - y[:-2]))) > tolerance
    beside: npt.NDArray[np.bool_] = np.append(off, False) | np.insert(off, 0, False)
    return beside


def _cut(samples: _Samples, tolerance: float, segments: int) -> tuple[_Line, ...] | None:
    """The fewest lines that the tolerance allows, or None if there are more than so many."""
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


def _longest(samples: _Samples, start: int, end: int, tolerance: float) -> tuple[_Line, int]:
    """The longest line from a sample on, and where the next begins; by doubling and halving.

    Lines share the sample between them, so that none goes on to where it has not been looked at.
    """
    good, ahead = start + 1, 2
    best = _line(samples, start, good)
    while (
        start + ahead <= end
        and (line := _line(samples, start, start + ahead)).weighted <= tolerance
    ):
        good, ahead, best = start + ahead, ahead * 2, line
    bad = min(start + ahead, end + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        line = _line(samples, start, middle)
        if line.weighted <= tolerance:
            good, best = middle, line
        else:
            bad = middle
    return best, good if good == end else good - 1


def _line(samples: _Samples, start: int, end: int) -> _Line:
    """The chord of the samples from start to end, moved to the middle of what lies about it."""
    x, y = samples.x[start:end], samples.y[start:end]
    first, last = float(x[0]), float(x[-1])
    slope = float(y[-1] - y[0]) / (last - first) if last > first else 0.0
    rest = y - (y[0] + slope * (x - first))
    above, below = float(rest.max()), float(rest.min())
    anchor = (first + last) / 2.0
    value = float(y[0]) + slope * (anchor - first) + (above + below) / 2.0
    error = (above - below) / 2.0
    weighted = float((np.abs(rest - (above + below) / 2.0) / samples.weight[start:end]).max())
    return _Line(first, anchor, value, slope, error, weighted)


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
