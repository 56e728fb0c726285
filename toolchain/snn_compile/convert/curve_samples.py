"""Samples of a function, denser where it bends; jumps and poles are located by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.convert.linear import Float
from snn_compile.ir.expression import Expression, evaluate
from snn_compile.ir.fixedpoint import Int
from snn_compile.numerics.functions import ceil_log2, floor_log2

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


def relative_to(samples: CurveSamples, full: float) -> CurveSamples:
    """Samples up to full scale, with proportional errors; uniform below a sixty-fourth of it."""
    size = np.abs(samples.y)
    reached = np.flatnonzero(size <= full)
    kept = slice(max(reached[0] - 1, 0), reached[-1] + 2) if len(reached) else slice(0, len(size))
    x, y = samples.x[kept], samples.y[kept]
    weight = np.clip(size[kept] / full, 2.0**-6, 1.0)
    return CurveSamples(x, y, np.array([len(x)]), weight)


@dataclass(frozen=True, eq=False)
class CurveSamples:
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


def sampled(
    expression: Expression,
    low: float,
    high: float,
    margin: float,
    step: float,
    most: float,
    everywhere: bool,
) -> CurveSamples:
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
        full = most * next_step(step)
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
    return CurveSamples(x, y, jumps)


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


def next_step(step: float) -> float:
    """The next rounded step: that of a channel is below it."""
    power = float(np.ldexp(1.0, floor_log2(np.float64(step))))
    return power * 2.0 if step > power else power * 1.5
