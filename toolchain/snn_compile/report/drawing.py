"""Layout of percentages in the report's drawings: evenly from left to right, with grid lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 700, 30, 180
_INSET = 36
"""Between the ends of the grid lines and the outermost points."""


@dataclass(frozen=True)
class Layout:
    """Coordinates of values in a drawing.

    Attributes:
        places: x and y of each value.
        ticks: heights of the grid lines with their labels.
    """

    places: tuple[tuple[float, float], ...]
    ticks: tuple[tuple[float, str], ...]


def layout(values: Sequence[float], margin: float) -> Layout:
    """Places for percentages, with a margin of a share ``margin`` of their range."""
    room = max(margin * (max(values) - min(values)), 0.2)
    low, high = max(min(values) - room, 0.0), min(max(values) + room, 100.0)

    def height(value: float) -> float:
        return round(_BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP), 1)

    gap = (_RIGHT - _LEFT - 2 * _INSET) / max(len(values) - 1, 1)
    digits = 1 if high - low >= 2 else 2
    marks = [low + share * (high - low) for share in (0, 0.5, 1)]
    return Layout(
        tuple((round(_LEFT + _INSET + i * gap, 1), height(v)) for i, v in enumerate(values)),
        tuple((height(mark), f"{mark:.{digits}f}") for mark in marks),
    )


def path(places: Iterable[tuple[float, float]]) -> str:
    """The line through some places, as an SVG path."""
    return " ".join(f"{'L' if i else 'M'}{x},{y}" for i, (x, y) in enumerate(places))
