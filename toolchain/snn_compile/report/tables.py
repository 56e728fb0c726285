"""Tables of text that are shown in more than one place: Markdown, HTML, a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from snn_compile.printable import printable
from snn_compile.report import cost_figures, figures, output_figures


@dataclass(frozen=True)
class Row:
    """A row of cells; ``best`` are the indices of the best ones, where they differ."""

    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: of the table.
        columns: names of the columns.
        rows: of the table.
        note: a sentence below it.
        numeric: whether all columns but the first are numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    numeric: bool = True


def markdown(table: Table) -> str:
    """A table in Markdown, with its title and its note; whatever the cells hold is text."""
    rule = ["---:" if table.numeric and k else "---" for k in range(len(table.columns))]
    lines = [f"**{_plain(table.title)}**", "", _line(table.columns), f"|{'|'.join(rule)}|"]
    for row in table.rows:
        cells = [_plain(cell) for cell in row.cells]
        marked = [f"**{cell}**" if k in row.best else cell for k, cell in enumerate(cells)]
        lines.append(f"| {' | '.join(marked)} |")
    return "\n".join([*lines, *(["", _plain(table.note)] if table.note else []), ""])


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    """A text without meaning in Markdown or HTML."""
    text = escape(printable(text), quote=False)
    return "".join(f"\\{char}" if char in "\\`*_|[]~#!" else char for char in text)


def text(table: Table) -> str:
    """A table in plain text, its columns aligned."""
    lines = [table.columns, *(row.cells for row in table.rows)]
    lines = [tuple(printable(cell) for cell in line) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = []
    for line in lines:
        cells = [
            cell.rjust(width) if table.numeric and k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    return "\n".join([*shown, *([table.note] if table.note else [])])


def html(table: Table) -> str:
    """A table in HTML without styles of its own; whatever the cells hold is escaped."""
    sides = ["right" if table.numeric and k else "left" for k in range(len(table.columns))]

    def line(tag: str, cells: Sequence[str]) -> str:
        pairs = zip(sides, cells, strict=True)
        parts = (f'<{tag} style="text-align:{side}">{cell}</{tag}>' for side, cell in pairs)
        return f"<tr>{''.join(parts)}</tr>"

    body = []
    for row in table.rows:
        cells = [_html(cell) for cell in row.cells]
        body.append(
            line("td", [f"<b>{c}</b>" if k in row.best else c for k, c in enumerate(cells)])
        )
    head = line("th", [_html(name) for name in table.columns])
    note = f"<p>{_html(table.note)}</p>" if table.note else ""
    return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>{note}"


def _html(text: str) -> str:
    return escape(printable(text))


def of_report(report: Mapping[str, Any]) -> list[Table]:
    """The ladder and the cost of a compiled network."""
    return [table for table in (*ladders(report), cost(report)) if table.rows]


def ladders(report: Mapping[str, Any]) -> Iterator[Table]:
    """The accuracy ladder, or that of each output."""
    several = output_figures.tables(report)
    for output in several:
        rows = [
            Row((step.stage, step.value, step.change, f"{step.n:,}"), _answer(step.answer))
            for step in output.steps
        ]
        title = f"{output.title} of {output.name}" if len(several) > 1 else output.title
        yield Table(title, ("stage", output.title, "change", "samples"), tuple(rows))
    if several or not report.get("ladder"):
        return
    title = "accuracy" if figures.measure(report) == "top1" else "agreement"
    stages = zip(report["ladder"], figures.ladder(report), strict=True)
    rows = [
        Row(
            (
                step.stage,
                "–" if step.percent is None else f"{step.percent:.2f} %",
                figures.points(step.change),
                f"{rung['n']:,}",
            ),
            _answer(step.answer),
        )
        for rung, step in stages
    ]
    yield Table(title, ("stage", title, "change", "samples"), tuple(rows))


def _answer(is_answer: bool) -> frozenset[int]:
    return frozenset({0, 1} if is_answer else ())


def cost(report: Mapping[str, Any]) -> Table:
    """Energy and latency with their ranges, and the use of the target."""
    known, resources = report.get("cost") or {}, report.get("resources") or {}
    found = [
        ("energy", cost_figures.estimate(known.get("energy"))),
        ("static energy", cost_figures.estimate((known.get("energy") or {}).get("static"))),
        ("latency", cost_figures.estimate(known.get("latency"))),
        ("spikes", _count(known.get("spikes_per_inference"))),
        ("synaptic operations", _count(known.get("synops_per_inference"))),
        ("cores", _count(resources.get("cores"))),
        ("chips", _count(resources.get("chips"))),
    ]
    rows = tuple(Row(pair) for pair in found if pair[1])
    note = "In parentheses the range of cited constants." if known.get("energy") else ""
    return Table("an inference", ("", "value"), rows, note)


def _count(value: float | None) -> str:
    return "" if value is None else figures.short(value)


def layers(report: Mapping[str, Any]) -> Table:
    """The layers of a compiled network."""
    found = report.get("layers") or ()
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "layer": lambda layer: str(layer["name"]),
        "op": lambda layer: str(layer.get("op", "")),
        "shape": lambda layer: figures.times(layer.get("shape") or ()),
        "neurons": lambda layer: _count(layer.get("neurons")),
        "synapses": lambda layer: _count(layer.get("synapses")),
        "bits": lambda layer: str(layer.get("weight_bits", "")),
        "SQNR dB": lambda layer: "" if layer.get("sqnr_db") is None else f"{layer['sqnr_db']:.1f}",
        "spikes": lambda layer: _count(layer.get("spikes_per_inference")),
    }
    if any("drive_error" in layer for layer in found):  # --rounding reconstructed
        columns["drive error"] = figures.drive_error
    rows = [Row(tuple(told(layer) for told in columns.values())) for layer in found]
    return Table("layers", tuple(columns), tuple(rows))
