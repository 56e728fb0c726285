"""``snn-compile MODEL.onnx``: compile a network into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli import ci, cluster, trust
from snn_compile.cli.console import as_json, common, progress_options, results
from snn_compile.cli.model_config import config_beside, options_for
from snn_compile.cli.passes import AroundPasses, around_passes
from snn_compile.cli.resuming import naming_resumption
from snn_compile.cli.settings import GroupedCommand, settings
from snn_compile.errors import CompileError, UsageError, raise_all
from snn_compile.files.presence import require_present
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from snn_compile.bundle import CompiledModel
    from snn_compile.options import CompileOptions
    from snn_compile.pipeline.work import WorkFolder
    from snn_compile.report.observer import Observer
    from snn_compile.report.outcome import Outcome
    from snn_compile.report.progress import TerminalObserver
    from snn_compile.signing import SigningKey


@click.command("compile", cls=GroupedCommand, short_help="Compile a model (the default command).")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder to write (default: MODEL.snn here).",
)
@settings
@click.option("--no-emit", is_flag=True, help="Write no backend's files.")
@cluster.option
@click.option(
    "--resume", is_flag=True, help="Go on where an interrupted compilation of the same has stopped."
)
@around_passes
@trust.sign
@ci.outputs("summary", "junit", "github", subject="model")
@as_json
@progress_options
@common
def command(
    model: Path,
    output: Path | None,
    config: Path | None,
    no_emit: bool,
    address: str | None,
    resume: bool,
    passes: AroundPasses,
    key: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
    outcome: Outcome,
    **given: Any,
) -> None:
    """Compile MODEL, an ONNX file, into a folder.

    The folder holds report.json, report.html, the sealed network, a stimulus with the expected
    response, and what each backend needs. Options can also stand in a TOML file, by the same
    names: the one given with --config, else MODEL.toml beside MODEL.onnx if there is one.
    """
    options = options_for(model, config, {**given, "emit": ""} if no_emit else given)
    refuse_unmeasurable(options)
    require_present({"MODEL": model, **files_of(options)})
    if resume:
        _require_hidden(passes)
    cluster.refuse_idle(address, options.evaluate)
    if passes.handle_queries(model, options, as_json=as_json):
        return
    folder = output or Path(f"{model.stem}.snn")
    signing_key = trust.signing_key(key)
    observer = passes.observer(as_json, quiet, no_progress)
    if (used := config or config_beside(model)) is not None:
        observer.stage("config", str(used))
    from snn_compile.pipeline.driver import compile_model
    from snn_compile.report.tables import of_report

    def compiled_now(work: WorkFolder | None = None) -> CompiledModel:
        with cluster.workers_at(address) as workers:
            return compile_model(
                model,
                options=options,
                observer=observer,
                instruments=passes.instruments,
                workers=workers,
                work=work,
            )

    if passes.stop_after:
        passes.run_until_stop(compiled_now)
        return
    with working(model, folder, options, observer, resume=resume) as work:
        compiled = compiled_now(None if passes.show_networks else work)
        write(compiled, folder, signing_key, observer)
    outcome.warnings = compiled.report["warnings"]
    outcome.tables += of_report(compiled.report)
    _show(compiled.report, folder, observer, as_json)
    trust.show_key(signing_key, as_json=as_json)
    passes.show_times(compiled.report["timing"])
    check_limits(compiled.report, options, str(model), outcome)


def _require_hidden(passes: AroundPasses) -> None:
    """Refuse to resume where networks between passes are to be shown."""
    if passes.show_networks:
        raise UsageError(
            "--resume leaves out passes that have run, and their networks are to be shown",
            code="bad-option",
            hint="leave out --resume, or the options that show or check networks",
        )


@contextmanager
def working(
    model: Path,
    output: Path,
    options: CompileOptions,
    observer: TerminalObserver,
    *,
    resume: bool,
) -> Iterator[WorkFolder]:
    """The folder of the compilation's progress; says how to resume if it is interrupted.

    Meanwhile no other process writes the output.
    """
    from snn_compile.bundle import claimed_output
    from snn_compile.pipeline.work import work_folder

    with claimed_output(output), work_folder(output, model, options, {}, resume=resume) as work:
        for finding in work.findings:
            observer.finding(finding)
        if work.n_kept:
            results_kept = pluralize(work.n_kept, "result")
            observer.stage("resume", f"{results_kept} of the interrupted compilation")
        with naming_resumption(lambda: work.has_results, "--resume"):
            yield work


def write(
    compiled: CompiledModel, folder: Path, key: SigningKey | None, observer: Observer
) -> None:
    """Write the folder; show the progress of its golden messages where they take a while."""
    from snn_compile.hil import golden

    program, n = compiled.program, len(compiled.stimulus)
    if not golden.is_sampled(program, n):
        compiled.save(folder, sign=key)
        return
    observer.stage("golden", golden.summary(program, n))
    total = golden.work_items(program, n)
    with observer.progress("golden", pluralize(total, "simulation"), total) as advance:
        compiled.save(folder, sign=key, advance=advance)


def check_limits(
    report: Any, options: CompileOptions, file: str, outcome: Outcome | None = None
) -> None:
    """Hold a network to the limits of the options.

    Raises:
        CompileError: some are broken; all complaints at once.
    """
    from snn_compile.report import limits
    from snn_compile.report.outcome import Check

    broken = limits.broken(report, options, file)
    if outcome is not None:
        outcome.checks += [Check(name.replace("_", "-"), errors) for name, errors in broken.items()]
    raise_all([error for errors in broken.values() for error in errors])


def files_of(options: CompileOptions) -> dict[str, Path | None]:
    """The files that options name, by the words for them."""
    return {f"--{name}": getattr(options, name) for name in ("calibrate", "evaluate", "placement")}


def refuse_unmeasurable(options: CompileOptions) -> None:
    """Refuse limits of what only samples show, where there are none."""
    from snn_compile.report.limits import MEASURED

    errors: list[CompileError] = []
    if options.max_accuracy_drop is not None and options.evaluate is None:
        errors.append(
            UsageError(
                "--max-accuracy-drop needs evaluation data",
                code="missing-data",
                hint="add --evaluate",
            )
        )
    if options.evaluate is None and options.calibrate is None:
        errors += [
            UsageError(
                f"--{name.replace('_', '-')} needs samples: messages are counted on them",
                code="missing-data",
                hint="add --evaluate",
            )
            for name in MEASURED
            if getattr(options, name) is not None
        ]
    raise_all(errors)


def _show(report: Any, folder: Path, observer: TerminalObserver, as_json: bool) -> None:
    if as_json:
        from snn_compile.report.schema import REPORT

        click.echo((folder / REPORT).read_text(encoding="utf-8"), nl=False)
        return
    from snn_compile.report import terminal

    console = results()
    if not observer.headed:
        console.print(terminal.header(report))
    console.print()
    console.print(terminal.summary(report, str(folder)))
