"""A sweep on a terminal: what runs, what has ended, and the table in the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from snn_compile.pluralize import pluralize
from snn_compile.report import figures
from snn_compile.sweep.records import COMPILED
from snn_compile.sweep.rows import COLUMNS, Row, count, rows, summary
from snn_compile.sweep.schema import SweepPoint

_NAME = 36
"""Width of a name before its figures."""


class TerminalSweepObserver:
    """A line for each point that has ended, and below these the points that run.

    Args:
        console: to write to.
        quiet: whether nothing is written.
        bars: whether to show what runs.
    """

    def __init__(self, console: Console, *, quiet: bool = False, bars: bool = True) -> None:
        self.console, self.quiet = console, quiet
        self._bars = bars and console.is_terminal and not quiet
        self._total = self._ended = self._kept = 0
        self._began = time.monotonic()
        self._running: dict[str, float] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the display while the sweep runs."""
        if not self._bars:
            yield
            return
        with Live(get_renderable=self._display, console=self.console, transient=True):
            yield

    def begin(self, total: int, kept: int) -> None:
        """Say how much there is to do."""
        self._total, self._ended, self._kept = total, kept, kept
        if kept and not self.quiet:
            self._print(Text(f"  {kept} of {total} points are there already"))

    def started(self, name: str) -> None:
        """Show a point among those that run."""
        self._running[name] = time.monotonic()

    def screening(self, n_samples: int, n_points: int) -> None:
        """Announce a round."""
        if not self.quiet:
            points, samples = pluralize(n_points, "point"), pluralize(n_samples, "sample")
            self._print(Text(f"  halving: {points} on {samples}"))

    def finished(self, record: SweepPoint) -> None:
        """Write a line."""
        self._running.pop(record["name"], None)
        self._ended += 1
        if self.quiet:
            return
        line = Text(f"  {self._ended:>{len(str(self._total))}}/{self._total}  ", "dim")
        line.append(f"{record['name']:<{_NAME}}", "cyan")
        line.append(f" {_outcome(record)}", "" if record["state"] in COMPILED else "red")
        line.append(f"  {timedelta(seconds=round(record['seconds']))}", "dim")
        self._print(line)

    def _display(self) -> Group:
        """The bar, and the points that run."""
        done, passed = self._ended - self._kept, time.monotonic() - self._began
        left = passed / done * (self._total - self._ended) if done else None
        bar = Table.grid(padding=(0, 1))
        words = f"about {timedelta(seconds=round(left))} left" if left is not None else ""
        bar.add_row(
            "",
            ProgressBar(self._total, self._ended, width=28),
            f"{self._ended} of {self._total} points",
            words,
        )
        now = time.monotonic()
        running = [
            Text(f"   {name}  {timedelta(seconds=round(now - since))}", "dim")
            for name, since in self._running.items()
        ]
        return Group(bar, *running)

    def _print(self, line: Text) -> None:
        self.console.print(line, soft_wrap=True)


def _outcome(record: Mapping[str, Any]) -> str:
    if error := record.get("error"):
        return f"error[{error['code']}]: {error['message']}"
    if proof := record.get("screening"):
        return f"dropped: {proof['worse_than']} is more accurate and no dearer"
    parts = [
        "" if record.get("accuracy") is None else f"{record['accuracy']:.2f} %",
        "" if record.get("drop") is None else figures.points(-record["drop"]),
        "" if record.get("energy") is None else f"{figures.number(record['energy'])} µJ",
        pluralize(record["cores"], "core") if record.get("cores") is not None else "",
    ]
    return " · ".join(part for part in parts if part)


def table(sweep: Mapping[str, Any]) -> Table:
    """The compiled points, the best first; those on no front are dim."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    shown.add_column("point", no_wrap=True)
    for name in COLUMNS:
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("on the front of", no_wrap=True)
    shown.add_column("")
    for row in rows(sweep):
        if row.is_compiled:
            shown.add_row(row.point["name"], *row.cells, row.front, row.remark, style=_style(row))
    return shown


def others(sweep: Mapping[str, Any]) -> Table | None:
    """The points that are not compiled, and why; None if there are none."""
    found = [row for row in rows(sweep) if not row.is_compiled]
    if not found:
        return None
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("not compiled", "", "why"):
        shown.add_column(name)
    for row in found:
        shown.add_row(row.point["name"], row.point["state"], row.remark)
    return shown


def closing_lines(sweep: Mapping[str, Any], folder: str) -> Text:
    """What the sweep came to, and where it is."""
    text = Text(f"  {count(sweep)}\n")
    if words := summary(sweep):
        text.append(f"  {words}\n", "bold")
    for difference in sweep.get("machines") or ():
        text.append(f"  machines differ: {difference}\n", "yellow")
    text.append(f"\n  wrote {folder}/   sweep.html · sweep.json · points/")
    return text


def _style(row: Row) -> str:
    return "bold green" if row.is_answer else ("" if row.front else "dim")
