"""Whether one network is better than another: exact tests on paired samples."""

from __future__ import annotations

from collections.abc import Sequence


def sign_test(wins: int, losses: int) -> float:
    """Probability of so uneven a split or a more uneven one, if either outcome is as likely.

    Of samples that are right or wrong it is McNemar's test in its exact form.
    """
    from scipy.special import bdtr

    n = wins + losses
    if not n:
        return 1.0
    return float(min(1.0, 2 * bdtr(min(wins, losses), n, 0.5)))


def holm(values: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number, so that any error at all stays below the risk."""
    order = sorted(range(len(values)), key=lambda k: values[k])
    found, largest = [1.0] * len(values), 0.0
    for rank, k in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[k]))
        found[k] = largest
    return found
