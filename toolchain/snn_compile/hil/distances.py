"""Spike-train distances, for devices that do not claim bit accuracy.

Time is counted in steps. Both distances are 0 for equal trains only, and both have a time scale:
spikes further apart than that are as good as unrelated.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Distances = npt.NDArray[np.float64]


def victor_purpura(
    a: npt.NDArray[np.integer], b: npt.NDArray[np.integer], cost: float = 1.0
) -> Distances:
    """The minimum cost of transforming one train into the other.

    Adding or removing a spike costs 1, moving it by one step ``cost``. With D[i, j] the distance of
    the first i steps of one train from the first j of the other, and one spike a step at most::

        D[i, j] = D[i - 1, j]                                         no spike at step i of a
        D[i, j] = D[i, j - 1]                                         no spike at step j of b
        D[i, j] = min(D[i - 1, j] + 1, D[i, j - 1] + 1,
                      D[i - 1, j - 1] + cost * abs(i - j))            spikes at both

    (Victor and Purpura 1996, "Nature and precision of temporal coding in visual cortex", the metric
    D^spike). Spikes of different sign are not related: positive and negative ones are two trains,
    whose distances add up.

    Args:
        a: (trains, T) integers; only their signs matter.
        b: the same.
        cost: of moving a spike by one step; 0 counts spikes, 2 or more never moves them.

    Returns:
        (trains,) float64.
    """
    return _one_sign(a > 0, b > 0, cost) + _one_sign(a < 0, b < 0, cost)


def _one_sign(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], cost: float) -> Distances:
    n_trains, n_steps = a.shape
    previous = np.concatenate([np.zeros((n_trains, 1)), np.cumsum(b, axis=1)], axis=1)
    for i in range(n_steps):
        row = np.empty_like(previous)
        row[:, 0] = previous[:, 0] + a[:, i]
        for j in range(n_steps):
            moved = previous[:, j] + cost * abs(i - j)
            either = np.minimum(previous[:, j + 1], row[:, j]) + 1
            both = np.minimum(either, moved)
            one = np.where(a[:, i], row[:, j], previous[:, j + 1])  # the step without a spike
            row[:, j + 1] = np.where(a[:, i] & b[:, j], both, one)
        previous = row
    distances: Distances = previous[:, -1]
    return distances


def van_rossum(
    a: npt.NDArray[np.integer], b: npt.NDArray[np.integer], tau: float = 4.0
) -> Distances:
    """The distance of the trains as sums of decaying exponentials, one for each spike.

    ``D**2 = 1/tau * integral of (f - g)**2``, with ``f(t)`` the sum over the spikes at ``t_i <= t``
    of ``exp(-(t - t_i) / tau)`` (van Rossum 2001, "A novel spike distance"). With ``d`` the
    difference of the trains, step by step, that is the double sum::

        D**2 = 1/2 * sum over i, j of d[i] * d[j] * exp(-abs(i - j) / tau)

    Payloads weigh as many spikes at once.

    Args:
        a: (trains, T) integers.
        b: the same.
        tau: time constant, in steps.

    Returns:
        (trains,) float64; a single spike more or less is sqrt(1/2).
    """
    d = a.astype(np.float64) - b.astype(np.float64)
    steps = np.arange(d.shape[1])
    kernel = np.exp(-np.abs(steps[:, None] - steps) / tau)
    squared = np.einsum("ni,ij,nj->n", d, kernel, d, optimize=True) / 2
    distances: Distances = np.sqrt(np.maximum(squared, 0))
    return distances
