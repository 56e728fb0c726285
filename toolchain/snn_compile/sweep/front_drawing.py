"""Accuracy over a cost, as a drawing: every compiled point, and the front through the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snn_compile.report import figures
from snn_compile.sweep.pareto import FRONTS

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 700, 22, 246
_INSET = 24
_LOGARITHMIC = 12.0
"""Ratio of the largest cost to the smallest beyond which the axis is logarithmic."""
_MIN_RANGE = 0.4
UNITS = {"energy": "energy of an inference, µJ", "cores": "cores", "steps": "time steps"}


@dataclass(frozen=True)
class Mark:
    """A point in the coordinates of the drawing.

    ``label`` has the numbers of the rows in the table of all points on the front that lie here.
    """

    x: float
    y: float
    label: str
    title: str
    link: str
    on_front: bool
    is_answer: bool


@dataclass(frozen=True)
class Drawing:
    """Accuracy over one cost.

    Attributes:
        cost: its name.
        label: of the axis.
        marks: the points, those of the front and the answer last, so that they lie on top.
        path: the front, as steps: at a cost, the best accuracy for it.
        heights: heights of the grid lines with their labels.
        places: places of the costs' labels.
    """

    cost: str
    label: str
    marks: tuple[Mark, ...]
    path: str
    heights: tuple[tuple[float, str], ...]
    places: tuple[tuple[float, str], ...]


def drawings(points: Sequence[Mapping[str, Any]], answer: str | None) -> list[Drawing]:
    """A drawing for each cost that the points differ in, or have at all."""
    numbered = [(k, p) for k, p in enumerate(points, 1) if p.get("accuracy") is not None]
    found = []
    for cost in FRONTS:
        known = [(k, point) for k, point in numbered if point.get(cost) is not None]
        if known:
            found.append(_drawing(known, cost, answer))
    return found


def _drawing(
    known: Sequence[tuple[int, Mapping[str, Any]]], cost: str, answer: str | None
) -> Drawing:
    values = [float(point["accuracy"]) for _, point in known]
    room = max(0.08 * (max(values) - min(values)), _MIN_RANGE / 2)
    low, high = min(values) - room, max(values) + room
    costs = [float(point[cost]) for _, point in known]
    across = _axis(min(costs), max(costs))

    def height(value: float) -> float:
        return round(BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP), 1)

    marks = [
        Mark(
            across(float(point[cost])),
            height(float(point["accuracy"])),
            str(number) if cost in point["front"] or point["name"] == answer else "",
            _title(point, cost),
            f"{point['folder']}/report.html",
            cost in point["front"],
            point["name"] == answer,
        )
        for number, point in known
    ]
    marks = _labelled_once(sorted(marks, key=lambda mark: (bool(mark.label), mark.x, -mark.y)))
    digits = 1 if high - low >= 2 else 2
    ticks = [low + share * (high - low) for share in (0.06, 0.35, 0.65, 0.94)]
    return Drawing(
        cost,
        UNITS[cost],
        tuple(marks),
        _steps([mark for mark in marks if mark.on_front]),
        tuple((height(tick), f"{tick:.{digits}f}") for tick in ticks),
        tuple((across(tick), figures.number(tick)) for tick in _ticks(min(costs), max(costs))),
    )


def _labelled_once(marks: Sequence[Mark]) -> list[Mark]:
    """Marks of which only the last at a place is labelled, for all there."""
    labels: dict[tuple[float, float], list[str]] = {}
    for mark in marks:
        labels.setdefault((mark.x, mark.y), []).extend([mark.label] if mark.label else [])
    last = {(mark.x, mark.y): k for k, mark in enumerate(marks)}
    return [
        replace(mark, label=", ".join(labels[mark.x, mark.y]) if last[mark.x, mark.y] == k else "")
        for k, mark in enumerate(marks)
    ]


def _axis(low: float, high: float) -> Any:
    """From a cost to its place, along a linear axis or a logarithmic one."""
    scale = math.log if _is_logarithmic(low, high) else float
    first, last = scale(low), scale(high)

    def place(cost: float) -> float:
        share = (scale(cost) - first) / (last - first) if last > first else 0.5
        return round(LEFT + _INSET + share * (RIGHT - LEFT - 2 * _INSET), 1)

    return place


def _ticks(low: float, high: float) -> list[float]:
    """Costs to label: the ends, and round numbers between them."""
    if low == high:
        return [low]
    if _is_logarithmic(low, high):
        ends = math.floor(math.log10(low)), math.ceil(math.log10(high))
        powers = [m * 10.0**e for e in range(ends[0], ends[1] + 1) for m in (1, 2, 5)]
        inner = [p for p in powers if low < p < high]
        return inner if len(inner) >= 2 else [low, high]
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(s for s in (step / 5, step / 2, step, 2 * step, 5 * step) if (high - low) / s <= 6)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _is_logarithmic(low: float, high: float) -> bool:
    return low > 0 and high / low > _LOGARITHMIC


def _steps(front: Sequence[Mark]) -> str:
    """The best accuracy at each cost, as an SVG path."""
    if not front:
        return ""
    path = f"M{front[0].x},{front[0].y}"
    for mark in front[1:]:
        path += f" H{mark.x} V{mark.y}"
    return f"{path} H{RIGHT}"


def _title(point: Mapping[str, Any], cost: str) -> str:
    unit = {"energy": "µJ", "steps": "time steps"}.get(cost, cost)
    return f"{point['name']}: {point['accuracy']:.2f} %, {figures.number(point[cost])} {unit}"
