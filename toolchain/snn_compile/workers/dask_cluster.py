"""Workers of a Dask cluster.

Dask carries calls and results; which worker does what is decided here, one job at a time for each
worker. So it is known which copies of files a job finds there, and a worker that dies costs an
attempt of that one job alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snn_compile.errors import CompileError, DeviceError, Origin, UsageError, raise_all
from snn_compile.version import __version__
from snn_compile.workers import dask_worker
from snn_compile.workers.job import Done, File, Job, changed
from snn_compile.workers.machine import Machine
from snn_compile.workers.pending import Attempt, Pending

PIECE_BYTES = 8 << 20
"""Of a file, sent at once."""
POLL_SECONDS = 1.0
"""Between looks at which workers are alive, while nothing finishes."""
WAIT_SECONDS = 120.0
"""For a first worker, where there is none."""


@dataclass(frozen=True)
class _Running:
    """A job in a worker; ``name`` is what that worker calls it."""

    attempt: Attempt
    address: str
    name: str
    since: float


class DaskWorkers:
    """The workers of a scheduler, also those that join later.

    Args:
        client: connected to the scheduler.
        ends: closed with it: the client, and whatever was started for it.

    Raises:
        UsageError: workers have another version of snn-compile, or none.
    """

    def __init__(self, client: Any, ends: ExitStack) -> None:
        self._client = client
        self._ends = ends
        self._machines: dict[str, Machine] = {}
        self._refused: dict[str, UsageError] = {}
        self._copies: dict[str, set[str]] = {}
        self._running: dict[Any, _Running] = {}
        self._usable()
        raise_all(list(self._refused.values()))

    @property
    def n(self) -> int:
        """The number of workers now."""
        return max(1, len(self._usable()))

    @property
    def machines(self) -> tuple[Machine, ...]:
        """All workers so far."""
        return tuple(self._machines.values())

    def run(self, jobs: Iterable[Job]) -> Generator[Done, None, None]:
        """Do jobs, and yield what became of each in order of completion."""
        pending = Pending(jobs)
        seen_at = time.monotonic()
        try:
            while True:
                usable = self._usable()
                yield from self._lost(usable, pending)
                yield from self._start(usable, pending)
                if not self._running and pending.is_empty:
                    return
                if usable:
                    seen_at = time.monotonic()
                elif time.monotonic() - seen_at > WAIT_SECONDS:
                    raise _no_workers()
                yield from self._finished(pending)
        finally:
            self._cancel()

    def close(self) -> None:
        """Remove the files that were sent, and leave the cluster."""
        with contextlib.suppress(Exception):  # whoever is gone has removed them
            for address in self._usable():
                groups = list(self._copies.get(address, ()))
                self._call(address, dask_worker.stored, "remove", groups)
        self._copies.clear()
        self._ends.close()

    def __enter__(self) -> DaskWorkers:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _usable(self) -> list[str]:
        """Addresses of the workers that are alive and have this version of snn-compile."""
        try:
            alive = list(self._client.nthreads())
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise _scheduler_lost() from error
        strangers = [one for one in alive if one not in {*self._machines, *self._refused}]
        if strangers:
            found = self._client.run(dask_worker.machine, workers=strangers, on_error="return")
            for address, machine in found.items():
                self._meet(address, machine)
        for address in self._copies.keys() - set(alive):
            del self._copies[address]
        return [address for address in alive if address in self._machines]

    def _meet(self, address: str, machine: Machine | BaseException) -> None:
        if isinstance(machine, OSError):
            return  # gone already
        hint = "install the same version on all machines"
        if isinstance(machine, BaseException):
            said = f"the worker {address} cannot import snn-compile: {machine}"
        elif (version := machine.versions["snn-compile"]) != __version__:
            said = f"the worker {address} ({machine.host}) has snn-compile {version}"
            said += f", and this is {__version__}"
        else:
            self._machines[address] = machine
            return
        self._refused[address] = UsageError(
            said, code="worker-version", origin=Origin("--cluster"), hint=hint
        )

    def _start(self, usable: list[str], pending: Pending) -> Iterator[Done]:
        """Give a job to each worker that has none; those that cannot be begun are done."""
        busy = {one.address for one in self._running.values()}
        for address in usable:
            if address in busy or (attempt := pending.take()) is None:
                continue
            begin = time.perf_counter()
            try:
                for file in attempt.job.files:
                    self._send(address, file)
            except CompileError as error:
                seconds = time.perf_counter() - begin
                yield Done(attempt.job.key, self._machines[address], seconds, error=error)
                continue
            except (OSError, TimeoutError):  # the worker is gone
                pending.put_back(attempt)
                continue
            name = f"{attempt.job.key}-{uuid.uuid4().hex}"
            content = pickle.dumps(attempt.job, pickle.HIGHEST_PROTOCOL)
            future = self._client.submit(
                dask_worker.do, content, name, key=name, workers=[address], pure=False
            )
            self._running[future] = _Running(attempt.next, address, name, begin)

    def _send(self, address: str, file: File) -> None:
        """Copy a file, and those beside it, to a worker that has not got it.

        Raises:
            CompileError: its content has changed, or the worker has no room.
        """
        copies = self._copies.setdefault(address, set())
        if file.group in copies:
            return
        size = sum(one.path.stat().st_size for one in file.together.values())
        self._call(address, dask_worker.stored, "expect", file.group, size)
        for name, one in file.together.items():
            digest = hashlib.sha256()
            for piece in _pieces(one.path):
                digest.update(piece)
                self._call(address, dask_worker.stored, "receive", file.group, name, piece)
            if digest.hexdigest() != one.sha256:
                raise changed(one.path)
            self._call(address, dask_worker.stored, "complete", file.group, name, one.sha256)
        copies.add(file.group)

    def _call(self, address: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._client.run(function, *arguments, workers=[address])[address]

    def _finished(self, pending: Pending) -> Iterator[Done]:
        """Wait a little for jobs to end, and take those that did."""
        from distributed import wait

        if not self._running:
            time.sleep(POLL_SECONDS / 10)
            return
        try:
            with self._client.as_current():
                ended = wait(list(self._running), POLL_SECONDS, "FIRST_COMPLETED").done
        except TimeoutError:
            return
        for future in ended:
            running = self._running.pop(future)
            self._forget(running)
            if future.status == "finished":
                content = future.result()
                if content == dask_worker.NOT_HERE:
                    self._copies.pop(running.address, None)
                    pending.put_back(replace(running.attempt, number=running.attempt.number - 1))
                    continue
                done: Done = pickle.loads(content)
                yield replace(done, attempts=running.attempt.number)
            else:  # its worker died, and Dask has noticed before us
                yield from self._again(running, pending)

    def _forget(self, running: _Running) -> None:
        """Those copies that the worker has removed after the job."""
        copies = self._copies.get(running.address, set())
        copies -= {file.group for file in running.attempt.job.files if not file.kept}

    def _lost(self, usable: list[str], pending: Pending) -> Iterator[Done]:
        """Let the jobs of workers that have died be done again."""
        gone = [f for f, one in self._running.items() if one.address not in usable]
        for future in gone:
            if not future.done():
                future.cancel()
                yield from self._again(self._running.pop(future), pending)

    def _again(self, running: _Running, pending: Pending) -> Iterator[Done]:
        attempt = running.attempt
        if not attempt.is_last:
            pending.put_back(attempt)
            return
        where = self._machines[running.address]
        how = f"was {running.address} on {where.host}"
        yield attempt.given_up(where, time.perf_counter() - running.since, how)

    def _cancel(self) -> None:
        """End jobs that run."""
        for future, running in self._running.items():
            with contextlib.suppress(Exception):  # whoever is gone has ended
                future.cancel()
                self._call(running.address, dask_worker.end, running.name)
        self._running.clear()


def _pieces(path: Path) -> Iterator[bytes]:
    """The content of a file; of an empty one, one empty piece."""
    with path.open("rb") as stream:
        piece = stream.read(PIECE_BYTES)
        yield piece
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _no_workers() -> DeviceError:
    return DeviceError(
        f"the scheduler has had no worker for {WAIT_SECONDS:.0f} s",
        code="no-workers",
        origin=Origin("--cluster"),
        hint="start some: dask worker ADDRESS --nthreads 1",
    )


def _scheduler_lost() -> DeviceError:
    return DeviceError(
        "the scheduler does not answer any more",
        code="scheduler-lost",
        origin=Origin("--cluster"),
        hint="look at its log; what is finished is kept",
    )
