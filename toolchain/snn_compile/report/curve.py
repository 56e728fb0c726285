"""The learning curve of a tuned network as a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn_compile.report.drawing import layout, path


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
        points: one an epoch; the answer is that of the network kept.
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
    drawing = layout(values, 0.1)
    best = tune.get("best_epoch")
    # Only the ends and the best one are labelled: more labels would overlap.
    named = {0, len(values) - 1, best}
    points = tuple(
        Point(
            *drawing.places[index],
            str(epochs[index]["epoch"]) if index in named else "",
            f"{value:.2f}" if index in named else "",
            index == best,
        )
        for index, value in enumerate(values)
    )
    return Curve(points, path(drawing.places), drawing.ticks)
