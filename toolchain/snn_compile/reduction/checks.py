"""What makes a case interesting: two executors that differ on it, or whatever a command says."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from snn_compile.errors import UsageError
from snn_compile.hil import engine
from snn_compile.hil.device import checked, layers_of
from snn_compile.ir.graph import NodeId
from snn_compile.ir.reading import Stage
from snn_compile.plugins import open_device
from snn_compile.reduction.case import Case, write, write_text
from snn_compile.sim import reference
from snn_compile.sim.engine import no_engine

Check = Callable[[Case], bool]
"""Whether a case is still of interest."""
PLACE = "{}"
"""In a command, where the path of the text goes."""
TEXT = "network.snt"


def engine_differs(case: Case) -> bool:
    """Whether a build of the engine sends anything else than the reference does."""
    return engine.verify(case.program, case.frames).equal is False


def require_engine(case: Case) -> None:
    """See that the engine computes a network.

    Raises:
        UsageError: it does not.
    """
    if why := no_engine(case.program):
        raise UsageError(
            f"there is nothing to compare the reference with: {why}",
            code="no-engine",
            hint="give a check of your own: --check COMMAND",
        )


class Device:
    """Whether a device sends anything else than the reference does.

    It runs in this process, and finds no files: one that needs a compiled folder, or that may take
    this process down, is for a command.

    Args:
        name: as ``hil --device`` takes it.
        options: as ``--set`` gives them.
        time_limit: seconds for each case.
    """

    def __init__(self, name: str, options: Mapping[str, str], time_limit: float) -> None:
        self._name, self._options, self._time_limit = name, options, time_limit

    def __call__(self, case: Case) -> bool:
        """Whether a case is of interest.

        Raises:
            CompileError: the device is missing, failed, or cannot run the network.
        """
        device = open_device(self._name, self._options)
        try:
            with tempfile.TemporaryDirectory(prefix="snn-compile-reduce-") as folder:
                layers = layers_of(case.program, device.load(case.program, Path(folder)))
                pieces = device.run(case.frames, self._time_limit)
                expected = reference.run(case.program, case.frames, record=True).messages
                return any(
                    not np.array_equal(part, expected[NodeId(layer)][piece.first :][: len(part)])
                    for piece in checked(pieces, case.program, layers, len(case.frames))
                    for layer, part in piece.messages.items()
                )
        finally:
            device.close()


class Command:
    """A command that ends with 0 as long as what it is given is of interest.

    It is run in the working folder, without a shell, without input, and what it prints is dropped.

    Args:
        line: the command, in the words that a shell would make of it. The path of the text takes
            the place of ``{}``, or stands at the end.
        time_limit: seconds for everything; a command that is not done by then says no, but the
            first one has to say something.

    Raises:
        UsageError: it is no command.
    """

    def __init__(self, line: str, time_limit: float) -> None:
        try:
            self._words = shlex.split(line)
        except ValueError as error:
            raise _no_command(line, str(error)) from error
        if not self._words:
            raise _no_command(line, "it is empty")
        if not any(PLACE in word for word in self._words):
            self._words.append(PLACE)
        self._deadline = time.monotonic() + time_limit
        self._has_answered = False

    def __call__(self, case: Case) -> bool:
        """Whether a case is of interest."""
        return self._holds(lambda path: write(path, case))

    def of_stage(self, stage: Stage) -> bool:
        """Whether a network of any stage is of interest."""
        return self._holds(lambda path: write_text(path, stage))

    def _holds(self, put: Callable[[Path], None]) -> bool:
        with tempfile.TemporaryDirectory(prefix="snn-compile-reduce-") as folder:
            path = Path(folder) / TEXT
            put(path)
            code = self._run([word.replace(PLACE, str(path)) for word in self._words])
        if code is None and not self._has_answered:
            raise UsageError(
                "the time was up before the command had ended for the first time",
                code="timed-out",
                hint="give --time-limit more seconds, or look why the command does not end",
            )
        self._has_answered = True
        return code == 0

    def _run(self, words: list[str]) -> int | None:
        """The exit code; None where the time was up."""
        try:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise _no_command(words[0], error.strerror or str(error)) from error
        try:
            return child.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a command with all that it has started and left."""
    with contextlib.suppress(OSError):
        if os.name == "nt":
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _no_command(line: str, why: str) -> UsageError:
    return UsageError(
        f"'{line}' cannot be run: {why}",
        code="bad-option",
        hint="--check 'python check.py {}'; for a shell, say so: --check \"sh -c '...' {}\"",
    )
