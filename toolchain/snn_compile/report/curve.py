"""The learning curve of a tuned network as a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 700, 30, 180
_INSET = 36


@dataclass(frozen=True)
class Point:
    """An epoch, in the coordinates of the drawing."""

    x: float
    y: float
    label: str
    value: str
    answer: bool


@dataclass(frozen=True)
class Curve:
    """Held-out accuracy over epochs.

    Attributes:
        points: one an epoch; the one whose network was kept is the answer.
        path: the line through them.
        ticks: heights of the grid lines with their labels.
    """

    points: tuple[Point, ...]
    path: str
    ticks: tuple[tuple[float, str], ...]


def curve(report: Mapping[str, Any]) -> Curve | None:
    """The curve of a report; None if the network was not tuned."""
    tune = report.get("tune") or {}
    epochs: Sequence[Mapping[str, Any]] = tune.get("curve") or []
    if not epochs:
        return None
    values = [float(epoch["held_out_top1"]) for epoch in epochs]
    margin = max(0.1 * (max(values) - min(values)), 0.2)
    low, high = max(min(values) - margin, 0.0), min(max(values) + margin, 100.0)

    def height(value: float) -> float:
        return round(_BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP), 1)

    gap = (_RIGHT - _LEFT - 2 * _INSET) / max(len(values) - 1, 1)
    best = tune.get("best_epoch")
    # Only the ends and the best one are named: many epochs would write over each other.
    named = {0, len(values) - 1, best}
    points = tuple(
        Point(
            round(_LEFT + _INSET + index * gap, 1),
            height(value),
            str(epochs[index]["epoch"]) if index in named else "",
            f"{value:.2f}" if index in named else "",
            index == best,
        )
        for index, value in enumerate(values)
    )
    path = " ".join(f"{'L' if i else 'M'}{point.x},{point.y}" for i, point in enumerate(points))
    marks = [low + share * (high - low) for share in (0, 0.5, 1)]
    return Curve(points, path, tuple((height(mark), f"{mark:.1f}") for mark in marks))
