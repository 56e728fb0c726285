"""``snn-compile report``: rebuild the reports of a compiled folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli import trust
from snn_compile.cli.console import as_json, common, messages, results

if TYPE_CHECKING:
    from snn_compile.hil.verification import Verification


@click.command("report", short_help="Rebuild report.json and report.html.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@as_json
@common
def command(folder: Path, as_json: bool) -> None:
    """Rebuild report.json and report.html of DIR from its content, and show the result.

    In a signed folder both are left unchanged.
    """
    from snn_compile.report import schema, terminal
    from snn_compile.signing import is_signed

    report = trust.open_folder(folder).report
    if is_signed(folder):
        messages().print("it is signed: both reports are left unchanged")
    else:
        write_reports(folder, report)
    if as_json:
        click.echo(schema.dumps(report), nl=False)
        return
    console = results()
    console.print(terminal.header(report))
    console.print()
    console.print(terminal.summary(report, str(folder)))


def record(folder: Path, report: Mapping[str, Any], outcomes: Sequence[Verification]) -> None:
    """Write outcomes into the reports, replacing older ones of the same kind and form.

    The reports of a signed folder are left unchanged: later outcomes are kept in a separate file.
    """
    from snn_compile.files.writing import replace_text
    from snn_compile.report import schema
    from snn_compile.signing import VERIFICATION, is_signed

    known = schema.verified(report, [outcome.as_dict() for outcome in outcomes])
    if is_signed(folder):
        later = schema.dumps({"verification": known["verification"]})
        replace_text(folder / VERIFICATION, later)
    else:
        write_reports(folder, known)


def write_reports(folder: Path, report: Mapping[str, Any]) -> None:
    """Write both reports, each as a whole or not at all."""
    from snn_compile.files.writing import replace_text
    from snn_compile.report.files import contents

    for name, text in contents(report).items():
        replace_text(folder / name, text)
