"""How many random cases a test takes: all that it states with ``--slow``, else the first half.

For tests whose cases take seconds in all; the same cases come first in both.
"""

from __future__ import annotations

from hypothesis import settings

_everything = False


def take(*, everything: bool) -> None:
    """Decide for the whole run, before tests are imported."""
    global _everything
    _everything = everything


def cases(n: int) -> int:
    """How many of n."""
    return n if _everything else -(-n // 2)


def examples(n: int) -> settings:
    """Settings of a property that takes the same examples each time."""
    return settings(max_examples=cases(n), deadline=None, derandomize=True)
