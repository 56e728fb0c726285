"""One of several versions of each layer, so that their errors add up to the least within a cost.

The multiple-choice knapsack, solved for every limit at once: the front of a network of n layers is
made from that of the first n - 1 and the versions of the last, without what costs and errs no less
than another (Nemhauser and Ullmann 1969). It is exact for errors and costs that add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

MOST = 1 << 17
"""Points of a front, some 100 layers' worth; of more, those closer than 1 / MOST of the range of
costs count as one, the one with the least error."""


@dataclass(frozen=True, eq=False)
class Front:
    """The choices that no other choice beats.

    Attributes:
        cost: of each, ascending.
        error: of each, descending.
        picks: for each layer, the version of each point; and the point of the front before it.
    """

    cost: Float
    error: Float
    picks: tuple[tuple[Int, Int], ...] = ()

    @staticmethod
    def of(costs: Sequence[Float], errors: Sequence[Float]) -> Front:
        """The front of some layers.

        Args:
            costs: of each layer, that of each of its versions.
            errors: likewise.
        """
        front = Front(np.zeros(1), np.zeros(1))
        for cost, error in zip(costs, errors, strict=True):
            front = front._with(cost, error)
        return front

    def _with(self, costs: Float, errors: Float) -> Front:
        """The front of these layers and one more."""
        cost = np.add.outer(self.cost, costs).ravel()
        error = np.add.outer(self.error, errors).ravel()
        order = np.lexsort((error, cost))
        before = np.minimum.accumulate(error[order])
        better = np.concatenate([[True], error[order[1:]] < before[:-1]])
        kept = _thinned(order[better], cost)
        return Front(cost[kept], error[kept], (*self.picks, np.divmod(kept, len(costs))[::-1]))

    def within(self, limit: float) -> int | None:
        """The point with the least error that costs no more; None if all do."""
        k = int(np.searchsorted(self.cost, limit, side="right")) - 1
        return None if k < 0 else k

    def versions(self, point: int) -> list[int]:
        """The version of each layer at a point."""
        found = []
        for version, before in reversed(self.picks):
            found.append(int(version[point]))
            point = int(before[point])
        return found[::-1]


def _thinned(kept: Int, cost: Float) -> Int:
    """The last point of each of ``MOST`` cells, and the first point of all."""
    if len(kept) <= MOST:
        return kept
    low, high = cost[kept[0]], cost[kept[-1]]
    cell = np.floor((cost[kept] - low) / (high - low) * MOST)
    last = np.concatenate([cell[1:] != cell[:-1], [True]])
    last[0] = True
    thinned: Int = kept[last]
    return thinned
