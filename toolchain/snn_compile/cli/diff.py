"""``snn-compile diff``: compare two recorded runs, or a recorded run and the reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from snn_compile.cli.console import as_json, common, progress_observer, progress_options, show_json
from snn_compile.errors import CompileError, Origin, UsageError, VerificationError, raise_all
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from snn_compile.hil.comparison import Comparison
    from snn_compile.hil.diagnosis import Diagnosis
    from snn_compile.hil.recording import Recording
    from snn_compile.hil.surroundings import Surroundings
    from snn_compile.report.observer import Observer


@click.command(
    "diff", short_help="First difference of two traces, or of a trace and a compiled network."
)
@click.argument("expected", metavar="A", type=click.Path(path_type=Path))
@click.argument("actual", metavar="B", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="NPZ",
    help="Stimuli of the trace, if not the golden ones.",
)
@as_json
@progress_options
@common
def command(
    expected: Path,
    actual: Path,
    data: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Compare two recorded traces, or one with the reference simulation of a compiled folder.

    A is what is expected; a compiled folder always is. Exit code 7 if a message differs, 8 if a
    trace ends early and is equal so far.
    """
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    folders = [path for path in (expected, actual) if path.is_dir()]
    if len(folders) == 2:
        raise UsageError(
            "both are compiled folders",
            hint="record one of them: snn-compile hil DIR --device reference --record FILE",
        )
    if folders:
        trace = actual if folders[0] == expected else expected
        raise_all(_with_reference(folders[0], trace, data, observer, as_json=as_json))
        return
    if data is not None:
        raise UsageError("--data needs a compiled folder", code="bad-option")
    raise_all(_with_each_other(expected, actual, observer, as_json=as_json))


def _with_reference(
    folder: Path, path: Path, data: Path | None, observer: Observer, *, as_json: bool
) -> list[CompileError]:
    from snn_compile.cli import trust
    from snn_compile.cli.hil import of_recording, stimuli_of
    from snn_compile.hil.devices.replay import fits
    from snn_compile.hil.diagnosis import diagnose
    from snn_compile.hil.difference import from_reference
    from snn_compile.hil.recording import Recording
    from snn_compile.hil.surroundings import surroundings

    compiled = trust.open_folder(folder)
    at_hand, _ = stimuli_of(compiled, data)
    frames, _ = of_recording(folder, path, at_hand, None)
    with Recording.open(path) as recording:
        fits(recording, compiled.program)
        recording.check_stimuli(frames[: recording.header.recorded])
        if len(frames) < recording.header.recorded:
            raise UsageError(
                f"it was recorded for {pluralize(recording.header.n_stimuli, 'stimulus')},"
                f" and the data has only {len(frames)}",
                code="other-stimulus",
                origin=Origin(str(path)),
                hint="use the data of the recording: --data",
            )
        with observer.progress("compare", str(path), recording.header.recorded) as advance:
            comparison = from_reference(compiled.program, frames, recording, advance)
        found = {n: c.divergence for n, c in comparison.layers.items() if c.divergence is not None}
        exact = recording.header.about.exact
        diagnoses = diagnose(compiled.program, frames, recording, found, at_hand) if exact else []
        complete = recording.header.complete
        first = comparison.divergence
        # Only scripts and the page of a session ask for it: one more stimulus is simulated.
        around = None
        if as_json and first is not None:
            around = surroundings(compiled.program, frames, recording, first)
        _show(comparison, diagnoses, [], around, as_json=as_json, complete=complete)
        return _complaints(comparison, [recording], path)


def _with_each_other(
    expected: Path, actual: Path, observer: Observer, *, as_json: bool
) -> list[CompileError]:
    from snn_compile.hil.difference import between
    from snn_compile.hil.recording import Recording

    with Recording.open(expected) as one, Recording.open(actual) as other:
        stop = min(one.header.recorded, other.header.recorded)
        with observer.progress("compare", pluralize(stop, "stimulus"), stop) as advance:
            comparison, notes = between(one, other, advance)
        complete = one.header.complete and other.header.complete
        _show(comparison, [], notes, None, as_json=as_json, complete=complete)
        return _complaints(comparison, [one, other], actual)


def _complaints(
    comparison: Comparison, recordings: list[Recording], path: Path
) -> list[CompileError]:
    from snn_compile.hil.devices.replay import incomplete

    errors: list[CompileError] = []
    if comparison.divergence is not None:
        errors.append(
            VerificationError(f"not equal: {comparison.divergence}", origin=Origin(str(path)))
        )
    errors += [incomplete(r) for r in recordings if not r.header.complete]
    return errors


def _show(
    comparison: Comparison,
    diagnoses: list[Diagnosis],
    notes: list[str],
    around: Surroundings | None,
    *,
    as_json: bool,
    complete: bool,
) -> None:
    from snn_compile.cli import hil_show
    from snn_compile.cli.console import results
    from snn_compile.report.terminal import row

    if as_json:
        found = comparison.divergence
        content = {
            "equal": found is None,
            "complete": complete,
            "compared": comparison.compared,
            "first_divergence": None if found is None else found.as_dict(),
            **hil_show.parts(comparison, diagnoses, around),
            "notes": notes,
        }
        show_json(content)
        return
    console = results()
    console.print(row("compared", pluralize(comparison.compared, "message")))
    for note in notes:
        console.print(row("note", note))
    hil_show.verdict(console, comparison, diagnoses, complete=complete)
