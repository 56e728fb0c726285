"""Tables of few levels, few steps and few bits, from what is known of their cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_goals_cells import TRAINED, Cell, Known, groups, right_of
from paired import difference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "accuracy.md"
COSTS = ("steps", "spikes", "µJ", "cores", "cpu")
N_WORDS = 2
"""Columns of words; the others are numbers."""


def mark_of(model: str) -> str:
    """The line above a model's table in the page."""
    command = f"python tests/bench/accuracy.py --goals --models {model} --write"
    return f"<!-- not checked: {command}, in hours -->"


@dataclass(frozen=True)
class Lost:
    """Points lost by a way to convert, over calibration sets.

    Attributes:
        cells: one for each set.
        mean: over the sets.
        low, high: 95 % interval of the paired difference over the test images.
        worst: of a set.
        exact: of the float network, percent.
        costs: means over the sets.
    """

    cells: Sequence[Cell]
    mean: float
    low: float
    high: float
    worst: float
    exact: float
    costs: dict[str, float]

    @classmethod
    def of(cls, cells: Sequence[Cell], known: Known) -> Lost:
        """Of all sets of a model, setting and arm."""
        entries = [known[str(cell)] for cell in cells]
        exact = right_of(entries[0], "float", cells[0].images)
        right = np.stack([right_of(entry, "fixed", cells[0].images) for entry in entries])
        found = difference(exact[None], right)
        worst = 100 * float(exact.mean() - right.mean(axis=1).min())
        names = ("steps", "spikes", "microjoules", "cores", "cpu")
        costs = {name: float(np.mean([entry[name] for entry in entries])) for name in names}
        return cls(cells, found.mean, found.low, found.high, worst, 100 * exact.mean(), costs)

    @property
    def goal(self) -> float | None:
        """Points that may be lost without labels."""
        return None if self.cells[0].arm in TRAINED else self.cells[0].goal


def losses(known: Known, models: Sequence[str]) -> dict[tuple[str, str, str], Lost]:
    """Of all that is known of some models, by model, setting and arm."""
    return {key: Lost.of(cells, known) for key, cells in groups(known, models).items()}


def verdict(lost: tuple[float, float, float], goal: float) -> str:
    """Whether a goal is met, by the mean and by the interval of the points lost."""
    mean, low, high = lost
    if mean <= goal:
        return "met, shown" if high <= goal else "met"
    return "not met, shown" if low > goal else "not met"


def table(found: dict[tuple[str, str, str], Lost]) -> list[list[str]]:
    """Heads and rows of one model's table; arms of a setting stand below each other."""
    several = any(len(one.cells) > 1 for one in found.values())
    differ = len({one.cells[0].images for one in found.values()}) > 1
    titles = ["setting", "arm", "goal", "lost", *["worst"] * several, "interval", "verdict"]
    rows, before = [[*titles, *["images"] * differ, *COSTS]], ""
    for (_, setting, arm), one in found.items():
        goal, first = one.goal, setting != before
        before = setting
        n = len(one.cells)
        sets = [f"{one.worst:.2f} of {n}" if n > 1 else ""] * several
        rows.append(
            [
                *(setting if first else "", arm),
                "" if one.cells[0].goal is None or not first else f"{one.cells[0].goal:g}",
                *(f"{one.mean:.2f}", *sets, f"{one.low:.2f} to {one.high:.2f}"),
                "" if goal is None else verdict((one.mean, one.low, one.high), goal),
                *[f"{one.cells[0].images:,}"] * differ,
                *spent(one.costs),
            ]
        )
    return rows


def spent(entry: dict[str, Any]) -> list[str]:
    """What an inference takes, and the compilation."""
    return [
        f"{entry['steps']:,.0f}",
        f"{entry['spikes']:,.0f}",
        f"{entry['microjoules']:.4g}",
        f"{entry['cores']:,.0f}",
        f"{entry['cpu']:.0f}",
    ]


def markdown(titles: Sequence[str], lines: Iterable[list[str]], n_words: int = 3) -> str:
    """A table for the page; the first columns are words."""
    kinds = [*["---"] * n_words, *["---:"] * (len(titles) - n_words)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (list(titles), kinds, *lines)) + "\n"


def write(table: str, mark: str) -> None:
    """Put a table below its mark in the page."""
    before, mark, after = PAGE.read_text().partition(mark + "\n")
    if not mark:
        raise SystemExit(f"{PAGE.name} has no such line")
    rest = after.splitlines(keepends=True)
    n = next((k for k, line in enumerate(rest) if not line.startswith("|")), len(rest))
    PAGE.write_text(before + mark + table + "".join(rest[n:]))
