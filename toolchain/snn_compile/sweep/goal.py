"""The condition of ``--until``: comparisons of figures with numbers, joined by ``and``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snn_compile.errors import CompileError, UsageError, raise_all

FIGURES = {
    "drop": "points lost against the model file",
    "accuracy": "percent",
    "energy": "µJ of an inference",
    "latency": "µs of an inference",
    "cores": "cores",
    "steps": "time steps of an inference",
    "spikes": "spikes of an inference",
}
"""What a condition may compare, with its unit."""
MEASURED = ("drop", "accuracy", "energy", "latency", "spikes")
"""Figures that need evaluation data."""
COSTS = ("energy", "cores", "steps", "latency")
"""Figures that a point may be cheap in."""

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_TERM = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)\s*", re.ASCII)
_HINT = f'one of {", ".join(FIGURES)} with <, <=, > or >= and a number: "drop<1 and cores<=4"'


@dataclass(frozen=True)
class Comparison:
    """A figure compared with a number."""

    figure: str
    sign: str
    number: float

    def holds(self, figures: Mapping[str, Any]) -> bool:
        """Whether a point keeps to it; one without the figure does not."""
        value = figures.get(self.figure)
        return value is not None and bool(_COMPARE[self.sign](value, self.number))

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.number:g}"


@dataclass(frozen=True)
class Goal:
    """Comparisons that must all hold."""

    comparisons: tuple[Comparison, ...]

    def holds(self, figures: Mapping[str, Any]) -> bool:
        """Whether a point meets it."""
        return all(one.holds(figures) for one in self.comparisons)

    @property
    def measured(self) -> list[str]:
        """The figures in it that need evaluation data."""
        return [one.figure for one in self.comparisons if one.figure in MEASURED]

    def __str__(self) -> str:
        return " and ".join(map(str, self.comparisons))


def parse_goal(text: str) -> Goal:
    """The goal that a text states.

    Raises:
        UsageError: the text is no condition (``CompileErrors`` if several parts are none).
    """
    complaints: list[CompileError] = []
    found: list[Comparison] = []
    for part in re.split(r"\band\b", text):
        match = _TERM.fullmatch(part)
        number = _number(match[3]) if match else None
        if match is None or number is None:
            shown = part.strip()
            message = f"--until cannot read '{shown}'" if shown else "a part of --until is empty"
            complaints.append(UsageError(message, code="bad-condition", hint=_HINT))
        elif match[1] not in FIGURES:
            message = f"--until knows no figure '{match[1]}'"
            complaints.append(UsageError(message, code="bad-condition", hint=_HINT))
        else:
            found.append(Comparison(match[1], match[2], number))
    raise_all(complaints)
    return Goal(tuple(found))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
