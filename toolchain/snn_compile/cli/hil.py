"""``snn-compile hil``: the same stimuli on a device, compared with the reference bit for bit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snn_compile.cli import trust
from snn_compile.cli.completion import plugins
from snn_compile.cli.console import (
    as_json,
    common,
    device_settings,
    progress_observer,
    progress_options,
    time_limit,
)
from snn_compile.cli.report import record as record_outcomes
from snn_compile.errors import (
    CompileError,
    DeviceError,
    Origin,
    UsageError,
    VerificationError,
    raise_all,
)
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from snn_compile.bundle import CompiledModel
    from snn_compile.hil.diagnosis import Diagnosis
    from snn_compile.hil.session import Session
    from snn_compile.hil.surroundings import Surroundings
    from snn_compile.hil.verification import Verification
    from snn_compile.ir.fixedpoint import Int
    from snn_compile.report.observer import Observer

REPLAY = "replay:"
FAULTY = "faulty:"
"""Devices with injected faults, excluded from reports: they do not characterize the network."""


@dataclass(frozen=True, eq=False)
class Request:
    """A parsed request.

    Attributes:
        folder: the compiled network.
        device: name, perhaps with an argument.
        options: for the device.
        record: where to keep the trace, or None.
        time_limit: seconds for the device.
        tolerance: largest mean Victor-Purpura distance of a layer, for devices that are not exact.
    """

    folder: Path
    device: str
    options: Mapping[str, str]
    record: Path | None
    time_limit: float
    tolerance: float | None = None


@click.command("hil", short_help="Run a device on the same stimuli, and locate differences.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--device",
    metavar="NAME[:ARG]",
    shell_complete=plugins("devices"),
    help="reference, engine, lava, remote, replay, faulty, ...",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Compare a recorded trace; needs no device.",
)
@click.option(
    "--record", type=click.Path(path_type=Path), metavar="FILE", help="Keep the trace (npz)."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="NPZ",
    help="x, optionally y, instead of the golden stimuli.",
)
@click.option("--stimuli", type=click.IntRange(1), metavar="N", help="Only the first N.")
@time_limit(1800.0, "Seconds for the device.")
@click.option("--hardware", is_flag=True, help="lava: on a chip, not in Lava's simulation.")
@device_settings
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    metavar="D",
    help="Devices that are not exact: largest mean Victor-Purpura distance of a layer.",
)
@trust.signer
@as_json
@progress_options
@common
def command(
    folder: Path,
    device: str | None,
    replay: Path | None,
    record: Path | None,
    data: Path | None,
    stimuli: int | None,
    time_limit: float,
    hardware: bool,
    settings: tuple[str, ...],
    tolerance: float | None,
    signer: Path | None,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Run a device on the stimuli of DIR and compare every message with the reference simulator.

    If they differ: the first message that does, what fed that neuron, and the likely cause. The
    outcome is added to the reports. Exit code 7 if a bit differs, 8 if the device is missing, lost,
    or over its time.
    """
    from snn_compile.cli import hil_show
    from snn_compile.files.writing import require_file

    if record is not None:
        require_file(record)
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    compiled = trust.open_folder(folder, signer)
    frames, labels = stimuli_of(compiled, data)
    options = parse_settings(settings)
    if hardware:
        target = str(compiled.report.get("target") or "")
        options.setdefault("hardware", target if target.startswith("loihi") else "loihi2")
    name = device_or_replay(device, replay)
    at_hand = frames
    if name.startswith(REPLAY):
        frames, known = of_recording(folder, Path(name.removeprefix(REPLAY)), frames, device)
    else:
        known = name
    frames = frames[:stimuli]
    request = Request(folder, name, options, record, time_limit, tolerance)
    with tempfile.TemporaryDirectory(prefix="snn-compile-hil-") as scratch:
        session, diagnoses, around = run(
            compiled, frames, request, known, Path(scratch), observer, at_hand=at_hand
        )
    outcome = verification(compiled, session, diagnoses, known, form_of(options))
    errors = complaints(session, outcome, request)
    finished = session.done == len(frames) or outcome.first_divergence is not None
    if finished and not known.startswith(FAULTY):
        record_outcomes(folder, compiled.report, [outcome])
    accuracy = hil_show.accuracy(compiled, session, labels)
    complete = session.done == len(frames)
    hil_show.show(
        outcome, session.comparison, diagnoses, accuracy, around, as_json=as_json, complete=complete
    )
    if record is not None and session.trace is not None and not quiet:
        click.echo(f"recorded {session.trace}", err=True)
    raise_all(errors)


def device_or_replay(device: str | None, replay: Path | None) -> str:
    """The device, or the recording that replaces it.

    Raises:
        UsageError: neither is named.
    """
    if replay is not None:
        return f"{REPLAY}{replay}"
    if device is None:
        from snn_compile.plugins import DEVICES

        raise UsageError(
            "no device is named",
            hint=f"--device {', '.join(DEVICES.names())}; or --replay FILE",
        )
    return device


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """Options of a device from KEY=VALUE.

    Raises:
        UsageError: an option has another form.
    """
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes KEY=VALUE, not '{setting}'")
        options[key.strip().replace("-", "_")] = value
    return options


def stimuli_of(
    compiled: CompiledModel, data: Path | None
) -> tuple[Int, npt.NDArray[np.int64] | None]:
    """Encoded stimuli, and labels if present: of a file, or the golden ones."""
    if data is None:
        return compiled.stimulus, None
    from snn_compile.cli.run import load
    from snn_compile.samples.stored import as_array
    from snn_compile.sim.frames import encoded_rows

    samples = load(compiled, data)
    return as_array(encoded_rows(compiled.encoding, samples.x), "int64", str(data)), samples.y


def of_recording(folder: Path, path: Path, frames: Int, device: str | None) -> tuple[Int, str]:
    """The stimuli of a recording, and its device.

    Raises:
        UsageError: it belongs to a different network or device.
    """
    from snn_compile.hil.recording import Recording
    from snn_compile.sealed import read_seal

    with Recording.open(path) as recording:
        about, count = recording.header.about, recording.header.n_stimuli
    if about.network != read_seal(folder):
        raise UsageError(
            f"it was recorded from a different network than {folder}",
            code="other-network",
            origin=Origin(str(path)),
            hint=f"record one: snn-compile hil {folder} --device NAME --record FILE",
        )
    if device is not None and not device.startswith(REPLAY) and device != about.device:
        raise UsageError(
            f"it was recorded on '{about.device}', not on '{device}'",
            code="other-device",
            origin=Origin(str(path)),
            hint="omit --device",
        )
    return frames[:count], about.device


def run(
    compiled: CompiledModel,
    frames: Int,
    request: Request,
    name: str,
    scratch: Path,
    observer: Observer,
    *,
    at_hand: Int,
) -> tuple[Session, list[Diagnosis], Surroundings | None]:
    """Run the device in a child process, record, compare, diagnose, and look around.

    ``at_hand`` are all available stimuli, beginning with those to run.
    """
    from snn_compile.hil import session
    from snn_compile.hil.diagnosis import diagnose
    from snn_compile.hil.isolation import IsolatedDevice
    from snn_compile.hil.recording import Recording
    from snn_compile.hil.surroundings import surroundings
    from snn_compile.hil.trace import About
    from snn_compile.sealed import read_seal

    program = compiled.program
    device = IsolatedDevice(request.device, request.options, request.time_limit)
    try:
        with observer.activity("start"):
            capabilities = device.load(program, request.folder)
        window = program.window
        about = About(
            read_seal(request.folder),
            window.coding,
            window.n_steps,
            name,
            capabilities.exact,
            capabilities.facts,
        )
        text = f"{name}, {pluralize(len(frames), 'stimulus')}"
        with observer.progress("device", text, len(frames)) as advance:
            done = session.run(
                device,
                capabilities,
                program,
                frames,
                record=request.record or scratch / "trace.npz",
                about=about,
                time_limit=request.time_limit,
                advance=advance,
            )
    finally:
        device.close()
    layers = done.comparison.layers.values()
    found = {layer.layer: layer.divergence for layer in layers if layer.divergence is not None}
    first = done.comparison.divergence
    if first is None or done.trace is None:
        return done, [], None
    with observer.activity("diagnose"), Recording.open(done.trace) as recording:
        around = surroundings(program, frames, recording, first)
        exact = capabilities.exact
        diagnoses = diagnose(program, frames, recording, found, at_hand) if exact else []
        return done, diagnoses, around


def form_of(options: Mapping[str, str]) -> str:
    """The form of this run, distinct from other runs of the device and from ``verify``."""
    parts = [f"{key}={value}" for key, value in sorted(options.items())]
    return ", ".join(["device", *parts])


def verification(
    compiled: CompiledModel, session: Session, diagnoses: list[Diagnosis], name: str, form: str
) -> Verification:
    """The row for the reports."""
    from snn_compile.hil.verification import Verification

    program, comparison = compiled.program, session.comparison
    facts = ", ".join(f"{key} {value}" for key, value in session.capabilities.facts.items())
    details = [f"'{one.layer}': {one.causes[0]}" for one in diagnoses if one.causes]
    if session.failure is not None:
        details.append(session.failure.message.splitlines()[0])
    return Verification(
        name,
        facts or "no further facts",
        session.done,
        session.done * program.window.n_steps + program.latency,
        comparison.compared,
        comparison.divergence is None,
        comparison.divergence,
        tuple(details),
        form,
    )


def complaints(session: Session, outcome: Verification, request: Request) -> list[CompileError]:
    """Errors for the exit code: first a difference, then a device failure."""
    errors: list[CompileError] = []
    measured = session.comparison.layers.values()
    furthest = max((one.victor_purpura / one.trains for one in measured if one.trains), default=0)
    if request.tolerance is not None and session.capabilities.exact:
        raise UsageError(
            f"'{outcome.against}' claims bit accuracy: --tolerance does not apply",
            code="bad-option",
        )
    if outcome.first_divergence and (request.tolerance is None or furthest > request.tolerance):
        distance = "" if session.capabilities.exact else f"; furthest layer: {furthest:.4g} apart"
        errors.append(
            VerificationError(
                f"{outcome.against} is not equal to the reference:"
                f" {outcome.first_divergence}{distance}",
                origin=Origin(str(request.folder)),
                hint=f"likely cause: {outcome.details[0]}" if outcome.details else "",
            )
        )
    if session.failure is not None:
        errors.append(_with_trace(session.failure, session, request))
    return errors


def _with_trace(failure: DeviceError, session: Session, request: Request) -> DeviceError:
    """The failure, with the path of the partial results."""
    if session.trace is None or request.record is None:
        return failure
    first, *rest = failure.message.splitlines()
    verb = "is" if session.done == 1 else "are"
    message = "\n".join(
        [f"{first}; {pluralize(session.done, 'stimulus')} {verb} in {session.trace}", *rest]
    )
    return DeviceError(message, code=failure.code, origin=failure.origin, hint=failure.hint)
