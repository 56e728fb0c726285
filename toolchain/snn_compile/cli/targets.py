"""``snn-compile targets``: the available targets, or every figure of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from snn_compile.cli.console import as_json, common, results, show_json, show_table
from snn_compile.report import figures

if TYPE_CHECKING:
    from rich.table import Table

    from snn_compile.targets import FigureEntry, Target

COLOURS = {"published": "green", "recalled": "yellow", "assumed": "red"}
"""Of the levels of confidence."""
WIDE = 2000


@click.command("targets", short_help="List the chips that can be compiled for.")
@click.argument("name", required=False, metavar="[NAME|FILE]")
@as_json
@common
def command(name: str | None, as_json: bool) -> None:
    """List the targets, or the figures of one, each with its source and the confidence in it.

    A TOML file of the same form describes another chip; it is checked as the compiler checks it.
    """
    from dataclasses import asdict

    from snn_compile.report.schema import plain
    from snn_compile.targets import available, figure_entries, load_target

    console = results()
    if name is not None:
        target, found = figure_entries(name)
        if as_json:
            show_json(plain({"name": target.name, "figures": [asdict(f) for f in found]}))
            return
        if not console.is_terminal:
            console.width = WIDE  # a source on one line, for grep
        console.print(f"{target.name}: {target.description}")
        show_table(console, _figures(found))
        return
    targets = [load_target(each) for each in available()]
    if as_json:
        show_json(plain([asdict(target) for target in targets]))
        return
    show_table(console, _overview(targets))
    for target in targets:
        console.print(f" {target.name}: {target.description}", style="dim")


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        justify = "right" if column in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column != "source")  # type: ignore[arg-type]
    return table


def _overview(targets: Sequence[Target]) -> Table:
    """One target a row."""
    limits = ("chips", "cores a chip", "neurons a core", "synapse memory")
    table = _table("target", "coding", *limits, right=limits)
    for target in targets:
        memory = target.synapse_memory_per_core.value
        table.add_row(
            target.name,
            target.default_coding.value,
            *(
                _limit(limit.value)
                for limit in (target.chips, target.cores_per_chip, target.neurons_per_core)
            ),
            _limit(None if memory is None else memory // 8192) + (" KiB" if memory else ""),
        )
    return table


def _figures(found: Sequence[FigureEntry]) -> Table:
    """One figure a row, under the name that a target file has for it."""
    from rich.text import Text

    table = _table("figure", "value", "unit", "confidence", "source", right=("value",))
    section = ""
    for figure in found:
        if section not in ("", figure.section):
            table.add_section()
        section = figure.section
        table.add_row(
            f"{figure.section}.{figure.key}",
            _value(figure),
            "" if figure.unit == "-" else figure.unit,
            Text(figure.confidence, style=COLOURS[figure.confidence]),
            f"{figure.source} [{figure.file}]" if figure.file else figure.source,
        )
    return table


def _value(figure: FigureEntry) -> str:
    """A value as people write it, with its range."""
    value = figure.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, str):
        return value
    shown = figures.number(value) if isinstance(value, int) else f"{value:g}"
    if figure.low is None or figure.high is None:
        return shown
    return f"{shown} ({figure.low:g} to {figure.high:g})"


def _limit(value: int | None) -> str:
    return "no limit" if value is None else figures.number(value)
