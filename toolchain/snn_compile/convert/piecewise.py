"""Piecewise linear approximation of a function: the fewest lines within its payload's resolution.

A function is sampled where it bends, and cut greedily: each line is as long as the tolerance
permits. Piecewise linear functions, with or without jumps, are reproduced exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
"""Tolerance of a line, in payload steps. Payload rounding costs half a step, 12-bit slopes an
eighth at most: an activation is within one step of the function."""
EXACT = 2.0**-12
"""Error in payload steps below which a line counts as exact."""
FIRST, ROUNDS, MAX_SAMPLES = 257, 40, 1 << 14
"""Initial samples, maximal number of bisections of curved intervals, and maximal samples."""
REACH = 2.0
"""Range in which a function is sampled, as a multiple of the largest payload."""
STEEPEST = 2.0**16
"""Bound of values, in largest payloads: a pole is infinite anyway."""
RESOLUTION = 2.0**-30
"""Narrowest interval, relative to the range: a change within it is a jump."""


class NoValueError(ValueError):
    """A function has no finite value somewhere in the range of its argument."""


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


def _next_step(step: float) -> float:
    """The next rounded step: that of a channel is below it."""
    power = float(np.ldexp(1.0, floor_log2(np.float64(step))))
    return power * 2.0 if step > power else power * 1.5


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
            samples = _relative(samples, most * _next_step(step))
    while lines is None:
        tolerance *= 2.0**0.25
        lines = _cut(samples, tolerance, segments)
    return lines, max(line.error for line in lines), float(samples.y.min())


def _relative(samples: _Samples, full: float) -> _Samples:
    """Samples up to full scale, with proportional errors; uniform below a sixty-fourth of it."""
    size = np.abs(samples.y)
    reached = np.flatnonzero(size <= full)
    kept = slice(max(reached[0] - 1, 0), reached[-1] + 2) if len(reached) else slice(0, len(size))
    x, y = samples.x[kept], samples.y[kept]
    weight = np.clip(size[kept] / full, 2.0**-6, 1.0)
    return _Samples(x, y, np.array([len(x)]), weight)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Samples of a function.

    Attributes:
        x: arguments, ascending.
        y: values.
        jumps: samples behind a jump, ascending; ends with the number of samples.
        weight: divisor of the error at each sample, at most 1; None for 1 everywhere.
    """

    x: Float
    y: Float
    jumps: Int
    weight: Float | None = None


def _samples(
    expression: Expression,
    low: float,
    high: float,
    margin: float,
    step: float,
    most: float,
    everywhere: bool,
) -> _Samples:
    """Arguments and values, denser where the function is more curved."""

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
        if not known.any() or (everywhere and not known[inner].all()):
            raise NoValueError(f"no finite value everywhere from {low:.6g} to {high:.6g}")
        first, last = np.flatnonzero(known)[[0, -1]]
        full = most * _next_step(step)
        left = _to_the_end(values, x[first], x[max(first - 1, 0)], full)
        right = _to_the_end(values, x[last], x[min(last + 1, FIRST - 1)], full)
        x = np.concatenate([left[::-1], x[known], right])
    y = values(x)
    reached = np.flatnonzero(np.abs(y) <= REACH * most * step)
    if len(reached):  # values beyond either end saturate
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
    return _Samples(x, y, jumps)


def _to_the_end(
    values: Callable[[Float], Float], inside: float, outside: float, full: float
) -> Float:
    """Arguments from one with a value to where the function ends, by bisection.

    At a pole, as far as payloads reach.
    """
    found = []
    for _ in range(ROUNDS):
        middle = (inside + outside) / 2.0
        (value,) = values(np.array([middle]))
        if not np.isfinite(value):
            outside = middle
        elif middle in (inside, outside):
            break
        else:
            found.append(middle)
            inside = middle
            if abs(value) >= full:
                break
    return np.array(found)


def _jumps(x: Float, y: Float, narrowest: float, step: float) -> Int:
    """Intervals too narrow for the change of the function within them: jumps."""
    found: Int = np.flatnonzero((np.diff(x) <= narrowest) & (np.abs(np.diff(y)) > EXACT * step))
    return found


def _merged(x: Float, y: Float, more: Float, values: Float) -> tuple[Float, Float]:
    """Samples ordered by argument, without duplicates."""
    x, first = np.unique(np.concatenate([x, more]), return_index=True)
    return x, np.concatenate([y, values])[first]


def _simplest(low: np.floating, high: np.floating) -> float:
    """The number with the fewest bits in an interval: the likely position of a jump."""
    if low <= 0.0 <= high:
        return 0.0
    grid = 2.0 ** float(ceil_log2(max(abs(low), abs(high))))
    while np.ceil(low / grid) * grid > high:
        grid /= 2.0
    return float(np.ceil(low / grid) * grid)


def _turning(x: Float, y: Float, tolerance: float) -> npt.NDArray[np.bool_]:
    """Intervals adjacent to a point off the line between its neighbours."""
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    off = np.abs(y[1:-1] - (y[:-2] + share * (y[2:] - y[:-2]))) > tolerance
    beside: npt.NDArray[np.bool_] = np.append(off, False) | np.insert(off, 0, False)
    return beside


def _cut(samples: _Samples, tolerance: float, segments: int) -> tuple[_Line, ...] | None:
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


def _longest(samples: _Samples, start: int, end: int, tolerance: float) -> tuple[_Line, int]:
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


def _is_line(samples: _Samples, start: int, end: int, tolerance: float) -> bool:
    """Whether the line of the samples from start to end is within the tolerance of each."""
    _, rest, above, below = _chord(samples, start, end)
    balance = (above + below) / 2.0
    if max(above - balance, balance - below) > tolerance:  # weights only enlarge it
        return False
    if samples.weight is None:
        return True
    weighted = np.abs(rest - balance) / samples.weight[start:end]
    return float(np.maximum.reduce(weighted)) <= tolerance


def _line(samples: _Samples, start: int, end: int) -> _Line:
    """The chord of the samples from start to end, shifted to balance the errors on both sides."""
    slope, _, above, below = _chord(samples, start, end)
    first, last = samples.x.item(start), samples.x.item(end - 1)
    anchor = (first + last) / 2.0
    value = samples.y.item(start) + slope * (anchor - first) + (above + below) / 2.0
    return _Line(first, anchor, value, slope, (above - below) / 2.0)


def _chord(samples: _Samples, start: int, end: int) -> tuple[float, Float, float, float]:
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
