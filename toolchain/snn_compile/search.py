"""The smallest number that keeps a promise: time steps, payload bits, weight bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def smallest(candidates: Sequence[int], keeps: Callable[[int], bool]) -> int | None:
    """The smallest candidate that keeps the promise, found with few trials.

    Trials go up in steps that double, and then halve the gap between the last that broke the
    promise and the first that kept it. A promise that is kept by one number and broken by a larger
    one (losses are measured on samples and are a little noisy) may hide a smaller number that keeps
    it; what is returned has kept it.

    Args:
        candidates: in ascending order.
        keeps: whether a candidate keeps the promise; called at most once for each.

    Returns:
        None if no candidate that was tried keeps it, the largest one among them.
    """
    broken, kept = -1, None
    index, step = 0, 1
    while kept is None:
        index = min(index, len(candidates) - 1)
        if keeps(candidates[index]):
            kept = index
        elif index == len(candidates) - 1:
            return None
        else:
            broken = index
            index, step = index + step, 2 * step
    while kept - broken > 1:
        middle = (kept + broken) // 2
        if keeps(candidates[middle]):
            kept = middle
        else:
            broken = middle
    return candidates[kept]
