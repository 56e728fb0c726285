"""``snn-compile report``: rebuild the reports of a compiled folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from snn_compile.cli.console import as_json, common, results


@click.command("report", short_help="Rebuild report.json and report.html.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@as_json
@common
def command(folder: Path, as_json: bool) -> None:
    """Rebuild report.json and report.html of DIR from what it holds, and show the result."""
    from snn_compile.bundle import CompiledModel
    from snn_compile.report import terminal

    report = CompiledModel.load(folder).report
    write_reports(folder, report)
    if as_json:
        click.echo((folder / "report.json").read_text(encoding="utf-8"), nl=False)
        return
    console = results()
    console.print(terminal.header(report))
    console.print()
    console.print(terminal.summary(report, str(folder)))


def write_reports(folder: Path, report: Mapping[str, Any]) -> None:
    """Write both reports, each as a whole or not at all."""
    from snn_compile.report import html, schema
    from snn_compile.writing import replace_text

    replace_text(folder / "report.json", schema.dumps(report))
    replace_text(folder / "report.html", html.render(report))
