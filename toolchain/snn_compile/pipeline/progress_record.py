"""The record of progress of a compilation: one small file, whole at any moment.

It lies in the folder ``.NAME.work`` beside the output ``NAME`` while the compilation runs, and
stays there if it is killed. Others may read it at any time (``read``).
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from snn_compile.files.documents import DAMAGE, DamagedError, read_json
from snn_compile.files.typed import complaint
from snn_compile.files.writing import sync
from snn_compile.version import __version__

RECORD = "progress.json"
SCHEMA = 1
EVERY = 1.0
"""Seconds between two writes of the record. A shorter compilation writes none."""
RUNNING, INTERRUPTED, DONE = "running", "interrupted", "done"


class StageRecord(TypedDict):
    """A stage: ``total`` is null if its items are not counted, ``remaining`` if nobody knows."""

    stage: str
    state: str
    done: int
    total: int | None
    seconds: float
    remaining: float | None


class Record(TypedDict):
    """The content of the record.

    ``identity`` has the hashes of everything that the result depends on. ``state`` is that of the
    process: ``running``, or ``interrupted``. Times are in seconds, dates in UTC.
    """

    schema: int
    tool: str
    model: str
    output: str
    pid: int
    host: str
    started: str
    updated: str
    state: str
    identity: dict[str, str]
    stages: list[StageRecord]


@dataclass(eq=False)
class _Stage:
    name: str
    total: int | None
    done: int = 0
    state: str = RUNNING
    seconds: float = 0.0
    start: float = field(default_factory=time.monotonic)

    def entry(self) -> StageRecord:
        passed = self.seconds if self.state == DONE else time.monotonic() - self.start
        remaining = None
        if self.state == DONE:
            remaining = 0.0
        elif self.total and self.done:
            remaining = round(passed * max(0, self.total - self.done) / self.done, 1)
        return {
            "stage": self.name,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "seconds": round(passed, 3),
            "remaining": remaining,
        }


class ProgressRecord:
    """Writes the record, at most once in ``EVERY`` seconds.

    Args:
        folder: to write into; made when there is something to write.
        model: name of the user's file.
        output: name of the folder that is compiled.
        identity: gives hashes of everything that the result depends on.
        make: makes the folder.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        output: str,
        identity: Callable[[], dict[str, str]],
        make: Callable[[], None],
    ) -> None:
        self._path = folder / RECORD
        self._make = make
        self._lock = threading.Lock()
        self._stages: list[_Stage] = []
        self._written = time.monotonic()
        self._head: dict[str, Any] = {
            "schema": SCHEMA,
            "tool": f"snn-compile {__version__}",
            "model": model,
            "output": output,
            "pid": os.getpid(),
            "host": platform.node(),
            "started": _now(),
        }
        self._identity = identity

    def begin(self, stage: str, total: int | None) -> None:
        """As of ``Work``."""
        with self._lock:
            self._stages.append(_Stage(stage, total))
        self._write()

    def advance(self, n: int) -> None:
        """As of ``Work``."""
        with self._lock:
            running = [one for one in self._stages if one.state == RUNNING and one.total]
            if running:
                running[-1].done += n
        self._write()

    def end(self, stage: str, seconds: float) -> None:
        """As of ``Work``."""
        with self._lock:
            for one in reversed(self._stages):
                if one.name == stage and one.state == RUNNING:
                    one.state, one.seconds = DONE, seconds
                    one.done = one.total or one.done
                    break
        self._write()

    def write(self) -> None:
        """Write the record as it is now."""
        self._write(always=True)

    def close(self) -> None:
        """Say that the process has ended before its compilation."""
        self._write(INTERRUPTED, always=True)

    def _write(self, state: str = RUNNING, *, always: bool = False) -> None:
        """Write beside the record, then rename. A full disk stops the record, not the work."""
        with self._lock:
            now = time.monotonic()
            if not always and now - self._written < EVERY:
                return
            self._written = now
            stages = [one.entry() for one in self._stages]
            new = self._path.with_name(f"{RECORD}.new")
            try:
                content = {
                    **self._head,
                    "updated": _now(),
                    "state": state,
                    "identity": self._identity(),
                    "stages": stages,
                }
                self._make()
                new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
                sync(new)
                os.replace(new, self._path)
            except OSError:
                return


def read(folder: Path) -> Record | None:
    """The record in a folder; None if there is none that can be read.

    A record whose process has ended says ``interrupted``, if that process ran on this machine.
    """
    try:
        content = read_json(folder / RECORD)
        if wrong := complaint(content, Record, RECORD):
            raise DamagedError(wrong)
    except DAMAGE:
        return None
    found: Record = content
    if found["schema"] != SCHEMA:
        return None
    if found["host"] == platform.node() and not _is_alive(found["pid"]):
        found["state"] = INTERRUPTED
    return found


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
