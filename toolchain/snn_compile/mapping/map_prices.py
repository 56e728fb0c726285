"""Prices of the outputs of a map: no set is worth more than the sources that it reads.

An output near the border reads fewer sources, so its price is lower. Prices are the dual of
covering the map by sets: a linear program over the sets found so far, and a search for a set that
breaks them, in turn.

Let ``h(c)`` be the rows that the outputs of a set in column ``c`` read. A column of the source is
read by several columns of outputs, and counts the largest ``h`` of (up to three of) these. So a set
needs no fewer sources than their sum, and the most that sets of so many sources are worth follows
by dynamic programming over the columns, with the last two heights as its state. Sets of this
program may have columns that do not fit together, which makes prices lower, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np
import numpy.typing as npt

from snn_compile.mapping.halo import EXACT, Axis

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Trace = Callable[[int], tuple[Float, int]]

ROUNDS = 12
"""Linear programs for a map."""
DEPTH = 3
"""Positions from a border with a price of their own; those further inside have the same."""


def spans(axis: Axis) -> list[tuple[int, int]]:
    """The inputs that each output reads, from a first to before a last."""
    starts = [axis.stride * k - axis.padding for k in range(axis.outputs)]
    found = [(max(0, at), min(axis.inputs, at + axis.taps)) for at in starts]
    return [(first, max(first, last)) for first, last in found]


def _depths(n: int) -> Int:
    """Distances from the border, up to the largest with a price of its own."""
    from_start = np.arange(n)
    return np.minimum(np.minimum(from_start, from_start[::-1]), DEPTH - 1)


@dataclass(frozen=True)
class _Column:
    """What outputs of one column are worth.

    Attributes:
        worth: the most for each height: of sets that read no more rows.
        counts: (heights, DEPTH) how many outputs of each depth such a set has.
    """

    worth: Float
    counts: Float


class Map:
    """Sets of outputs of one channel, and what they read through a full kernel.

    Attributes:
        unit: all numbers of sources are multiples of it.
        heights: numbers of rows that some set of outputs of a column reads, with 0, ascending.
    """

    def __init__(self, rows: Axis, columns: Axis) -> None:
        self.rows, self.columns = spans(rows), spans(columns)
        self.n_rows = rows.inputs
        self.heights = self._heights()
        self.charged = self._charged(columns.inputs)
        each = (
            int(height) * n
            for height in self.heights[1:]
            for ends in self.charged
            for n in ends.values()
        )
        self.unit = reduce(gcd, each, 0) or 1
        self.depths = _depths(len(self.rows)), _depths(len(self.columns))

    def _heights(self) -> Int:
        """Rows of all sets of outputs, by what follows the last one."""
        found = {(k, stop - start) for k, (start, stop) in enumerate(self.rows)}
        left = list(found)
        while left:
            last, height = left.pop()
            for k in range(last + 1, len(self.rows)):
                start, stop = self.rows[k]
                more = k, height + max(0, stop - max(start, self.rows[last][1]))
                if more not in found:
                    found.add(more)
                    left.append(more)
        return np.array(sorted({0} | {height for _, height in found}))

    def _charged(self, n_columns: int) -> list[dict[int, int]]:
        """For each column of outputs the source columns that it reads last, by their first reader.

        The first of the last three readers, as more are not looked at.
        """
        charged: list[dict[int, int]] = [{} for _ in self.columns]
        for x in range(n_columns):
            readers = [c for c, (start, stop) in enumerate(self.columns) if start <= x < stop]
            if readers:
                ends = charged[readers[-1]]
                first = max(readers[0], readers[-1] - 2)
                ends[first] = ends.get(first, 0) + 1
        return charged

    @property
    def sizes(self) -> Float:
        """(DEPTH, DEPTH) how many outputs have each depth."""
        high, wide = (np.bincount(depths, minlength=DEPTH) for depths in self.depths)
        return np.outer(high, wide).astype(np.float64)

    def work(self, budget: int) -> int:
        """Steps of one search."""
        return len(self.heights) ** 3 * (budget + 1) * len(self.columns)

    def boxes(self, budget: int) -> tuple[Float, Float]:
        """Boxes of up to so many units of sources: outputs of each depth (boxes, ...), and units.

        The LP starts with these.
        """
        (high, n_high), (wide, n_wide) = (
            _intervals(each, depths)
            for each, depths in zip((self.rows, self.columns), self.depths, strict=True)
        )
        units = np.outer(n_high, n_wide) / self.unit
        a, b = np.nonzero(units <= budget)
        counts = high[a][:, :, None] * wide[b][:, None, :]
        return counts.reshape(len(a), DEPTH * DEPTH), units[a, b]

    def _column(self, prices: Float) -> _Column:
        """The best sets of a column by their height, given the price of each row."""
        n, most = len(self.rows), self.n_rows
        best = np.full((n, most + 1), -np.inf)
        counts = np.zeros((n, most + 1, DEPTH))
        for k, (start, stop) in enumerate(self.rows):
            own = np.eye(DEPTH)[self.depths[0][k]]
            best[k, stop - start], counts[k, stop - start] = prices[k], own
            for last in range(k):
                more = max(0, stop - max(start, self.rows[last][1]))
                there = best[last, : most + 1 - more] + prices[k]
                is_better = there > best[k, more:]
                best[k, more:][is_better] = there[is_better]
                counts[k, more:][is_better] = counts[last, : most + 1 - more][is_better] + own
        worth, kept = [0.0], [np.zeros(DEPTH)]
        for height in self.heights.tolist():
            k = int(best[:, height].argmax())
            is_better = best[k, height] > worth[-1]
            worth.append(float(best[k, height]) if is_better else worth[-1])
            kept.append(counts[k, height] if is_better else kept[-1])
        return _Column(np.array(worth[1:]), np.array(kept[1:]))

    def search(self, prices: Float, budget: int) -> tuple[Float, Trace]:
        """The most that sets of up to so many units are worth, and such sets.

        Args:
            prices: (DEPTH, DEPTH) of an output, by its depth in rows and in columns.
            budget: units of sources.

        Returns:
            The worth of the best set for 0, 1, ... units; and a function from a number of units to
            the outputs of each depth of that set, and the units that it takes.
        """
        by_depth = [self._column(prices[self.depths[0], depth]) for depth in range(DEPTH)]
        columns = [by_depth[depth] for depth in self.depths[1]]
        n = len(self.heights)
        table = np.full((n, n, budget + 1), -np.inf)
        table[0, 0] = 0.0
        before: list[npt.NDArray[np.int16]] = []
        for at, column in enumerate(columns):
            table, chosen = self._next(table, column, at)
            before.append(chosen)
        flat = table.reshape(n * n, budget + 1)
        last = flat.argmax(axis=0)

        def trace(units: int) -> tuple[Float, int]:
            outputs, left = np.zeros((DEPTH, DEPTH)), units
            previous, height = divmod(int(last[units]), n)
            for c in range(len(columns) - 1, -1, -1):
                outputs[:, self.depths[1][c]] += columns[c].counts[height]
                earlier = int(before[c][previous, height, left])
                left -= int(self._units(c, height)[earlier, previous])
                previous, height = earlier, previous
            return outputs.ravel(), units - left

        return flat.max(axis=0), trace

    def _units(self, column: int, height: int) -> Int:
        """(heights before the last, last heights): what a column adds, if it has this height."""
        n = len(self.heights)
        last = np.maximum(self.heights[height], self.heights[None, :])
        both = np.maximum(last, self.heights[:, None])
        total = np.zeros((n, n), dtype=np.int64)
        for first, times in self.charged[column].items():
            reach = column - first
            total += times * (self.heights[height] if reach == 0 else last if reach == 1 else both)
        return total // self.unit

    def _next(self, table: Float, column: _Column, at: int) -> tuple[Float, npt.NDArray[np.int16]]:
        """The table after one more column, and the height before the last that led there."""
        found = np.full_like(table, -np.inf)
        chosen = np.zeros(table.shape, dtype=np.int16)
        budgets = np.arange(table.shape[2])
        worth = column.worth
        for height in range(len(self.heights)):
            if height and worth[height] <= worth[height - 1]:
                continue
            left = budgets - self._units(at, height)[:, :, None]
            there = np.take_along_axis(table, np.maximum(left, 0), axis=2)
            there[left < 0] = -np.inf
            best = there.argmax(axis=0)
            found[:, height] = np.take_along_axis(there, best[None], axis=0)[0] + worth[height]
            chosen[:, height] = best
        return found, chosen


def _intervals(each: list[tuple[int, int]], depths: Int) -> tuple[Float, Float]:
    """Adjacent outputs on a line: how many of each depth (intervals, DEPTH), and their inputs."""
    found = {
        (*np.bincount(depths[a : b + 1], minlength=DEPTH).tolist(), each[b][1] - each[a][0])
        for a in range(len(each))
        for b in range(a, len(each))
    }
    rows = np.array(sorted(found), dtype=np.float64)
    return rows[:, :DEPTH], np.maximum(rows[:, DEPTH], 0.0)


def prices_of(outputs: Map, budget: int) -> Float | None:
    """Prices with which no set of up to so many units is worth more than these; the best found.

    Returns:
        (DEPTH, DEPTH) units of an output, by its depth in rows and in columns; None where an output
        reads more than the budget.
    """
    from scipy.optimize import linprog  # slow to import

    counts, units = outputs.boxes(budget)
    of_map, best = outputs.sizes.ravel(), None
    highest = 0.0
    for _ in range(ROUNDS if len(units) else 0):
        found = linprog(-of_map, A_ub=counts, b_ub=units, bounds=(0, None), method="highs")
        if not found.success:
            break
        prices = np.maximum(0.0, found.x)
        worth, trace = outputs.search(prices.reshape(DEPTH, DEPTH), budget)
        over = max(1.0, float((worth[1:] / np.arange(1, budget + 1)).max(initial=1.0)))
        if worth[0] <= 0 and (best is None or of_map @ prices / over > highest):
            best, highest = prices / over, of_map @ prices / over
        broken = np.flatnonzero(worth > np.arange(budget + 1) * (1 + EXACT) + EXACT)
        if not broken.size:
            break
        more = [trace(int(n)) for n in broken if n == budget or worth[n + 1] > worth[n]]
        counts = np.vstack([counts, *(each for each, _ in more)])
        units = np.concatenate([units, [taken for _, taken in more]])
    return None if best is None else best.reshape(DEPTH, DEPTH)
