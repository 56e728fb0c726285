"""One mutant read by the command line, in this process: what came of it, and what it took."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from mutant_kinds import Seeds, Words, mutant
from snn_compile.cli import main

DOCUMENTED = (0, 2, 3, 4, 5, 6, 7, 8)
"""Exit codes that a file may lead to."""
MAX_SECONDS = 10
MEMORY = "128M"
"""What a file may take; the mutants claim more."""
MAX_BYTES = 512 << 20
"""By which the process may grow: what a file may take, and what is computed from it."""
QUIET = ("run", "verify", "compile", "diff", "hil", "conformance", "tune")


class Hanging(BaseException):
    """A command took too long."""


@dataclass(frozen=True)
class Outcome:
    """What came of a mutant.

    Attributes:
        words: the command line.
        code: its exit code; None if it hung or raised.
        said: on standard error.
        printed: on standard output, where ``check`` lists what it refuses.
        seconds: that it took.
        grown: bytes by which the process had grown at most; 0 where the system does not say.
    """

    words: Words
    code: int | None
    said: str
    printed: str
    seconds: float
    grown: int

    @property
    def fault(self) -> str:
        """What is wrong with the tool, not with the file; empty if nothing is."""
        if self.code not in DOCUMENTED:
            return f"exit code {self.code}"
        if self.code and "error[" not in self.said + self.printed:
            return "an error without a code"
        for word in ("Traceback", "Warning:", "internal error"):
            if word in self.said:
                return word
        if self.grown > MAX_BYTES:
            return f"{self.grown >> 20} MiB"
        return ""


def outcome(seeds: Seeds, kind: str, number: int) -> Outcome:
    """Make the mutant with a number, and let a command read it."""
    with tempfile.TemporaryDirectory() as place:
        words = mutant(seeds, kind, number, Path(place))
        out, err, before = io.StringIO(), io.StringIO(), _peak(reset=True)
        start, code = time.perf_counter(), None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                with _bell():
                    code = main([*words, *(["-q"] if words[0] in QUIET else [])])
            except Hanging:
                err.write("it hung")
            except BaseException as error:  # noqa: BLE001  (nothing may get this far)
                err.write(f"raised {error!r}")
        seconds = time.perf_counter() - start
        return Outcome(words, code, err.getvalue(), out.getvalue(), seconds, _peak() - before)


@contextlib.contextmanager
def _bell() -> Iterator[None]:
    """Raise where a command takes too long."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hanging

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(MAX_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _peak(*, reset: bool = False) -> int:
    """Largest size of the process in memory, since it was reset."""
    if sys.platform != "linux":
        return 0
    with contextlib.suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(s.split()[1]) for s in status if s.startswith("VmHWM"))
    return 0
