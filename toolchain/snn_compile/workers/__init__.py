"""Work spread over processes: of this machine, or of a Dask cluster.

Both kinds of workers do the same. A job is a pure function of its arguments, so a result does not
depend on which worker computed it, on their number, or on the order in which jobs were done.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Protocol, Self

from snn_compile.workers.address import check_address, dask
from snn_compile.workers.job import Done, File, Job
from snn_compile.workers.local import LocalWorkers
from snn_compile.workers.machine import Machine, differences
from snn_compile.workers.pending import ATTEMPTS

__all__ = [
    "ATTEMPTS",
    "Done",
    "File",
    "Job",
    "Machine",
    "Workers",
    "check_address",
    "dask",
    "differences",
    "local",
]


class Workers(Protocol):
    """Processes that do jobs; a context manager that ends what it has started."""

    @property
    def n(self) -> int:
        """The number of jobs that run at once."""

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Those that have done a job, or could have."""

    def run(self, jobs: Iterable[Job]) -> Generator[Done, None, None]:
        """Do jobs, and yield what became of each in order of completion.

        A job whose worker dies is done again by another, at most ``ATTEMPTS`` times in all. Closing
        the iterator ends jobs that run.
        """

    def close(self) -> None:
        """End the processes that were started for this, and remove files that were sent."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...


def local(n: int) -> Workers:
    """Processes of this machine, each with its share of the processors."""
    return LocalWorkers(n)
