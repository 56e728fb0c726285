"""The table of a sweep, for the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snn_compile.pluralize import pluralize
from snn_compile.report import figures
from snn_compile.sweep.records import COMPILED

COLUMNS = ("accuracy %", "drop", "µJ", "µs", "cores", "steps", "spikes")
_WORDS = {
    "done": "compiled",
    "over-limit": "lost more than the limit",
    "failed": "failed",
    "lost": "lost with their workers",
    "skipped": "skipped",
    "dropped": "dropped by halving",
    "not-run": "not run",
}


@dataclass(frozen=True)
class Row:
    """A point in the table.

    Attributes:
        point: its record.
        cells: its figures, in the order of ``COLUMNS``.
        front: the costs in which it is on the front.
        remark: what else there is to say.
        is_answer: whether it is the cheapest that meets the goal.
    """

    point: Mapping[str, Any]
    cells: tuple[str, ...]
    front: str
    remark: str
    is_answer: bool

    @property
    def is_compiled(self) -> bool:
        """Whether it has a folder."""
        return self.point["state"] in COMPILED


def rows(sweep: Mapping[str, Any]) -> list[Row]:
    """Compiled points by accuracy, the best first, then all others in the order of the grid."""
    compiled = [p for p in sweep["points"] if p["state"] in COMPILED]
    others = [p for p in sweep["points"] if p["state"] not in COMPILED]
    by = sweep.get("cheapest_by", "energy")
    compiled.sort(key=lambda p: (-(p.get("accuracy") or 0.0), p.get(by) or 0.0, p["name"]))
    return [_row(point, sweep.get("answer")) for point in (*compiled, *others)]


def count(sweep: Mapping[str, Any]) -> str:
    """How many points came to what, in a line."""
    states = Counter(point["state"] for point in sweep["points"])
    parts = [f"{states[state]} {words}" for state, words in _WORDS.items() if states[state]]
    return f"{pluralize(len(sweep['points']), 'point')}: {', '.join(parts)}"


def summary(sweep: Mapping[str, Any]) -> str:
    """What the sweep found out about its condition, in a sentence; empty without one."""
    until, by = sweep.get("until"), sweep.get("cheapest_by")
    if not until:
        return ""
    left = sum(point["state"] == "not-run" for point in sweep["points"])
    if (answer := sweep.get("answer")) is None:
        text = f"no point meets {until}"
        return text + (f"; {pluralize(left, 'point')} not run" if left else "")
    text = f"{answer} takes the least {by} of the compiled points that meet {until}"
    if left:
        text += f"; {pluralize(left, 'point')} predicted to take more {by} not run"
    return text


def _row(point: Mapping[str, Any], answer: str | None) -> Row:
    accuracy, drop = point.get("accuracy"), point.get("drop")
    cells = (
        "" if accuracy is None else f"{accuracy:.2f}",
        "" if drop is None else figures.points(-drop),
        *(_number(point.get(name)) for name in ("energy", "latency", "cores", "steps", "spikes")),
    )
    return Row(
        point, cells, ", ".join(point.get("front") or ()), _remark(point), point["name"] == answer
    )


def _number(value: float | None) -> str:
    return "" if value is None else figures.number(value)


def _remark(point: Mapping[str, Any]) -> str:
    if error := point.get("error"):
        return f"error[{error['code']}]: {error['message']}"
    if (found := point.get("screening")) and point["state"] == "dropped":
        return (
            f"{found['accuracy']:.2f} % of {pluralize(found['n'], 'sample')}; {found['worse_than']}"
            f" alone is right on {found['wins']} of the {found['discordant']} on which they differ"
        )
    words = "" if point["state"] in (*COMPILED, "skipped", "not-run") else _WORDS[point["state"]]
    return "; ".join(part for part in (words, point.get("note")) if part)
