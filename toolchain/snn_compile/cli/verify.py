"""``snn-compile verify``: seals, golden traces, engine and emitted backends, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from snn_compile.cli import ci, cluster, trust
from snn_compile.cli.console import (
    as_json,
    common,
    progress_observer,
    progress_options,
    results,
    show_json,
    show_table,
    time_limit,
)
from snn_compile.cli.report import record
from snn_compile.errors import (
    CompileError,
    DeviceError,
    Origin,
    UsageError,
    VerificationError,
    raise_all,
)
from snn_compile.files.presence import require_present
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from snn_compile.bundle import CompiledModel
    from snn_compile.hil.verification import Verification
    from snn_compile.report.observer import Observer
    from snn_compile.report.outcome import Check, Outcome
    from snn_compile.samples.rows import Rows
    from snn_compile.sim.batches import Advance
    from snn_compile.workers import Workers

GOLDEN, ENGINE = "golden", "engine"
NONE = "–"
ROWS = 3200
MIN_STIMULI = 8
"""Default limit of a backend's stimuli, in time steps. A deep network takes Lava up to a tenth of a
second a step; no layer is ever left out."""


@click.command("verify", short_help="Compare every emitted form with the reference, bit for bit.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--stimuli",
    type=click.IntRange(1),
    metavar="N",
    help="Stimuli (default: all of them, or as many as fit into 3,200 time steps).",
)
@time_limit(1800.0, "Seconds for each backend.")
@click.option("--against", multiple=True, metavar="B[,B]", help="Only these (default: all).")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="NPZ",
    help="Samples in place of the stored stimuli, for all but the golden traces.",
)
@cluster.option
@trust.signer
@ci.outputs("summary", "junit", "github", subject="folder")
@as_json
@progress_options
@common
def command(
    folder: Path,
    stimuli: int | None,
    time_limit: float,
    against: tuple[str, ...],
    data: Path | None,
    address: str | None,
    signer: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
    outcome: Outcome,
) -> None:
    """Check the seals of DIR, then compare everything in it with the reference simulator.

    First the golden traces, then what each build of the compiled engine and each backend makes of
    the same stimuli, or of the samples of --data. With --signer, its signature before anything
    else. Exit code 7 if a bit differs, 8 if a backend's environment is missing. The outcome is
    added to the reports.
    """
    require_present({"--data": data})
    from snn_compile.report.outcome import Check

    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    compiled = trust.open_folder(folder, signer)
    trust.print_signer(folder, signer, quiet=quiet)
    names = selected_checks(folder, against, compiled)
    if address is not None:
        cluster.check(address)
    samples = frames_of(compiled, data)
    if address is None and len(compiled.stimulus) and not (quiet or no_progress):
        text = expected(compiled, folder, names, stimuli, time_limit, samples)
        observer.stage("expected", text)
    outcomes: list[Verification] = []
    missing: list[CompileError] = []
    try:
        with cluster.workers_at(address) as workers:
            for name in names:
                try:
                    compared = compare(
                        compiled, folder, name, stimuli, time_limit, observer, samples, workers
                    )
                    outcomes.append(compared)
                    outcome.checks.append(_check(folder, compared))
                except DeviceError as error:
                    missing.append(error)
                    outcome.checks.append(Check(name, [error]))
    finally:
        if outcomes:
            try:
                record(folder, compiled.report, outcomes)
            finally:  # show the outcomes even if they cannot be stored
                _show(outcomes, as_json)
    differences = [one for one in outcome.complaints if one not in missing]
    raise_all([*differences, *missing])


def _check(folder: Path, outcome: Verification) -> Check:
    """The outcome of a comparison, for continuous integration."""
    from snn_compile.report.outcome import Check

    skipped = "not compared" if outcome.equal is None else ""
    return Check(outcome.against, [*_differences(folder, [outcome])], skipped)


def _differences(folder: Path, outcomes: list[Verification]) -> list[CompileError]:
    return [
        VerificationError(
            f"{outcome.against} is not equal to the reference:"
            f" {outcome.first_divergence or (outcome.details or ('files differ',))[0]}",
            origin=Origin(str(folder)),
            hint="compile again if the folder has been changed; otherwise report a bug",
        )
        for outcome in outcomes
        if outcome.equal is False
    ]


def selected_checks(folder: Path, against: tuple[str, ...], compiled: CompiledModel) -> list[str]:
    """The comparisons to run: golden traces, engine and every backend, or those named.

    A backend in the seal whose files are missing is always included: an incomplete folder does not
    verify, whatever is selected.

    Raises:
        UsageError: a named backend is neither in the folder nor in the seal.
        VerificationError: the report is missing.
    """
    from snn_compile.plugins import BACKENDS

    if not compiled.report:
        raise VerificationError(
            "report.json is missing",
            code="incomplete-report",
            origin=Origin(str(folder)),
            hint="compile again",
        )
    emitted = [name for name in BACKENDS.names() if (folder / name).is_dir()]
    there = [GOLDEN, ENGINE, *emitted]
    missing = [name for name in compiled.backends if name not in there]
    named = [name.strip() for part in against for name in part.split(",") if name.strip()]
    for name in named:
        if name not in (*there, *missing):
            raise UsageError(
                f"the folder has no files of '{name}' to compare with",
                code="nothing-to-verify",
                origin=Origin(str(folder)),
                hint=f"it holds {', '.join(there)}",
            )
    return list(dict.fromkeys([*(named or there), *missing]))


def compare(
    compiled: CompiledModel,
    folder: Path,
    name: str,
    stimuli: int | None,
    time_limit: float,
    observer: Observer,
    frames: Rows | None = None,
    workers: Workers | None = None,
) -> Verification:
    """Compare the reference with the golden traces, with the engine or with one backend.

    ``frames`` are encoded samples in place of the stored stimuli; golden traces and engine are
    compared by ``workers``, if there are any.

    Raises:
        DeviceError: the backend's environment is missing, or it failed or took too long.
        UsageError: the selected engine is not installed or does not work.
    """
    from snn_compile.hil import engine, golden
    from snn_compile.hil.verification import Verification
    from snn_compile.plugins import Verifiable
    from snn_compile.samples.stored import as_array

    everything = frames is not None or workers is not None
    frames = frames_for(compiled, name, stimuli, frames, everything=everything)
    on_workers = workers is not None and name in (GOLDEN, ENGINE) and len(frames) > 0
    total = len(frames)
    if name == GOLDEN and not on_workers:
        total = golden.work_items(compiled.program, total)
    with observer.progress(name, pluralize(len(frames), "stimulus"), total) as advance:
        if workers is not None and on_workers:
            return _compare_on(workers, compiled, name, frames, advance)
        if name == GOLDEN:
            return compiled.verify_golden(frames[:], advance)
        if name == ENGINE:
            return engine.verify(compiled.program, frames, advance)
        if not (folder / name).is_dir():
            missing = f"{name}/ is missing, and the seal lists it"
            return Verification(name, "nothing is there", 0, 0, 0, equal=False, details=(missing,))
        backend = compiled.backend(name)
        if not isinstance(backend, Verifiable):
            return Verification(name, "the backend cannot run its output", 0, 0, 0, equal=None)
        shown = as_array(frames, "int64", f"the stimuli of '{name}'")
        return backend.verify(
            compiled.program, folder / name, shown, time_limit=time_limit, progress=advance
        )


def frames_of(compiled: CompiledModel, data: Path | None) -> Rows | None:
    """The samples of a file, encoded; None without one."""
    if data is None:
        return None
    from snn_compile.cli.run import load
    from snn_compile.sim.frames import encoded_rows

    return encoded_rows(compiled.encoding, load(compiled, data).x)


def _compare_on(
    workers: Workers, compiled: CompiledModel, name: str, frames: Rows, advance: Advance
) -> Verification:
    """Compare golden traces or the engine on workers."""
    from snn_compile.pipeline.spread.verification import trace_on, verify_engine_on

    if name == ENGINE:
        return verify_engine_on(workers, compiled.program, frames, advance)
    return compiled.verify_golden(
        frames[:], recorded=trace_on(workers, compiled.program, frames, advance)
    )


def frames_for(
    compiled: CompiledModel,
    name: str,
    stimuli: int | None,
    samples: Rows | None = None,
    *,
    everything: bool = False,
) -> Rows:
    """The stimuli of a comparison: as many as requested, or as fit; the engine may get all.

    ``samples`` are in place of the stored stimuli, which the golden traces belong to.
    """
    from snn_compile.hil import golden
    from snn_compile.samples.rows import head

    fitting = max(MIN_STIMULI, ROWS // compiled.program.window.n_steps)
    shown: Rows = compiled.stimulus if samples is None or name == GOLDEN else samples
    of_engine = None if everything else golden.n_for_reference(compiled.program)
    by_default = {GOLDEN: None, ENGINE: of_engine}
    most = stimuli or by_default.get(name, fitting)
    return shown if most is None else head(shown, most)


def expected(
    compiled: CompiledModel,
    folder: Path,
    names: list[str],
    stimuli: int | None,
    time_limit: float,
    samples: Rows | None = None,
) -> str:
    """How long each comparison will take, from its work and the speed of this machine."""
    from snn_compile.hil.duration import Speed
    from snn_compile.plugins import BACKENDS
    from snn_compile.report.heartbeat import clock

    speed = Speed.measure(compiled.program, compiled.stimulus)
    parts = []
    for name in names:
        is_emitted = name not in (GOLDEN, ENGINE) and (folder / name).is_dir()
        backend = BACKENDS.load(name) if is_emitted else None
        everything = samples is not None
        n = len(frames_for(compiled, name, stimuli, samples, everything=everything))
        seconds = speed.expected(name, backend, compiled.program, n)
        if seconds is None:
            parts.append(f"{name} up to {clock(time_limit)}")
            continue
        low, high = seconds
        parts.append(f"{name} {clock(low)} to {clock(high)}")
    return " · ".join(parts)


def _show(outcomes: list[Verification], as_json: bool) -> None:
    if as_json:
        show_json([o.as_dict() for o in outcomes])
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("reference against")
    for name in ("stimuli", "steps", "compared"):
        table.add_column(name, justify="right")
    table.add_column("")
    for outcome in outcomes:
        # A file that is read back and not run has no stimuli.
        verdict = Text("equal, bit for bit" if outcome.stimuli else "equal, not run", "green")
        if outcome.equal is None:
            verdict = Text("not compared", "dim")
        elif not outcome.equal:
            verdict = Text("differs", "bold red")
            if outcome.first_divergence:
                verdict.append(f"\n{outcome.first_divergence}", "red")
        counts = (outcome.stimuli, outcome.steps, outcome.compared)
        shown = [f"{count:,}" if count else NONE for count in counts]
        table.add_row(outcome.against, *shown, verdict)
    console = results()
    show_table(console, table)
    for outcome in outcomes:
        console.print(Text(f"  {outcome.against}: {outcome.mode}", "dim"))
