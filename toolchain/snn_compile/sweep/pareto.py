"""Which points are worth their cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

FRONTS = ("energy", "cores", "steps")
"""The costs that accuracy is weighed against."""


def fronts(points: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """For each cost the names of the points on its front, the cheapest first."""
    points = list(points)
    return {cost: front(points, cost) for cost in FRONTS}


def front(points: Iterable[Mapping[str, Any]], cost: str) -> list[str]:
    """The points than which no other is as accurate and as cheap, and better in one of both.

    Points without an accuracy or without the cost are on no front.
    """
    known = [p for p in points if p.get("accuracy") is not None and p.get(cost) is not None]
    found, best = list[str](), -math.inf
    by_cost = sorted(known, key=lambda p: (p[cost], -p["accuracy"]))
    last: tuple[float, float] | None = None
    for point in by_cost:
        here = (point[cost], point["accuracy"])
        if point["accuracy"] > best or here == last:
            found.append(point["name"])
            best, last = point["accuracy"], here
    return found
