"""Jobs for tests of workers: each is imported by name in the worker's process."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from snn_compile import threads
from snn_compile.errors import CapacityError, CompileErrors, ModelError, Origin

HERE = "worker_jobs"


def square(x: int) -> int:
    return x * x


def share_of_threads() -> int:
    return threads.allowed()


def refuse(file: Path) -> None:
    errors = [
        ModelError("no network", code="odd", origin=Origin(str(file), "n", "Conv"), hint="train"),
        CapacityError("too large"),
    ]
    errors[1].needed, errors[1].nearest = 12, "--chips 2"
    raise CompileErrors(errors)


def fail() -> None:
    raise ZeroDivisionError("as asked")


def count_attempts(log: Path) -> int:
    """How many processes have begun it; each leaves a line."""
    with log.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    return len(log.read_text().split())


def die_at_first(log: str, lives: int) -> int:
    """Killed as the kernel kills what takes too much memory, until it has lived often enough."""
    n = count_attempts(Path(log))
    if n < lives:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def sleep(log: str, seconds: float) -> None:
    count_attempts(Path(log))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def content(file: Path) -> tuple[str, str, int]:
    """Where the copy is, what is in it, and what its inode was."""
    return str(file), file.read_text(), file.stat().st_ino


def siblings(file: Path) -> list[str]:
    return sorted(one.name for one in file.parent.iterdir())


def nothing() -> None:
    return None


def compile_digits(model: Path, data: Path, options: dict[str, Any]) -> float:
    """Processor seconds of a compilation."""
    from snn_compile.pipeline.driver import compile_model

    begin = time.process_time()
    compile_model(model, calibrate=data, evaluate=data, emit=(), **options)
    return time.process_time() - begin
