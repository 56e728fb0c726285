"""Jobs that wait: those not begun, taken one by one, and those to be done again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from snn_compile.errors import DeviceError
from snn_compile.workers.job import Done, Job
from snn_compile.workers.machine import Machine

ATTEMPTS = 3
"""Workers that may die over a job before it is given up."""


@dataclass(frozen=True)
class Attempt:
    """A job and how often it has been begun."""

    job: Job
    number: int = 0

    @property
    def next(self) -> Attempt:
        """The same job, begun once more."""
        return replace(self, number=self.number + 1)

    @property
    def is_last(self) -> bool:
        """Whether the job is given up if its worker dies."""
        return self.number >= ATTEMPTS

    def given_up(self, worker: Machine, seconds: float, how: str) -> Done:
        """What became of it when its last worker died."""
        error = DeviceError(
            f"job '{self.job.key}': {self.number} workers died over it; the last {how}",
            code="worker-lost",
            hint="a process killed by SIGKILL often lacked memory: fewer workers leave more to"
            " each",
        )
        return Done(self.job.key, worker, seconds, error=error, attempts=self.number)


class Pending:
    """Where free workers get their jobs.

    Args:
        jobs: taken when a worker is free, not before.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._fresh = iter(jobs)
        self._again: deque[Attempt] = deque()
        self._exhausted = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits; known once ``take`` has found nothing."""
        return self._exhausted and not self._again

    def take(self) -> Attempt | None:
        """The next job to do; None if there is none now."""
        if self._again:
            return self._again.popleft()
        job = None if self._exhausted else next(self._fresh, None)
        self._exhausted = job is None
        return None if job is None else Attempt(job)

    def put_back(self, attempt: Attempt) -> None:
        """Let a job be done by another worker."""
        self._again.append(attempt)
