"""``snn-compile tune``: train the spiking network in fixed point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from snn_compile.cli import trust
from snn_compile.cli.compile import (
    check_limits,
    files_of,
    refuse_unmeasurable,
)
from snn_compile.cli.console import as_json, common, progress_observer, progress_options, results
from snn_compile.cli.model_config import options_for
from snn_compile.cli.resuming import naming_resumption
from snn_compile.cli.settings import GroupedCommand, declared_options, read_options, settings
from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.presence import require_present
from snn_compile.options.declared import options_of
from snn_compile.tune.options import TuneOptions

if TYPE_CHECKING:
    from snn_compile.bundle import CompiledModel
    from snn_compile.options import CompileOptions
    from snn_compile.report.observer import Observer
    from snn_compile.signing import SigningKey
    from snn_compile.tune.table import TableRequest

F = TypeVar("F", bound=Callable[..., Any])

OF_A_FOLDER = ("evaluate", "max_accuracy_drop", "seed", "emit")
"""Options of a compilation that apply to a compiled network."""

_FILES = (
    click.option(
        "--train",
        type=click.Path(path_type=Path),
        required=True,
        metavar="NPZ",
        help="Data: x, (N, *input shape), and labels y or spikes.",
    ),
    click.option(
        "--held-out",
        type=click.Path(path_type=Path),
        metavar="NPZ",
        help="Data to measure progress (default: a share of --train).",
    ),
    click.option(
        "--table",
        metavar="T,T,...",
        help="Compare untuned, psg and qcfs at these numbers of steps, and write no network.",
    ),
    click.option(
        "--checkpoint",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Checkpoint of each epoch, resumed if it exists (default: DIR.checkpoint).",
    ),
)


def tuning(command: F) -> F:
    """Add every option of tuning."""
    for option in reversed(_FILES):
        command = option(command)
    return declared_options(TuneOptions)(command)


@click.command("tune", cls=GroupedCommand, short_help="Train the spiking network in fixed point.")
@click.argument("source", metavar="MODEL|DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder to write (default: NAME.tuned.snn here).",
)
@tuning
@settings
@click.option("--no-emit", is_flag=True, help="Write no backend's files.")
@trust.sign
@as_json
@progress_options
@common
def command(
    source: Path,
    output: Path | None,
    train: Path,
    held_out: Path | None,
    table: str | None,
    checkpoint: Path | None,
    config: Path | None,
    no_emit: bool,
    key: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
    **given: Any,
) -> None:
    """Tune a network in fixed point on labelled data, with its integers in the forward pass.

    The network is that of DIR, a compiled folder, or MODEL, which is compiled first, with the
    options of compile. The result is a compiled folder. An interrupted training resumes from its
    checkpoint when the command is repeated.
    """
    from snn_compile.files.writing import require_file
    from snn_compile.tune import require_torch

    own = [name for name, item in options_of(TuneOptions).items() if item.group]
    of_tuning = {name: given.pop(name) for name in own if name in given}
    values = {**of_tuning, "seed": given.get("seed")}
    options = TuneOptions().override({k: value for k, value in values.items() if value is not None})
    compiling = _compiling(source, {**given, "emit": ""} if no_emit else given, config)
    refuse_unmeasurable(compiling)
    require_present(
        {"SOURCE": source, "--train": train, "--held-out": held_out, **files_of(compiling)}
    )
    require_torch()
    if table is not None:
        from snn_compile.tune.table import TableRequest

        steps = _steps_of(table, source, compiling)
        request = TableRequest(source, train, held_out, steps, options, compiling)
        _compare(request, output, as_json=as_json, quiet=quiet, no_progress=no_progress)
        return
    folder = output or Path(f"{source.resolve().stem}.tuned.snn")
    signing_key = trust.signing_key(key)
    kept = checkpoint or folder.with_name(f"{folder.name}.checkpoint")
    require_file(kept, makes_folder=True)
    observer = progress_observer(
        quiet=quiet, no_progress=no_progress, header=None if as_json else results()
    )
    observer.stage("checkpoint", f"{kept}: the same command resumes after the last finished epoch")
    tuned = _tuned(source, train, held_out, options, compiling, folder, kept, signing_key, observer)
    if checkpoint is None:
        from snn_compile.tune.seeds import checkpoint_of

        for index in range(options.seeds):
            checkpoint_of(kept, index).unlink(missing_ok=True)
    _show(tuned.report, folder, as_json, headed=observer.headed)
    trust.show_key(signing_key, as_json=as_json)
    check_limits(tuned.report, compiling, str(source))


def _tuned(
    source: Path,
    train: Path,
    held_out: Path | None,
    options: TuneOptions,
    compiling: CompileOptions,
    folder: Path,
    checkpoint: Path,
    key: SigningKey | None,
    observer: Observer,
) -> CompiledModel:
    """Tune a network and write its folder, which no other process writes meanwhile."""
    from snn_compile.bundle import claimed_output
    from snn_compile.tune.driver import tune_model

    with claimed_output(folder), naming_resumption(checkpoint.exists):
        tuned = tune_model(
            source,
            train,
            options=options,
            held_out=held_out,
            compile_options=compiling,
            evaluate=compiling.evaluate,
            checkpoint=checkpoint,
            observer=observer,
        )
        tuned.save(folder, sign=key)
    return tuned


def _steps_of(table: str, source: Path, compiling: CompileOptions) -> tuple[int, ...]:
    """The numbers of steps of a table.

    Raises:
        UsageError: they are none, or there is nothing to measure; all complaints at once.
    """
    complaints: list[CompileError] = []
    try:
        steps = tuple(int(part) for part in table.split(","))
    except ValueError:
        steps = ()
    if not steps or min(steps) < 1:
        hint = "give whole numbers with commas between them: --table 2,4,8"
        complaints.append(UsageError(f"table cannot be {table!r}", code="bad-option", hint=hint))
    if compiling.evaluate is None:
        hint = "add --evaluate"
        complaints.append(
            UsageError("--table needs evaluation data", code="missing-data", hint=hint)
        )
    if source.is_dir():
        complaints.append(
            UsageError(
                "--table compiles the network for each number of steps, and this one is compiled",
                code="bad-option",
                origin=Origin(str(source)),
                hint="give the model file",
            )
        )
    raise_all(complaints)
    return steps


def _compare(
    request: TableRequest, output: Path | None, *, as_json: bool, quiet: bool, no_progress: bool
) -> None:
    """Make a table and print it."""
    from snn_compile.tune.table import FILE, as_markdown, tuning_table

    folder = output or Path(f"{request.model.stem}.tune-table")
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    observer.stage("table", f"{folder}: the same command resumes after the last finished training")
    with naming_resumption(folder.exists):
        cells = tuning_table(request, folder, observer)
    if as_json:
        click.echo((folder / FILE).read_text(encoding="utf-8"), nl=False)
        return
    click.echo(as_markdown(cells))


def _compiling(source: Path, given: Mapping[str, Any], config: Path | None) -> CompileOptions:
    """The options of the compilation.

    Raises:
        UsageError: the network is already compiled, and an option applies to compilation only.
    """
    if not source.is_dir():
        return options_for(source, config, given)
    useless = [
        name.replace("_", "-")
        for name, value in given.items()
        if value not in (None, ()) and name not in OF_A_FOLDER
    ]
    if useless or config:
        raise UsageError(
            f"the network is already compiled: {', '.join(useless) or 'config'} has no effect",
            code="bad-option",
            origin=Origin(str(source)),
            hint="tune the model file to compile it with other options",
        )
    return read_options(None, {k: v for k, v in given.items() if k in OF_A_FOLDER})


def _show(report: Any, folder: Path, as_json: bool, *, headed: bool) -> None:
    if as_json:
        from snn_compile.report.schema import REPORT

        click.echo((folder / REPORT).read_text(encoding="utf-8"), nl=False)
        return
    from snn_compile.report import terminal

    console = results()
    if not headed:
        console.print(terminal.header(report))
    console.print()
    console.print(terminal.summary(report, str(folder)))
