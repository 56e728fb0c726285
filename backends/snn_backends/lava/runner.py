"""Running an emitted folder in the Lava environment, within a time limit and without leftovers."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_backends.lava import supervisor
from snn_backends.lava.environment import ISOLATED, LavaEnvironment, clean_environment
from snn_compile.errors import DeviceError

GRACE_SECONDS = 10.0
"""Time for the supervisor's clean-up."""
NO_CHIP = 8
"""Exit status of ``run.py`` where Lava's extension for chips is missing."""
NO_CHIP_HINT = "Intel gives it to members of its research community; without it: --device lava"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
"""Lava runs one process a layer: threads inside them only get into each other's way."""


FOLDER_PREFIX = "lava-"
MAX_FOLDER_LENGTH = 56
"""Of the folder in which that for Lava's temporary files is made: Lava's processes make sockets two
levels below it, whose paths may have 107 bytes, and leave them behind when they are killed."""


@dataclass(frozen=True)
class EmittedRun:
    """One Lava run of an emitted folder.

    Attributes:
        folder: with the traces.
        facts: rows, seconds, versions: what ``run.py`` reports.
    """

    folder: Path
    facts: dict[str, Any]


def run_emitted(
    environment: LavaEnvironment,
    folder: Path,
    stimulus: Path,
    traces: Path,
    *,
    time_limit: float,
    synapses: str = "sparse",
    probes: Path | None = None,
    hardware: str = "",
    variables: Mapping[str, str] | None = None,
) -> EmittedRun:
    """Run an emitted folder as a supervised child process.

    Args:
        environment: where Lava is.
        folder: the emitted network.
        stimulus: npz file for its ``run.py``.
        traces: folder for what it writes.
        time_limit: seconds.
        synapses: form of the convolutions, ``sparse`` or ``conv``.
        probes: npz file with payloads to drive the synapse groups one by one, afterwards.
        hardware: ``loihi1`` or ``loihi2`` to run on a chip; empty for Lava's simulation.
        variables: environment variables that locate the chip.

    Raises:
        DeviceError: it failed, or did not end in time.
    """
    supervised = supervisor.__file__, str(time_limit), secrets.token_hex(6)
    command = [
        *(sys.executable, "-S", ISOLATED, *supervised),
        *environment.command(folder / "run.py"),
        *(str(stimulus), "-o", str(traces), "--synapses", synapses),
        *(("--probes", str(probes)) if probes else ()),
        *(("--hardware", hardware) if hardware else ()),
    ]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as log,
        tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=_short_folder()) as own,
    ):
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=clean_environment() | ONE_THREAD | {"TMPDIR": own} | dict(variables or {}),
            start_new_session=True,
        )
        try:
            status = child.wait(time_limit + GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            status = supervisor.TIMED_OUT
        finally:
            _end(child)
        log.seek(0)
        output = log.read()
    return _outcome(status, output, traces, time_limit)


def _outcome(status: int, output: str, traces: Path, time_limit: float) -> EmittedRun:
    """What a run has left.

    Raises:
        DeviceError: it failed, or did not end in time.
    """
    facts = traces / "run.json"
    if status == supervisor.TIMED_OUT:
        raise DeviceError(
            f"Lava did not finish within {time_limit:g} s and was stopped",
            code="lava-timeout",
            hint="verify fewer stimuli or allow more time",
        )
    if status == NO_CHIP:
        raise DeviceError(_tail(output).strip(), code="no-hardware", hint=NO_CHIP_HINT)
    if status or not facts.is_file():
        raise DeviceError(
            f"Lava failed with exit status {status}:\n{_tail(output)}", code="lava-failed"
        )
    return EmittedRun(traces, json.loads(facts.read_text(encoding="utf-8")))


def _short_folder() -> str | None:
    """Where to put Lava's temporary files, if the user's own folder for them is too deep."""
    if os.name == "nt" or len(os.fsencode(tempfile.gettempdir())) <= MAX_FOLDER_LENGTH:
        return None
    return "/tmp"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask the supervisor to clean up, then make sure that it is gone."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _tail(output: str, n_lines: int = 12) -> str:
    lines = [line for line in output.strip().splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-n_lines:]) or "  (no output)"
