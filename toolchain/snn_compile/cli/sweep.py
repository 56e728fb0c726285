"""``snn-compile sweep``: a model compiled at each point of a grid of options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from snn_compile.cli import ci, cluster
from snn_compile.cli.console import (
    as_json,
    common,
    messages,
    progress_options,
    results,
    show_json,
    show_table,
)
from snn_compile.cli.model_config import options_for
from snn_compile.cli.settings import GroupedCommand, Setting
from snn_compile.errors import AccuracyError, CompileError, DeviceError, Origin, UsageError
from snn_compile.options import CompileOptions
from snn_compile.options.declared import Option, options_of

if TYPE_CHECKING:
    from snn_compile.report.outcome import Outcome
    from snn_compile.sweep.schema import Sweep

F = TypeVar("F", bound=Callable[..., Any])
COSTS = ("energy", "cores", "steps", "latency")


class Axis(Setting):
    """A declared option that takes several values, separated by commas."""

    def __init__(self, item: Option) -> None:
        super().__init__(item)
        several = not (item.kind.flags or item.kind.repeats or item.kind.expected == "numbers")
        if several and item.kind.expected != "a file name":
            self.type = click.STRING
            self.metavar = f"{self.metavar}[,...]"


def axes(command: F) -> F:
    """Add every option of a compilation, as an axis where it can be one."""
    items = [item for item in options_of(CompileOptions).values() if item.group]
    groups = list(dict.fromkeys(item.group for item in items))
    found = [Axis(item) for group in groups for item in items if item.group == group]
    known = getattr(command, "__click_params__", [])
    command.__click_params__ = [*known, *reversed(found)]  # type: ignore[attr-defined]
    return command


@click.command("sweep", cls=GroupedCommand, short_help="Compile a model at each point of a grid.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder to write (default: MODEL.sweep here). Run again to resume.",
)
@click.option(
    "--grid",
    type=click.Path(path_type=Path),
    metavar="TOML",
    help="Lists of values by option; the command line wins.",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="TOML", help="Fixed options.")
@click.option(
    "--until",
    default="",
    metavar="CONDITION",
    help='End with the cheapest point that meets it: "drop<1 and cores<=4".',
)
@click.option(
    "--cheapest-by",
    type=click.Choice(COSTS),
    default="energy",
    show_default=True,
    help="The cost that --until minimizes, and the order of points.",
)
@click.option(
    "--halving",
    is_flag=True,
    help="Judge points on few samples first; drop those that others provably surpass.",
)
@click.option("--retry-failed", is_flag=True, help="Compile points again that failed before.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes of this machine (default: one per processor).",
)
@cluster.spreading("the points")
@axes
@click.option("--no-emit", is_flag=True, help="Write no backend's files.")
@ci.outputs("summary", "junit", "github", subject="model")
@as_json
@progress_options
@common
def command(
    model: Path,
    output: Path | None,
    grid: Path | None,
    config: Path | None,
    until: str,
    cheapest_by: str,
    halving: bool,
    retry_failed: bool,
    workers: int | None,
    address: str | None,
    no_emit: bool,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
    outcome: Outcome,
    **given: Any,
) -> None:
    """Compile MODEL at each point of a grid, and show which points are worth their cost.

    An option that takes one value takes a list here: --coding graded,radix -T 4,8. Every
    combination is a point, with a folder of its own in DIR/points. DIR also holds sweep.json and
    sweep.html. Values that do not apply together are skipped, and the table says why.
    """
    from snn_compile.sweep.axes import read_grid
    from snn_compile.sweep.outcome import checks_of, table_of
    from snn_compile.sweep.plan import Request, plan_of
    from snn_compile.sweep.progress import recorded
    from snn_compile.sweep.run import sweep_on
    from snn_compile.sweep.terminal import TerminalSweepObserver

    if address is not None:
        cluster.check(address)
        if workers is not None:
            raise UsageError(
                "--workers are processes of this machine, and --cluster takes others",
                code="bad-option",
                hint="give one of them; --cluster local:N starts N processes",
            )
    words = {name: value for name, value in given.items() if value is not None and value != ()}
    if no_emit:
        words["emit"] = ""

    def make(values: Mapping[str, Any]) -> CompileOptions:
        # An empty tuple would be an option that was left out.
        return options_for(model, config, {n: "" if v == () else v for n, v in values.items()})

    request = Request(until, cheapest_by, halving, retry_failed)
    plan = plan_of(model, lambda: read_grid(grid, words), make, request)
    folder = output or Path(f"{model.stem}.sweep")
    observer = TerminalSweepObserver(messages(), quiet=quiet, bars=not no_progress)
    with observer.shown(), recorded(observer, folder, model) as follows:
        sweep = sweep_on(plan, folder, workers or os.cpu_count() or 1, address, follows)
    outcome.checks += checks_of(sweep)
    outcome.tables.append(table_of(sweep))
    _show(sweep, folder, as_json=as_json)
    _refuse(sweep, folder)


def _show(sweep: Sweep, folder: Path, *, as_json: bool) -> None:
    if as_json:
        show_json(sweep)
        return
    from snn_compile.sweep import terminal

    console = results()
    show_table(console, terminal.table(sweep))
    console.print()
    if (rest := terminal.others(sweep)) is not None:
        show_table(console, rest)
        console.print()
    console.print(terminal.closing_lines(sweep, str(folder)))


def _refuse(sweep: Sweep, folder: Path) -> None:
    """End with an exit code other than 0 where the sweep has not come to what was asked.

    Raises:
        DeviceError: workers died over points.
        AccuracyError: no point meets the condition.
        CompileError: every point failed; the exit code is that of the first.
    """
    points, origin = sweep["points"], Origin(str(folder))
    if lost := [point["name"] for point in points if point["state"] == "lost"]:
        raise DeviceError(
            f"{len(lost)} of {len(points)} points were lost with their workers: {lost[0]}"
            + (" and others" if len(lost) > 1 else ""),
            code="points-lost",
            origin=origin,
            hint="run the same command again: it compiles these alone",
        )
    failed = [point["error"] for point in points if point["state"] == "failed"]
    if failed and not any(point["state"] in ("done", "over-limit") for point in points):
        error = CompileError(
            f"no point of {len(failed)} could be compiled; the first: {failed[0]['message']}",
            code=failed[0]["code"],
            origin=origin,
            hint=failed[0]["hint"],
        )
        error.exit_code = failed[0]["exit_code"]  # type: ignore[misc]
        raise error
    if sweep["until"] and sweep["answer"] is None:
        raise AccuracyError(
            f"no point meets {sweep['until']}",
            code="condition-not-met",
            origin=origin,
            hint="more bits, more steps, or a looser condition",
        )
