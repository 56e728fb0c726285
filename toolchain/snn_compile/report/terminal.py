"""The result of a compilation on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.text import Text

from snn_compile.pluralize import pluralize
from snn_compile.report import advice, cost_figures, figures, output_figures
from snn_compile.report.output_figures import OutputTable

LABEL = 14
"""Width of the column of labels."""


def header(report: Mapping[str, Any]) -> Text:
    """The first two lines: the model and the target."""
    name, about, plan = figures.header(report)
    return Text.assemble((name, "bold"), "   ", about, "\n", plan)


def summary(report: Mapping[str, Any], folder: str = "") -> Text:
    """The accuracy ladder and the other main figures."""
    tables = output_figures.tables(report)
    lines: list[Text] = [*_ladder(report)] if not tables else []
    for table in tables:
        lines += _output(table, report, several=len(tables) > 1)
    if not tables and (agreement := _agreement(report)):
        lines.append(row("agreement", agreement))
    if settled := figures.settled(report):
        lines.append(row("auto", settled))
    if restriction := figures.restriction(report):
        lines.append(row(f"{report['neurons']['allowed']} neurons", restriction))
    if (report.get("portability") or {}).get("expressible"):
        lines.append(row("portable", figures.portable(report)))
    if tuned := figures.tuned(report):
        lines.append(row("tuned", tuned))
    if costliest := advice.costliest(report):
        lines.append(row("costliest", costliest))
    if cost := cost_figures.cost(report):
        lines.append(row("per inference", cost))
    if simulator := figures.slow_simulator(report):
        lines.append(row("simulator", Text(simulator, "dim")))
    lines += _verification(report)
    warnings = report.get("warnings") or []
    if warnings:
        lines.append(row("warnings", Text(_warnings(warnings), "yellow")))
    if folder:
        lines += [Text(), _written(report, folder)]
    return Text("\n").join(lines)


def row(label: str, text: str | Text) -> Text:
    """A label and its text."""
    return Text.assemble("  ", (f"{label:<{LABEL}}", "cyan"), text)


def _ladder(report: Mapping[str, Any]) -> Iterable[Text]:
    labelled = figures.measure(report) == "top1"
    steps = figures.ladder(report)
    widest = max([9, *(len(step.stage) + 1 for step in steps)])
    for index, step in enumerate(steps):
        label = ("accuracy" if labelled else "agreement") if index == 0 else ""
        percent = "     –" if step.percent is None else f"{step.percent:6.2f}"
        text = Text(f"{step.stage:<{widest}}{percent}  ", "bold" if step.answer else "")
        text.append(f"{figures.points(step.change):>6}", _colour(step.change))
        if step.note:
            text.append(f"   {step.note}", "dim")
        if step.answer:
            text.append("   <- the answer", "bold green")
        text.rstrip()
        yield row(label, text)


def _output(table: OutputTable, report: Mapping[str, Any], *, several: bool) -> Iterable[Text]:
    """The ladder of one output, and how close the answer is to the first stage."""
    widest = max(len(step.stage) for step in table.steps) + 2
    values = max(len(step.value) for step in table.steps)
    changes = max(len(step.change) for step in table.steps)
    if several:
        where = ", its tail on the host" if table.host else ""
        yield row("output", Text.assemble((table.name, "bold"), f" ({table.kind}{where})"))
    for index, step in enumerate(table.steps):
        text = Text(f"{step.stage:<{widest}}{step.value:<{values}}", "bold" if step.answer else "")
        if changes:
            text.append(f"  {step.change:>{changes}}", _colour(step.points))
        if step.note:
            text.append(f"   {step.note}", "dim")
        if step.answer:
            text.append("   <- the answer", "bold green")
        text.rstrip()
        yield row("" if index else table.title, text)
    if said := output_figures.summary(table, figures.origin_of(report)):
        yield row("agreement", said)


def _colour(change: float | None) -> str:
    if change is None or change > -0.1:
        return "green" if change is not None and change >= 0.005 else "dim"
    return "red" if change <= -1 else "yellow"


def _agreement(report: Mapping[str, Any]) -> str:
    fixed, origin = figures.rung(report, figures.ANSWER), figures.origin_of(report)
    if fixed.get("agreement") is None or figures.measure(report) != "top1" or not origin:
        return ""
    n = fixed.get("n") or 0
    return f"{fixed['agreement']:.1f} % of {n:,} arg-max equal to {origin}"


def _verification(report: Mapping[str, Any]) -> Iterable[Text]:
    for index, entry in enumerate(report.get("verification") or []):
        mode = f" ({entry['mode']})" if entry.get("mode") else ""
        against = f"{entry.get('against', '?')}{mode}"
        if entry.get("equal"):
            stimuli = entry.get("stimuli", 0)
            on = f", bit for bit, on {pluralize(stimuli, 'stimulus')}" if stimuli else ""
            text = Text(f"{against}: equal{on}")
        elif "equal" in entry and entry["equal"] is None:
            text = Text(f"{against}: not compared", "dim")
        else:
            place = figures.where(entry.get("first_divergence"))
            text = Text(f"{against}: DIFFERS at {place or 'an unknown place'}", "bold red")
        yield row("" if index else "verified", text)


def _warnings(warnings: Iterable[Mapping[str, Any]]) -> str:
    counts: dict[str, int] = {}
    for warning in warnings:
        code = str(warning.get("code") or "note")
        counts[code] = counts.get(code, 0) + 1
    return ", ".join(code + (f" x{n}" if n > 1 else "") for code, n in counts.items())


def _written(report: Mapping[str, Any], folder: str) -> Text:
    emitted = figures.option(report, "emit") or []
    parts = ["report.html", *(f"{backend}/" for backend in emitted)]
    return Text.assemble(
        "  wrote ",
        (f"{folder.rstrip('/')}/", "bold"),
        f"   {' · '.join(parts)} · verify with: snn-compile verify {folder.rstrip('/')}",
    )
