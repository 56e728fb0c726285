"""Paired comparison of two conversions on the same images: difference, interval, equivalence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

BOUND = 0.5
"""Points of accuracy: a difference within ±BOUND counts as none. Fixed before any run."""
LEVEL = 0.05
"""Of every test, after Holm's correction."""


@dataclass(frozen=True)
class Difference:
    """Accuracy of one conversion minus that of another, in points.

    Attributes:
        mean: over images, each with its mean over the seeds.
        low, high: 95 % confidence interval (Student's t, over images).
        p: of no difference, two-sided.
        p_beyond: of a difference beyond the bound: the larger of two one-sided tests (TOST).
    """

    mean: float
    low: float
    high: float
    p: float
    p_beyond: float


def difference(ours: np.ndarray, theirs: np.ndarray, bound: float = BOUND) -> Difference:
    """Compare right answers (seeds, images) of two conversions on the same images.

    An image is the unit: its answers under several draws of the input's spikes are averaged first,
    so that seeds reduce the noise of an image and do not pass for more images.
    """
    each = 100.0 * (ours.mean(axis=0) - theirs.mean(axis=0))
    mean, free = float(each.mean()), len(each) - 1
    error = float(each.std(ddof=1)) / np.sqrt(len(each))
    if error == 0:
        # All images alike: if a share of BOUND differed, that many would rarely show none.
        p_beyond = (1 - bound / 100) ** len(each) if mean == 0 else 1.0
        return Difference(mean, mean, mean, float(mean == 0), p_beyond)
    width = float(stats.t.ppf(0.975, free)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, free))
    p_beyond = float(stats.t.sf((bound - abs(mean)) / error, free))
    return Difference(mean, mean - width, mean + width, p, p_beyond)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the given order."""
    order = np.argsort(p, kind="stable")
    sizes = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(sizes), 1.0)
    return [float(value) for value in corrected]


def verdicts(differences: Sequence[Difference]) -> list[str]:
    """One verdict for each comparison of a family: ``better``, ``worse``, ``equal`` or ``open``.

    ``equal``: within the bound, shown by TOST. ``open``: neither a difference nor equality is
    shown. A difference that is shown and within the bound is ``equal``: it is too small to matter.
    """
    unlike = holm([one.p for one in differences])
    beyond = holm([one.p_beyond for one in differences])
    found = []
    for one, p, p_beyond in zip(differences, unlike, beyond, strict=True):
        if p_beyond < LEVEL:
            found.append("equal")
        elif p < LEVEL:
            found.append("better" if one.mean > 0 else "worse")
        else:
            found.append("open")
    return found
