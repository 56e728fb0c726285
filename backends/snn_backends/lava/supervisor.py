"""Runs a command and cleans up after it: ``python supervisor.py SECONDS TOKEN COMMAND...``.

Lava makes one process a layer and shared memory between them, and leaves both behind when it is
killed. This program is a separate process so that clean-up does not depend on others: it ends the
command's whole process group after the time limit, on SIGTERM or SIGINT, and when its own parent is
gone, and then removes the shared memory whose names carry the token.

Standard library only. Exit status: that of the command, or 124 after the time limit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

TIMED_OUT = 124
INTERRUPTED = 130
POLL_SECONDS = 0.02
SHARED_MEMORY = Path("/dev/shm")
PREFIX = """
import multiprocessing.shared_memory as m, runpy, sys
m._SHM_NAME_PREFIX = ('/psm_' if m._USE_POSIX else 'wnsm_') + sys.argv[1] + '_'
m._SHM_SAFE_NAME_LENGTH = len(m._SHM_NAME_PREFIX) + 8
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
"""Puts a token into the names of shared memory before the script starts."""


def tag_command(command: list[str], token: str) -> list[str]:
    """A Python command (interpreter, switches, script, ...) whose shared memory bears the token."""
    first = next(i for i, word in enumerate(command[1:], 1) if not word.startswith("-"))
    return [*command[:first], "-c", PREFIX, token, *command[first:]]


def main(argv: list[str]) -> int:
    """Supervise one command."""
    seconds, token, command = float(argv[0]), argv[1], argv[2:]
    parent = os.getppid()
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    deadline = time.monotonic() + seconds
    with subprocess.Popen(tag_command(command, token), start_new_session=True) as child:
        try:
            status = child.poll()
            while status is None:
                if received or os.getppid() != parent:
                    return INTERRUPTED
                if time.monotonic() > deadline:
                    return TIMED_OUT
                time.sleep(POLL_SECONDS)
                status = child.poll()
            return status
        finally:
            end_group(child)
            remove_shared_memory(token)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill every process of the command's group, and wait until all are gone."""
    for _ in range(100):
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            break
        child.poll()
        time.sleep(0.01)


def remove_shared_memory(token: str) -> None:
    """Remove the segments whose names carry the token."""
    if SHARED_MEMORY.is_dir():
        for segment in SHARED_MEMORY.glob(f"psm_{token}_*"):
            segment.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
