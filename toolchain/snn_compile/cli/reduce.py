"""``snn-compile reduce``: the smallest network on which a fault still shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli.completion import plugins
from snn_compile.cli.console import (
    as_json,
    common,
    device_settings,
    progress_observer,
    progress_options,
    results,
    show_json,
    show_table,
    time_limit,
)
from snn_compile.errors import UsageError, raise_all

if TYPE_CHECKING:
    from rich.table import Table

    from snn_compile.ir.stages import ANNGraph, SpikingGraph
    from snn_compile.reduction.case import Case, Size
    from snn_compile.reduction.checks import Check, Command
    from snn_compile.reduction.search import Outcome
    from snn_compile.report.observer import Observer

SUFFIX = ".snt"


@click.command("reduce", short_help="Find the smallest network that still shows a fault.")
@click.argument("network", type=click.Path(path_type=Path))
@click.option(
    "--check", metavar="COMMAND", help="Exits with 0 while the fault persists; {} is the file."
)
@click.option(
    "--device",
    metavar="NAME[:ARG]",
    shell_complete=plugins("devices"),
    help="A device that differs from the reference.",
)
@device_settings
@click.option(
    "--stimulus",
    type=click.Path(path_type=Path),
    metavar="NPZ",
    help="Encoded frames, instead of those of the network.",
)
@click.option(
    "--bisect-passes",
    is_flag=True,
    help="NETWORK is a model: find the first pass after which --check holds.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="TOML", help="Options of that compilation."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The text to write (default: NETWORK.reduced.snt here).",
)
@time_limit(600.0, "Seconds for everything.")
@as_json
@progress_options
@common
def command(
    network: Path,
    check: str | None,
    device: str | None,
    settings: tuple[str, ...],
    stimulus: Path | None,
    bisect_passes: bool,
    config: Path | None,
    output: Path | None,
    time_limit: float,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Reduce NETWORK as long as two executors differ on it, or as long as a command ends with 0.

    NETWORK is a compiled folder, the model.snn in one, or a text. The executors are the reference
    and every build of the engine, or the device that is named. COMMAND gets the path of a text,
    with stimuli in NAME.stimulus.npz beside it. The result is a text, too.
    """
    from snn_compile.reduction.case import read, require_text
    from snn_compile.reduction.checks import Command

    if check is not None and device is not None:
        raise UsageError("--check and --device exclude each other", code="bad-option")
    _refuse_idle(
        {
            "--set": bool(settings) and device is None and "--device",
            "--config": config is not None and not bisect_passes and "--bisect-passes",
            "--stimulus": stimulus is not None and bisect_passes and "a network to reduce",
        }
    )
    if bisect_passes and check is None:
        raise UsageError(
            "--bisect-passes needs a check",
            code="bad-option",
            hint="add a command that exits with 0 if the fault is present: --check COMMAND",
        )
    written = output or Path(f"{network.stem}.reduced{SUFFIX}")
    require_text(written)
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    asked = None if check is None else Command(check, time_limit)
    if bisect_passes and asked is not None:
        _bisect(network, config, asked, output, observer, as_json=as_json)
        return
    case = read(network, stimulus)
    _reduce(case, asked, device, settings, time_limit, written, observer, as_json=as_json)


def _refuse_idle(idle: Mapping[str, str | bool]) -> None:
    """Refuse options without effect, each with its prerequisite."""
    raise_all(
        [
            UsageError(f"{name} has no effect without {needed}", code="bad-option")
            for name, needed in idle.items()
            if needed
        ]
    )


def _reduce(
    found: Case | ANNGraph | SpikingGraph,
    asked: Command | None,
    device: str | None,
    settings: tuple[str, ...],
    time_limit: float,
    path: Path,
    observer: Observer,
    *,
    as_json: bool,
) -> None:
    from snn_compile.reduction import floats, strategies
    from snn_compile.reduction.case import Case, write, write_text
    from snn_compile.reduction.search import reduce_case

    def report_size(name: str, size: Size) -> None:
        observer.stage(name, str(size))

    if isinstance(found, Case):
        holds = asked or _executors(found, device, settings, time_limit)
        report_size("network", found.size)
        outcome = reduce_case(found, holds, strategies.strategies, time_limit, report_size)
        write(path, outcome.case)
        _show(found.size, outcome, path, as_json=as_json)
        return
    if asked is None:
        raise UsageError(
            f"its stage is {type(found).__name__}, and executors run a QuantizedGraph",
            code="wrong-stage",
            hint="define the fault by a command: --check COMMAND",
        )
    whole = floats.FloatCase(found)
    report_size("network", whole.size)
    smallest = reduce_case(
        whole, lambda c: asked.of_stage(c.stage), floats.strategies, time_limit, report_size
    )
    write_text(path, smallest.case.stage)
    _show(whole.size, smallest, path, as_json=as_json)


def _executors(
    case: Case, device: str | None, settings: tuple[str, ...], time_limit: float
) -> Check:
    from snn_compile.cli.hil import parse_settings
    from snn_compile.reduction.checks import Device, engine_differs, require_engine

    if device is not None:
        return Device(device, parse_settings(settings), time_limit)
    require_engine(case)
    return engine_differs


def _show(before: Size, outcome: Outcome[Any], path: Path, *, as_json: bool) -> None:
    after = outcome.case.size
    if as_json:
        sizes = {"before": before._asdict(), "after": after._asdict()}
        show_json(
            {
                "text": str(path),
                **sizes,
                "checks": outcome.checks,
                "complete": outcome.complete,
            }
        )
        return
    table = _table("", "before", "after")
    for name, one, other in zip(after._fields, before, after, strict=True):
        table.add_row(name, f"{one:,}", f"{other:,}")
    console = results()
    show_table(console, table)
    if not outcome.complete:
        console.print("\n  time limit reached: a larger --time-limit may give a smaller one")
    console.print(f"\n  wrote {path} after {outcome.checks:,} checks")


def _table(*names: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right" if name in ("before", "after") else "left")
    return table


def _bisect(
    model: Path,
    config: Path | None,
    wrong: Command,
    output: Path | None,
    observer: Observer,
    *,
    as_json: bool,
) -> None:
    """Compile a model and run the check after each pass."""
    from snn_compile.cli.model_config import options_for
    from snn_compile.reduction import passes
    from snn_compile.reduction.case import require_text, write_text

    if output is not None:
        require_text(output.with_suffix(f".before{SUFFIX}"))
    made = passes.steps(model, options_for(model, config, {}))
    right: list[passes.Step] = []
    found = made[0]
    for step, verdict in passes.first_wrong(made, wrong.of_stage):
        observer.stage("bisect", f"{step.name}: {'wrong' if verdict else 'right'}")
        found, right = (step, right) if verdict else (found, [*right, step])
    before = right[-1] if right else None
    if output is not None:
        write_text(output, found.stage)
        if before is not None:
            write_text(output.with_suffix(f".before{SUFFIX}"), before.stage)
    if as_json:
        show_json({"pass": found.name, "before": before.name if before else None})
        return
    where = f"right after {before.name}" if before else "there is nothing before it"
    results().print(f"first wrong after {found.name}; {where}")
