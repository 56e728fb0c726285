"""One process of a local pool, seen from both ends.

Messages are a length and a pickle, on pipes that nothing else writes to; what is unpickled was
written by the same program on the same machine. The child and its descendants end when its standard
input is closed, hence also when the parent is killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from snn_compile import memory, threads
from snn_compile.files.documents import sha256
from snn_compile.files.last_words import MAX_BYTES, last_words
from snn_compile.workers.job import File, Job, changed, perform
from snn_compile.workers.machine import this_machine

START = "from snn_compile.workers.child import main; main()"
GRACE_SECONDS = 5.0
_LENGTH = struct.Struct("<Q")


class Child:
    """The parent's end.

    Args:
        report: called in a thread with this child and each message of it; with None at its end.
        n_processes: that share the machine.
    """

    def __init__(self, report: Callable[[Child, bytes | None], None], n_processes: int) -> None:
        self._words = bytearray()
        # It has the same import path; the working folder is not on it.
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                **threads.share(n_processes),
                "PYTHONPATH": paths,
                memory.VARIABLE: str(memory.budget()),
            },
            start_new_session=True,
        )
        self.process = self._process.pid
        self._threads = [
            threading.Thread(target=target, args=arguments, daemon=True)
            for target, arguments in ((self._read, (report,)), (self._drain, ()))
        ]
        for thread in self._threads:
            thread.start()

    def send(self, job: Job) -> None:
        """Send a job; a child that is dead by now reports its end."""
        with contextlib.suppress(BrokenPipeError):
            _write(_stream(self._process.stdin), pickle.dumps(job, pickle.HIGHEST_PROTOCOL))

    def how_it_ended(self) -> str:
        """What is known of a child that ended unasked: "was killed by SIGKILL"."""
        status = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(GRACE_SECONDS)
        self._threads[-1].join(GRACE_SECONDS)
        how = "closed its connection" if status is None else f"ended with exit status {status}"
        if status is not None and status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        return how + last_words(bytes(self._words))

    def kill(self) -> None:
        """End it and its descendants."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            _stream(self._process.stdin).close()
        for thread in self._threads:
            thread.join(GRACE_SECONDS)

    def _read(self, report: Callable[[Child, bytes | None], None]) -> None:
        """Thread: hand on the child's messages."""
        with _stream(self._process.stdout) as stream:
            while (content := _read(stream)) is not None:
                report(self, content)
        report(self, None)

    def _drain(self) -> None:
        """Thread: keep the tail of the child's error output."""
        with _stream(self._process.stderr) as stream:
            while content := os.read(stream.fileno(), 1 << 16):
                self._words += content
                del self._words[:-MAX_BYTES]


def main() -> None:
    """The child's end: do jobs as they arrive."""
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when it ends
    # Standard output is reserved for messages: what libraries print there is logged.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(jobs.put,), daemon=True).start()
        copies = LocalFiles()
        while True:
            job = pickle.loads(jobs.get())
            _write(out, perform(job, this_machine(), copies))


class LocalFiles:
    """Files on the machine that they are used on: each is checked when it is first seen."""

    def __init__(self) -> None:
        self._seen: set[tuple[Any, ...]] = set()

    def __call__(self, file: File) -> Path:
        """The path of a file.

        Raises:
            UsageError: its content is not what it was when the job was made.
        """
        for one in file.together.values():
            state = one.path.stat()
            seen = (one.path, one.sha256, state.st_size, state.st_mtime_ns)
            if seen not in self._seen and sha256(one.path) != one.sha256:
                raise changed(one.path)
            self._seen.add(seen)
        return file.path


def _receive(put: Callable[[bytes], None]) -> None:
    """Thread: take in jobs; at the end of input, end this process and its descendants."""
    with os.fdopen(os.dup(0), "rb") as stream:
        while (content := _read(stream)) is not None:
            put(content)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _read(stream: IO[bytes]) -> bytes | None:
    """The next message; None at the end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    return content if len(content) == length else None


def _write(stream: IO[bytes], content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the process was started without this pipe")
    return stream
