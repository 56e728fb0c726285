"""The first message that differs, with what was sent around it, as a template shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIZE = 14
"""Of a neuron in the drawing of a channel."""


@dataclass(frozen=True)
class Entry:
    """A message in the table of steps.

    Attributes:
        expected: in the reference.
        actual: on the device.
        first: whether it is the first that differs.
    """

    expected: int
    actual: int
    first: bool

    @property
    def differs(self) -> bool:
        """Whether the device sent something else."""
        return self.expected != self.actual


@dataclass(frozen=True)
class Square:
    """A neuron in the drawing of a channel; ``strength`` of its message from 0 to 1."""

    x: int
    y: int
    strength: float
    value: int
    differs: bool
    first: bool


@dataclass(frozen=True)
class Picture:
    """A channel at one step."""

    title: str
    squares: tuple[Square, ...]


@dataclass(frozen=True)
class View:
    """What is shown of a divergence.

    Attributes:
        where: the entry of ``diff --json``.
        steps: numbers of the columns.
        rows: each neuron with its messages.
        pictures: the neuron's channel in the reference and on the device; none if it is a point.
        width: of a picture; ``height`` likewise.
        height: see width.
        corner: row and column that they begin with.
    """

    where: Mapping[str, Any]
    steps: range
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    pictures: tuple[Picture, ...]
    width: int
    height: int
    corner: tuple[int, int]


def view(around: Mapping[str, Any]) -> View:
    """The view of the surroundings of a divergence (``hil.surroundings``)."""
    steps = range(*around["steps"])
    messages = zip(
        around["neurons"], around["expected_messages"], around["actual_messages"], strict=True
    )
    rows = tuple(
        (
            ", ".join(map(str, neuron)),
            tuple(
                Entry(e, a, neuron == around["neuron"] and step == around["step"])
                for step, e, a in zip(steps, expected, actual, strict=True)
            ),
        )
        for neuron, expected, actual in messages
    )
    drawn = around["map"]
    height, width = len(drawn["expected"]), len(drawn["expected"][0])
    pictures = () if height * width == 1 else tuple(_pictures(around))
    corner = drawn["corner"]
    return View(around, steps, rows, pictures, SIZE * width, SIZE * height, (corner[0], corner[1]))


def _pictures(around: Mapping[str, Any]) -> list[Picture]:
    both = around["map"]["expected"], around["map"]["actual"]
    largest = max((abs(v) for one in both for row in one for v in row), default=0) or 1
    titles = "in the reference", "on the device"
    return [
        Picture(title, tuple(_squares(around, one, largest)))
        for title, one in zip(titles, both, strict=True)
    ]


def _squares(around: Mapping[str, Any], values: Sequence[Any], largest: int) -> list[Square]:
    expected, actual = around["map"]["expected"], around["map"]["actual"]
    row, column = around["map"]["corner"]
    first = [0, *around["neuron"]][-2:]  # a layer without rows is one row
    return [
        Square(
            SIZE * j,
            SIZE * i,
            round(abs(value) / largest, 3),
            value,
            expected[i][j] != actual[i][j],
            [row + i, column + j] == first,
        )
        for i, line in enumerate(values)
        for j, value in enumerate(line)
    ]
