"""Processes of this machine that do jobs."""

from __future__ import annotations

import pickle
import platform
import queue
import time
from collections.abc import Generator, Iterable
from dataclasses import replace

from snn_compile.workers.child import Child
from snn_compile.workers.job import Done, Job
from snn_compile.workers.machine import Machine, this_machine
from snn_compile.workers.pending import Attempt, Pending


class LocalWorkers:
    """Some processes, started when there is work for them and kept until ``close``.

    A process that dies loses only its job, which another one does again.

    Args:
        n: number of processes.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.machines: tuple[Machine, ...] = (this_machine(),)
        self._idle: list[Child] = []
        self._running: dict[Child, tuple[Attempt, float]] = {}
        self._reports: queue.SimpleQueue[tuple[Child, bytes | None]] = queue.SimpleQueue()

    def run(self, jobs: Iterable[Job]) -> Generator[Done, None, None]:
        """Do jobs, and yield what became of each in order of completion.

        A job is taken from the iterable when a process is free for it. To stop before the end,
        close the iterator: jobs that run are ended.
        """
        pending = Pending(jobs)
        try:
            while True:
                while len(self._running) < self.n and (attempt := pending.take()):
                    self._start(attempt.next)
                if not self._running:
                    return
                child, content = self._reports.get()
                attempt, since = self._running.pop(child, (None, 0.0))
                if content is None:
                    child.kill()
                    if attempt is None:  # died between two jobs
                        self._idle = [one for one in self._idle if one is not child]
                    elif attempt.is_last:
                        where = Machine(platform.node(), child.process)
                        seconds = time.perf_counter() - since
                        yield attempt.given_up(where, seconds, child.how_it_ended())
                    else:
                        pending.put_back(attempt)
                elif attempt is not None:
                    self._idle.append(child)
                    done: Done = pickle.loads(content)
                    yield replace(done, attempts=attempt.number)
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

    def _start(self, attempt: Attempt) -> None:
        child = self._idle.pop() if self._idle else Child(self._report, self.n)
        self._running[child] = attempt, time.perf_counter()
        child.send(attempt.job)

    def _report(self, child: Child, content: bytes | None) -> None:
        self._reports.put((child, content))
