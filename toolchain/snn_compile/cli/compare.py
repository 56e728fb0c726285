"""``snn-compile compare``: compiled networks side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from snn_compile.cli import ci, trust
from snn_compile.cli.console import (
    as_json,
    common,
    progress_observer,
    progress_options,
    results,
    show_json,
    show_table,
)
from snn_compile.errors import Origin, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from snn_compile.compare.schema import Comparison
    from snn_compile.report.outcome import Outcome


@click.command("compare", short_help="Compiled networks side by side.")
@click.argument("folders", metavar="A B [C ...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="NPZ",
    help="Samples that every network answers: x, optionally y.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="HTML", help="A page to write."
)
@ci.outputs("summary", subject="folders")
@as_json
@progress_options
@common
def command(
    folders: tuple[Path, ...],
    data: Path | None,
    output: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
    outcome: Outcome,
) -> None:
    """Compare two or more compiled folders.

    Shows accuracy, cost and layers side by side, and the options that differ. With --data, every
    network answers the same samples: which inputs are answered differently, and, with labels,
    whether a network is better than another or the difference may be chance (McNemar's exact test,
    corrected for all pairs).
    """
    from snn_compile.compare.comparison import compare, named
    from snn_compile.compare.tables import conclusions, tables
    from snn_compile.files.writing import replace_text, require_file

    if output is not None:
        if output.suffix.lower() not in (".html", ".htm"):
            raise UsageError(
                f"a comparison is not written as '{output.suffix}'",
                code="bad-option",
                origin=Origin(str(output)),
                hint="name a file .html; --json writes JSON to standard output",
            )
        require_file(output)
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    comparison = compare(named(folders, trust.open_folder), data, observer)
    outcome.tables += tables(comparison)
    outcome.notes += [*comparison["notes"], *conclusions(comparison)]
    if output is not None:
        from snn_compile.compare.page import render

        replace_text(output, render(comparison))
    if as_json:
        show_json(comparison)
    else:
        _show(comparison, output)


def _show(comparison: Comparison, output: Path | None) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from snn_compile.compare.tables import conclusions, tables
    from snn_compile.printable import printable
    from snn_compile.report.terminal import row

    console = results()
    for table in tables(comparison):
        shown = Table(
            title=table.title,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            header_style="bold",
        )
        for k, name in enumerate(table.columns):
            shown.add_column(name, justify="right" if table.numeric and k else "left")
        for line in table.rows:
            cells = enumerate(map(printable, line.cells))
            shown.add_row(*(Text(c, "green" if k in line.best else "") for k, c in cells))
        show_table(console, shown)
        if table.note:
            console.print(Text(f"  {table.note}", "dim"))
        console.print()
    for note in comparison["notes"]:
        console.print(row("note", Text(note, "yellow")))
    _conclude(console, conclusions(comparison))
    if output is not None:
        console.print(row("wrote", str(output)))


def _conclude(console: Console, sentences: list[str]) -> None:
    from snn_compile.report.terminal import row

    for k, sentence in enumerate(sentences):
        console.print(row("" if k else "answers", sentence))
