"""Interestingness checks: two executors differ on a case, or a command exits with 0."""

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
from snn_compile.hil.device import layers_of, validate_pieces
from snn_compile.ir.graph import NodeId
from snn_compile.ir.reading import Stage
from snn_compile.plugins import open_device
from snn_compile.reduction.case import Case, write, write_text
from snn_compile.sim import reference
from snn_compile.sim.engine import no_engine

Check = Callable[[Case], bool]
"""Whether a case is still interesting."""
PLACE = "{}"
"""Placeholder for the path of the text in a command."""
TEXT = "network.snt"


def engine_differs(case: Case) -> bool:
    """Whether a build of the engine differs from the reference."""
    return engine.verify(case.program, case.frames).equal is False


def require_engine(case: Case) -> None:
    """Check that the engine supports a network.

    Raises:
        UsageError: it does not.
    """
    if why := no_engine(case.program):
        raise UsageError(
            f"there is nothing to compare the reference with: {why}",
            code="no-engine",
            hint="use a custom check: --check COMMAND",
        )


class Device:
    """Whether a device differs from the reference.

    It runs in this process, without files: a device that needs a compiled folder, or that may crash
    this process, requires a command.

    Args:
        name: value of ``hil --device``.
        options: as ``--set`` gives them.
        time_limit: seconds for each case.
    """

    def __init__(self, name: str, options: Mapping[str, str], time_limit: float) -> None:
        self._name, self._options, self._time_limit = name, options, time_limit

    def __call__(self, case: Case) -> bool:
        """Whether a case is interesting.

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
                    for piece in validate_pieces(pieces, case.program, layers, len(case.frames))
                    for layer, part in piece.messages.items()
                )
        finally:
            device.close()


class Command:
    """A command that exits with 0 on an interesting case.

    It runs in the working folder, without a shell or input; its output is discarded.

    Args:
        line: the command, split into words like a shell. The path of the text replaces ``{}``, or
            is appended.
        time_limit: seconds in total; a command beyond it counts as not interesting, but the first
            one must complete.

    Raises:
        UsageError: it is not a command.
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
        """Whether a case is interesting."""
        return self._holds(lambda path: write(path, case))

    def of_stage(self, stage: Stage) -> bool:
        """Whether a network of any stage is interesting."""
        return self._holds(lambda path: write_text(path, stage))

    def _holds(self, put: Callable[[Path], None]) -> bool:
        with tempfile.TemporaryDirectory(prefix="snn-compile-reduce-") as folder:
            path = Path(folder) / TEXT
            put(path)
            code = self._run([word.replace(PLACE, str(path)) for word in self._words])
        if code is None and not self._has_answered:
            raise UsageError(
                "the time limit was reached before the first run of the command ended",
                code="timed-out",
                hint="increase --time-limit, or check why the command does not end",
            )
        self._has_answered = True
        return code == 0

    def _run(self, words: list[str]) -> int | None:
        """The exit code; None after the time limit."""
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
    """End a command and its descendants."""
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
        hint="--check 'python check.py {}'; with a shell: --check \"sh -c '...' {}\"",
    )
