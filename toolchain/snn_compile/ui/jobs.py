"""Commands that run in child processes, with limits, while the page waits or asks again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

START = "from snn_compile.cli.limited import main; main()"
AT_ONCE = 2
KEPT = 32
"""Results that are kept, the latest asked for."""
MAX_OUTPUT = 32 << 20
"""Bytes that a command may write on each of its streams."""
LAST = 4000
"""Characters of what a running command has said that are kept."""


@dataclass(frozen=True)
class Limits:
    """What a command may take.

    Attributes:
        seconds: by the clock; twice as many of a processor.
        memory: bytes of its data.
    """

    seconds: float = 600.0
    memory: int = 8 << 30


@dataclass(eq=False)
class Job:
    """A command that runs or has ended.

    Attributes:
        words: its arguments.
        code: its exit code; None while it runs. -1 if it took too long or said too much.
        out: what it wrote.
        err: what it wrote on standard error, so far.
    """

    words: tuple[str, ...]
    code: int | None = None
    out: str = ""
    err: str = ""
    task: asyncio.Task[None] | None = None

    def tell(self, text: str) -> None:
        """Note what it has written on standard error meanwhile; the end of it is enough."""
        self.err = (self.err + text)[-LAST:]


class Jobs:
    """Runs commands, ``AT_ONCE`` at a time, and keeps what they said."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[object, Job] = OrderedDict()
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def ask(
        self, key: object, words: Sequence[str], limits: Limits, patience: float = 1.5
    ) -> Job:
        """The job of a key: started if there is none, and waited for a little.

        Args:
            key: of the job; equal keys mean equal results.
            words: arguments of ``snn-compile``.
            limits: of the command.
            patience: seconds to wait for its end.
        """
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = Job(tuple(words))
            job.task = asyncio.create_task(self._run(job, limits))
        self._jobs.move_to_end(key)
        self._forget()
        if job.task is not None:
            await asyncio.wait([job.task], timeout=patience)
        return job

    def find(self, key: object) -> Job | None:
        """The job of a key, if there is one."""
        return self._jobs.get(key)

    async def close(self) -> None:
        """End all that runs."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self) -> None:
        ended = [key for key, job in self._jobs.items() if job.code is not None]
        for key in ended[: max(0, len(self._jobs) - KEPT)]:
            del self._jobs[key]

    async def _run(self, job: Job, limits: Limits) -> None:
        try:
            async with self._turn:
                job.code, job.out, job.err = await run(job.words, limits, job.tell)
        except OSError as error:
            job.code, job.err = -1, f"it cannot be started: {error.strerror}"


def _ignore(text: str) -> None:
    del text


async def run(
    words: Sequence[str], limits: Limits, tell: Callable[[str], None] = _ignore
) -> tuple[int, str, str]:
    """Run a command of ``snn-compile`` in a child process, in a folder of its own.

    Args:
        words: its arguments.
        limits: of the command.
        tell: takes what it writes on standard error, as it does.

    Returns:
        Its exit code (-1: it was ended), and what it wrote.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory(prefix="snn-compile-ui-") as folder:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", START),
            *(str(int(limits.seconds)), str(limits.memory), *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths, "NO_COLOR": "1"},
            start_new_session=True,
        )
        readers = _read(child.stdout, _ignore), _read(child.stderr, tell)
        streams = [asyncio.create_task(reader) for reader in readers]
        try:
            async with asyncio.timeout(limits.seconds):
                out, err = await asyncio.gather(*streams)
                code = await child.wait()
        except TimeoutError:
            return -1, "", f"it was ended after {limits.seconds:.0f} seconds"
        except OverflowError:
            return -1, "", "it was ended: it writes too much"
        finally:
            await _end(child, streams)
    if code < 0:
        return -1, "", f"it was ended by signal {-code}: too much memory or time"
    return code, out, err


async def _read(stream: asyncio.StreamReader | None, tell: Callable[[str], None]) -> str:
    parts, size = [], 0
    while stream is not None and (part := await stream.read(1 << 16)):
        size += len(part)
        if size > MAX_OUTPUT:
            raise OverflowError
        parts.append(part)
        tell(part.decode("utf-8", "replace"))
    return b"".join(parts).decode("utf-8", "replace")


async def _end(child: asyncio.subprocess.Process, streams: list[asyncio.Task[str]]) -> None:
    """Let nothing of a command go on."""
    for task in streams:
        task.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):  # its session is its own
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    await child.wait()
