"""``snn-compile neurobench``: a compiled network in NeuroBench's harness."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

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
from snn_compile.errors import VerificationError, raise_all
from snn_compile.extras import missing
from snn_compile.files.presence import require_present
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snn_compile.neurobench.table import Row

NONE = "–"


@click.command("neurobench", short_help="NeuroBench's metrics of a compiled network.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="NPZ",
    help="Labelled samples: x and y, or recorded events.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    metavar="N",
    help="Samples at once, all their messages kept (default: up to 32, as memory allows).",
)
@trust.signer
@as_json
@progress_options
@common
def command(
    folder: Path,
    data: Path,
    batch_size: int | None,
    signer: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Run the network in DIR in NeuroBench's harness, on labelled samples.

    The answers are the bit-accurate simulator's; the harness computes its metrics from them and
    from weights and messages. They are shown beside those of report.json, on the same samples.
    Exit code 7 if a metric that both define alike differs.
    """
    raise_all(
        [
            error
            for package in ("torch", "neurobench")
            for error in missing(package, "neurobench", "NeuroBench's harness needs")
        ][:1]
    )
    require_present({"--data": data})
    from snn_compile.neurobench.harness import measure
    from snn_compile.pipeline.compiled_data import samples_for

    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    compiled = trust.open_folder(folder, signer)
    samples = samples_for(compiled, data, need_labels=True)
    n = len(samples)
    with observer.progress("neurobench", pluralize(n, "sample"), n) as advance:
        found = measure(compiled, samples, batch=batch_size, advance=advance)
    if as_json:
        show_json([asdict(row) for row in found])
    else:
        _show(found)
    unequal = [row.metric for row in found if row.equal is False]
    if unequal:
        raise VerificationError(
            f"NeuroBench and the report differ in {', '.join(unequal)}",
            code="neurobench-differs",
            hint="one of them counts wrongly: report it, with the folder",
        )


def _show(rows: Sequence[Row]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("metric")
    for name in ("NeuroBench", "report"):
        table.add_column(name, justify="right")
    table.add_column("")
    verdicts = {
        True: Text("equal", "green"),
        False: Text("differs", "bold red"),
        None: Text("defined otherwise", "dim"),
    }
    for row in rows:
        table.add_row(row.metric, _number(row.theirs), _number(row.ours), verdicts[row.equal])
    console = results()
    show_table(console, table)
    for row in rows:
        if row.why:
            console.print(Text(f"  {row.metric}: {row.why}", "dim"))


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:,.4f}".rstrip("0").rstrip(".")
