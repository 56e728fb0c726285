"""How far a sweep is: the points that have a record, and whether more are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snn_compile.sweep.goal import Goal
from snn_compile.sweep.points import Point
from snn_compile.sweep.schema import SweepPoint


class Standing:
    """Records of points, in whatever order they arrive.

    Args:
        order: the points, the cheapest first.
        goal: ends the sweep; None to compile every point.

    Attributes:
        records: of the points that have ended, by name.
    """

    def __init__(self, order: Sequence[Point], goal: Goal | None) -> None:
        self.records: dict[str, SweepPoint] = {}
        self._order, self._goal = order, goal
        self._place = {point.name: place for place, point in enumerate(order)}
        self._n_leading = 0
        """Points at the beginning of the order that all have a record."""
        self._first_good = len(order)
        """The place of the first point that meets the goal; past the end without one."""

    def add(self, record: SweepPoint) -> None:
        """Note what became of a point."""
        self.records[record["name"]] = record
        while self._n_leading < len(self._order) and self._has(self._n_leading):
            self._n_leading += 1
        if self._goal is not None and meets(self._goal, record):
            self._first_good = min(self._first_good, self._place[record["name"]])

    def left(self) -> list[Point]:
        """The points without a record."""
        return [point for point in self._order if point.name not in self.records]

    def needed(self) -> Iterator[Point]:
        """Points without a record, the cheapest first, until the goal is met."""
        for place, point in enumerate(self._order):
            if place >= self._first_good:
                return
            if not self._has(place):
                yield point

    @property
    def is_decided(self) -> bool:
        """Whether the goal is met, and no point that should be cheaper is still being compiled."""
        return self._n_leading >= self._first_good < len(self._order)

    def answer(self, cost: str) -> str | None:
        """The cheapest compiled point that meets the goal."""
        if self._goal is None:
            return None
        good: list[Mapping[str, Any]] = [p for p in self.records.values() if meets(self._goal, p)]
        known = [point for point in good if point.get(cost) is not None]
        if not known:
            return None
        return str(min(known, key=lambda p: (p[cost], -(p["accuracy"] or 0.0), p["name"]))["name"])

    def _has(self, place: int) -> bool:
        return self._order[place].name in self.records


def meets(goal: Goal, record: Mapping[str, Any]) -> bool:
    """Whether a point is compiled and meets a goal."""
    return record["state"] == "done" and goal.holds(record)
