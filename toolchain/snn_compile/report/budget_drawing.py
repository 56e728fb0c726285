"""Points lost over what a network takes, as a drawing: the front, each width, and the answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snn_compile.report import figures
from snn_compile.report.drawing import path

LEFT, RIGHT, TOP, BOTTOM = 60, 690, 24, 214
"""Of the drawing; its height is that of ``HEIGHT``."""
WIDTH, HEIGHT = 720, 262
LABEL = 44, 14
"""Width and height of a label."""
_INSET = 24
_HIGHEST = 100.0
"""Points or percent beyond which a loss is drawn at the edge."""


@dataclass(frozen=True)
class Mark:
    """A network in the coordinates of the drawing; ``kind`` is front, uniform or answer."""

    x: float
    y: float
    kind: str
    label: str
    title: str


@dataclass(frozen=True)
class Drawing:
    """The drawing of a budget.

    Attributes:
        marks: the networks, the answer last.
        path: through those of the front.
        limit: place of the budget, if it is within the drawing.
        heights: heights of the grid lines with their labels.
        places: places of the costs' labels.
        measure: what the heights are.
        unit: of the costs.
        rows: of the table: layer, what, width, cost, added error.
    """

    marks: tuple[Mark, ...]
    path: str
    limit: float | None
    heights: tuple[tuple[float, str], ...]
    places: tuple[tuple[float, str], ...]
    measure: str
    unit: str
    rows: tuple[tuple[str, str, int, str, str], ...]


def budget_drawing(report: Mapping[str, Any]) -> Drawing | None:
    """The drawing of a report; None without a budget, or where no layer had a choice."""
    budget = report.get("budget")
    if not budget or not budget["choices"]:
        return None
    chosen, front, uniform = budget["chosen"], budget["front"], budget["uniform"]
    networks = [*front, *uniform, chosen]
    is_judged = all(one["lost"] is not None for one in networks)
    # One sample more or less is the least that a share of samples can differ by.
    least = 100 / budget["samples"] if is_judged else 0.01

    def loss(one: Mapping[str, Any]) -> float:
        error = one["predicted_error"] if one["error"] is None else one["error"]
        value = one["lost"] if is_judged else 100 * error
        return float(min(max(value, least), _HIGHEST))

    costs = [one["cost"] for one in networks]
    low, high = min(costs), max(costs)
    decades = _decades(least, max(map(loss, networks)))

    def across(cost: float) -> float:
        share = (cost - low) / (high - low) if high > low else 0.5
        return round(LEFT + _INSET + share * (RIGHT - LEFT - 2 * _INSET), 1)

    def height(value: float) -> float:
        first, last = math.log10(decades[0]), math.log10(decades[-1])
        share = (math.log10(value) - first) / (last - first)
        return round(BOTTOM - share * (BOTTOM - TOP), 1)

    def mark(one: Mapping[str, Any], kind: str, label: str) -> Mark:
        lost = "" if one["lost"] is None else f", {one['lost']:.2f} points lost"
        made = "" if one["error"] is None else f", measured {one['error']:.3g}"
        title = (
            f"{figures.number(one['cost'])} {budget['unit']}: error by layers"
            f" {one['predicted_error']:.3g}{made}{lost}"
        )
        return Mark(across(one["cost"]), height(loss(one)), kind, label, title)

    ordered = sorted(front, key=lambda one: float(one["cost"]))
    on_front = [mark(one, "front", "") for one in ordered]
    equal = _labelled_apart(
        [mark(one, "uniform", f"{max(one['weight_bits'], default=0)} bit") for one in uniform]
    )
    return Drawing(
        (*on_front, *equal, mark(chosen, "answer", "")),
        path((one.x, one.y) for one in on_front),
        across(budget["limit"]) if low <= budget["limit"] <= high else None,
        tuple((height(value), f"{value:.2g}" if value < 1 else f"{value:g}") for value in decades),
        tuple((across(cost), figures.number(cost)) for cost in _ticks(low, high)),
        "points lost" if is_judged else "error of the outputs, % of their variance",
        budget["unit"],
        tuple(_rows(budget)),
    )


def _labelled_apart(marks: Sequence[Mark]) -> list[Mark]:
    """Marks of which those that lie under an earlier one's label have none."""
    found: list[Mark] = []
    for mark in marks:
        hidden = any(
            one.label and abs(one.x - mark.x) < LABEL[0] and abs(one.y - mark.y) < LABEL[1]
            for one in found
        )
        found.append(replace(mark, label="") if hidden else mark)
    return found


def _rows(budget: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str, str]]:
    for choice in budget["choices"]:
        column = choice["widths"].index(choice["bits"])
        cost, error = choice["cost"][column], choice["error"][column]
        words = choice["option"].replace("_bits", "s")
        yield choice["layer"], words, choice["bits"], figures.number(cost), f"{error:.2g}"


def _decades(least: float, most: float) -> list[float]:
    """The least loss, and powers of ten up to the first that no loss exceeds."""
    first = math.floor(math.log10(least)) + 1
    last = max(math.ceil(math.log10(most)), first)
    return [least, *(10.0**power for power in range(first, last + 1))]


def _ticks(low: float, high: float) -> list[float]:
    shares = (0, 0.25, 0.5, 0.75, 1) if high > low else (0,)
    return [low + share * (high - low) for share in shares]
