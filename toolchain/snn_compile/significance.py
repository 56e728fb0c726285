"""Exact tests of a hypothesis: paired samples, labels and answers, several hypotheses at once.

Written out because importing ``scipy.stats`` takes longer than the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, log, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

FALSE_ALARM = 1e-3
"""Probability of a warning about right data, after correction for the number of hypotheses."""
ALIKE = 0.05
"""Two alternatives are told apart below this probability."""
_STANDARD_ERRORS = 3.1
"""Of a normal variable, exceeded with the probability ``FALSE_ALARM``."""

Array = npt.NDArray[Any]


def binomial_tail(k: int, n: int, share: float) -> float:
    """Probability of k or more successes in n trials, each with the probability ``share``."""
    if k <= 0:
        return 1.0
    if k > n or share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    ways = (lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) for i in range(k, n + 1))
    odds = (i * log(share) + (n - i) * log(1 - share) for i in range(k, n + 1))
    return min(1.0, sum(exp(a + b) for a, b in zip(ways, odds, strict=True)))


def sign_test(wins: int, losses: int) -> float:
    """Probability of so uneven a split or a more uneven one, if either outcome is as likely.

    Of samples that are right or wrong it is McNemar's test in its exact form.
    """
    return min(1.0, 2 * binomial_tail(max(wins, losses), wins + losses, 0.5))


def holm(values: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number, so that any error at all stays below the risk."""
    order = sorted(range(len(values)), key=lambda k: values[k])
    found, largest = [1.0] * len(values), 0.0
    for rank, k in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[k]))
        found[k] = largest
    return found


def chance_of_gain(scores: Array, before: Array) -> float:
    """Probability that so many samples score better by chance, of those that score otherwise.

    It is ``sign_test``, one-sided.

    Args:
        scores: (n,) of one reading of the samples.
        before: (n,) of the reading that it is compared with.
    """
    better, worse = int((scores > before).sum()), int((scores < before).sum())
    return binomial_tail(better, better + worse, 0.5)


def are_alike(scores: Array, others: Array) -> bool:
    """Whether two readings of the samples cannot be told apart."""
    return sign_test(int((scores > others).sum()), int((scores < others).sum())) > ALIKE


def are_associated(answers: Array, labels: Array) -> bool:
    """Whether answers agree with labels more often than in a random order.

    Both are (n,) classes. The number of agreements in a random order has a known mean and
    variance (Cohen's kappa rests on the same).
    """
    n, n_classes = len(labels), 1 + int(max(answers.max(), labels.max()))
    a, b = (np.bincount(some, minlength=n_classes).astype(float) for some in (answers, labels))
    both = float((a * b).sum())
    spread = both**2 - n * float((a * b * (a + b)).sum()) + n**2 * both
    variance = spread / (n**2 * (n - 1))
    if variance <= 0:
        return False
    return float((answers == labels).sum()) - both / n > _STANDARD_ERRORS * sqrt(variance)
