"""Processes of this machine that do jobs."""

from __future__ import annotations

import pickle
import platform
import queue
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from snn_compile.errors import DeviceError
from snn_compile.workers.child import Child
from snn_compile.workers.job import ATTEMPTS, Done, Job
from snn_compile.workers.machine import Machine


@dataclass
class _Running:
    """A job in a process: the first attempt, or a later one."""

    job: Job
    attempts: int
    since: float


class LocalWorkers:
    """Some processes, started when there is work for them and kept until ``close``.

    A process that dies loses only its job, which another one does again.

    Args:
        n: number of processes.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._idle: list[Child] = []
        self._running: dict[Child, _Running] = {}
        self._reports: queue.SimpleQueue[tuple[Child, bytes | None]] = queue.SimpleQueue()

    def run(self, jobs: Iterable[Job]) -> Iterator[Done]:
        """Do jobs, and yield what became of each in order of completion.

        A job is taken from the iterable when a process is free for it. To stop before the end,
        close the iterator: jobs that run are ended.
        """
        fresh, again = iter(jobs), deque[_Running]()
        try:
            while True:
                while len(self._running) < self.n:
                    if again:
                        running = again.popleft()
                    elif (job := next(fresh, None)) is not None:
                        running = _Running(job, 0, 0.0)
                    else:
                        break
                    self._start(running)
                if not self._running:
                    return
                child, content = self._reports.get()
                stopped = self._running.pop(child, None)
                if content is None:
                    child.kill()
                    if stopped is None:  # died between two jobs
                        self._idle = [one for one in self._idle if one is not child]
                    elif stopped.attempts < ATTEMPTS:
                        again.append(stopped)
                    else:
                        yield _given_up(stopped, child)
                elif stopped is not None:
                    self._idle.append(child)
                    done: Done = pickle.loads(content)
                    yield replace(done, attempts=stopped.attempts)
        finally:
            for child in self._running:
                child.kill()
            self._running.clear()

    def close(self) -> None:
        """End all processes."""
        for child in (*self._idle, *self._running):
            child.kill()
        self._idle.clear()
        self._running.clear()

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _start(self, running: _Running) -> None:
        child = self._idle.pop() if self._idle else Child(self._report, self.n)
        running.attempts += 1
        running.since = time.perf_counter()
        self._running[child] = running
        child.send(running.job)

    def _report(self, child: Child, content: bytes | None) -> None:
        self._reports.put((child, content))


def _given_up(running: _Running, child: Child) -> Done:
    where = Machine(platform.node(), child.process)
    error = lost(running.job, running.attempts, f"the last process {child.how_it_ended()}")
    return Done(
        running.job.key,
        where,
        time.perf_counter() - running.since,
        error=error,
        attempts=running.attempts,
    )


def lost(job: Job, attempts: int, how: str) -> DeviceError:
    """The error of a job over which too many workers have died."""
    return DeviceError(
        f"job '{job.key}': {attempts} workers died over it; {how}",
        code="worker-lost",
        hint="a process killed by SIGKILL often lacked memory: fewer workers leave more to each",
    )
