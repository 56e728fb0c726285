"""``snn-compile reproduce``: compile a folder again, and compare byte for byte."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli import trust
from snn_compile.cli.console import (
    as_json,
    common,
    progress_observer,
    progress_options,
    results,
    show_json,
    show_table,
)
from snn_compile.errors import Origin, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snn_compile.reproduce import FileComparison


@click.command("reproduce", short_help="Compile a folder again and compare byte for byte.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), metavar="M", help="The model file.")
@click.option(
    "--calibrate", type=click.Path(path_type=Path), metavar="D", help="The calibration data."
)
@click.option(
    "--evaluate", type=click.Path(path_type=Path), metavar="D", help="The evaluation data."
)
@click.option(
    "--target", type=click.Path(path_type=Path), metavar="FILE", help="The target, if it is a file."
)
@trust.signer
@as_json
@progress_options
@common
def command(
    folder: Path,
    model: Path | None,
    calibrate: Path | None,
    evaluate: Path | None,
    target: Path | None,
    signer: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Compile DIR again from its sources and compare every file with DIR, byte for byte.

    DIR records model and data by file name and hash, and all options. Files of these names are
    searched beside DIR and in the working folder; others must be named. Exit code 7 if a
    file differs, or is not the one that DIR names.
    """
    from snn_compile.reproduce import compare_folders, inputs_of, recompile

    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    compiled = trust.open_folder(folder, signer)
    named = {"model": model, "calibrate": calibrate, "evaluate": evaluate, "target": target}
    given = {kind: path for kind, path in named.items() if path is not None}
    provenance, files = inputs_of(compiled, folder, given)
    trust.print_signer(folder, signer, quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="snn-compile-reproduce-") as scratch:
        again = recompile(folder, compiled, provenance, files, Path(scratch), observer)
        again.save(Path(scratch) / "again.snn")
        outcomes = list(compare_folders(folder, Path(scratch) / "again.snn"))
    _show(outcomes, compiled.report, as_json)
    _refuse_differences(folder, outcomes)


def _refuse_differences(folder: Path, outcomes: Sequence[FileComparison]) -> None:
    unequal = [outcome.file for outcome in outcomes if not outcome.equal]
    if unequal:
        raise VerificationError(
            f"{len(unequal)} of {len(outcomes)} files differ after compiling again:"
            f" {', '.join(unequal[:10])}{' ...' if len(unequal) > 10 else ''}",
            code="not-reproduced",
            origin=Origin(str(folder)),
            hint="the folder was changed, or the installed packages compute differently: the table"
            " shows where; report.json has the original versions under 'environment'",
        )


def _show(outcomes: Sequence[FileComparison], report: Any, as_json: bool) -> None:
    from snn_compile.report.environment import environment
    from snn_compile.reproduce import MACHINE

    if as_json:
        show_json(
            {
                "equal": all(outcome.equal for outcome in outcomes),
                "files": [asdict(outcome) for outcome in outcomes],
                "left_out": list(MACHINE),
                "environment": {"then": report.get("environment"), "now": environment()},
            }
        )
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("file")
    table.add_column("")
    for outcome in outcomes:
        verdict = Text("equal", "green") if outcome.equal else Text("differs", "bold red")
        if outcome.where:
            verdict.append(f"  {outcome.where}", "red")
        table.add_row(outcome.file, verdict)
    show_table(results(), table)
    results().print(Text(f"  left out of report.json: {', '.join(MACHINE)}", "dim"))
