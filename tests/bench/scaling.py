"""What more workers give: measured for one and two, and a model for more.

    python tests/bench/scaling.py [--points N]

A point is a compilation of the digits network with other weights, with 500 images to calibrate and
evaluate. For each kind of workers it measures the start, what a job costs that does nothing
(scheduling, which one client does for all workers), and a grid of points on one and two workers.
The model for more is

    T(n) = points × scheduling + ceil(points / n) × work,

with the work of a point as one worker needs it. It holds for n < work / scheduling, and knows
nothing of what processes on one machine take from each other.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from snn_compile import workers
from snn_compile.workers import Done, Job, Workers
from snn_compile.workers.machine import this_machine

ROOT = Path(__file__).resolve().parents[2]
MODEL, DATA = ROOT / "examples" / "digits_cnn.onnx", ROOT / "examples" / "digits_evaluate.npz"
EMPTY = 200
MORE = (4, 8, 16, 64)
KINDS: dict[str, Callable[[int], AbstractContextManager[Workers]]] = {
    "local": workers.local,
    "dask": lambda n: workers.dask(f"local:{n}"),
}


@dataclass(frozen=True)
class Measured:
    """Seconds of one kind of workers: ``grid`` by their number.

    ``processor`` is the processor time of a point, which a busy machine does not lengthen.
    """

    start: float
    scheduling: float
    work: float
    processor: float
    grid: dict[int, float]

    def model(self, n: int, points: int) -> float:
        """Seconds of a grid on n workers, after the start."""
        return points * self.scheduling + ceil(points / n) * self.work


def measure(kind: str, points: int) -> Measured:
    """Measure one kind of workers."""
    grid: dict[int, float] = {}
    work = processor = start = scheduling = 0.0
    for n in (1, 2):
        begin = time.perf_counter()
        with KINDS[kind](n) as found:
            warm = [point(k) for k in range(n)]
            run(found, warm)
            start = time.perf_counter() - begin
            begin = time.perf_counter()
            run(found, [Job(str(k), "worker_jobs:nothing", {}) for k in range(EMPTY)])
            if n == 1:
                scheduling = (time.perf_counter() - begin) / EMPTY
            begin = time.perf_counter()
            done = run(found, [point(k) for k in range(points)])
            grid[n] = time.perf_counter() - begin
            if n == 1:
                work = sum(one.seconds for one in done) / points
                processor = sum(one.result() for one in done) / points
    return Measured(start, scheduling, work, processor, grid)


def point(k: int) -> Job:
    """A point of the grid: a compilation with data."""
    data = workers.File.of(DATA)
    options = {"coding": "graded", "weight_bits": 3 + k % 6}
    arguments = {"model": workers.File.of(MODEL), "data": data, "options": options}
    return Job(f"point-{k}", "worker_jobs:compile_digits", arguments)


def run(found: Workers, jobs: list[Job]) -> list[Done]:
    """Do jobs, all of which succeed."""
    done = list(found.run(jobs))
    for one in done:
        one.result()
    return done


def table(points: int) -> str:
    """The table of all kinds."""
    lines = [
        "| workers | kind | seconds | speed-up | |",
        "|---:|---|---:|---:|---|",
    ]
    notes = []
    for kind in KINDS:
        found = measure(kind, points)
        one = found.grid[1]
        for n in (*found.grid, *MORE):
            measured = n in found.grid
            seconds = found.grid[n] if measured else found.model(n, points)
            how = f"measured; the model says {found.model(n, points):.2f}" if measured else "model"
            lines.append(f"| {n} | {kind} | {seconds:.2f} | {one / seconds:.2f} | {how} |")
        notes.append(
            f"* {kind}: scheduling {1000 * found.scheduling:.1f} ms a point, work"
            f" {found.work:.2f} s a point (processor time {found.processor:.2f} s),"
            f" start of two workers with a first point each {found.start:.1f} s"
        )
    machine = this_machine()
    head = (
        f"{points} points on {os.cpu_count()} processors ({machine.cpu}), Python"
        f" {platform.python_version()}, load average {os.getloadavg()[0]:.1f}."
    )
    return "\n".join([head, "", *lines, "", *notes])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=24)
    print(table(parser.parse_args().points))


if __name__ == "__main__":
    main()
