"""Interleaved measurements: every round runs all contestants once, so that noise hits all alike.

A ratio is taken within each round, and its median and extremes are those over the rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

SHORTEST = 0.02
"""CPU seconds that one measurement takes at least."""
MAX_LOOPS = 500
FINALISTS = 4

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contestant:
    """One way to simulate a network.

    Attributes:
        name: what its column is called.
        batch: samples of one call.
        run: simulates them on a number of threads.
    """

    name: str
    batch: int
    run: Callable[[int], object]


@dataclass(frozen=True)
class Spread:
    """Median and extremes over the rounds."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: npt.ArrayLike) -> Spread:
        array = np.asarray(values, np.float64)
        return Spread(float(np.median(array)), float(array.min()), float(array.max()))

    def __str__(self) -> str:
        return f"{figure(self.median)} ({figure(self.least)} to {figure(self.most)})"


def figure(value: float) -> str:
    """Three digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@contextmanager
def on_threads(n_threads: int) -> Iterator[None]:
    """Let BLAS, OpenMP and torch use so many threads."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(n_threads)
    with threadpool_limits(n_threads):
        yield


def once(contestant: Contestant, n_threads: int, loops: int = 1) -> tuple[float, float]:
    """CPU and wall seconds of one sample."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(loops):
        contestant.run(n_threads)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / (loops * contestant.batch), wall / (loops * contestant.batch)


def fastest(contestants: Sequence[Contestant]) -> int:
    """Index of the one with the least CPU time a sample; the best four run three times more."""
    with on_threads(1):
        for contestant in contestants:
            contestant.run(1)
        times = [once(contestant, 1)[0] for contestant in contestants]
        best = sorted(range(len(times)), key=times.__getitem__)[:FINALISTS]
        again = [[once(contestants[index], 1)[0] for index in best] for _ in range(3)]
    return best[int(np.argmin(np.median(again, axis=0)))]


def interleaved(
    contestants: Sequence[Contestant],
    n_rounds: int,
    n_threads: int,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Times]:
    """CPU and wall seconds of one sample: (rounds, 2) for each contestant.

    Args:
        contestants: in the order in which each round runs them.
        n_rounds: how often.
        n_threads: for each of them.
        between: called in the middle of each round.
    """
    times = {contestant.name: np.empty((n_rounds, 2)) for contestant in contestants}
    with on_threads(n_threads):
        loops = {contestant.name: _loops(contestant, n_threads) for contestant in contestants}
        for index in range(n_rounds):
            for position, contestant in enumerate(contestants):
                if position == len(contestants) // 2:
                    between()
                if loops[contestant.name] > 1:  # its data may have left the caches
                    contestant.run(n_threads)
                times[contestant.name][index] = once(contestant, n_threads, loops[contestant.name])
    return times


def _loops(contestant: Contestant, n_threads: int) -> int:
    contestant.run(n_threads)
    cpu, _ = once(contestant, n_threads)
    return int(np.clip(np.ceil(SHORTEST / max(cpu * contestant.batch, 1e-9)), 1, MAX_LOOPS))


def ratios(times: Mapping[str, Times], to: str, column: int) -> dict[str, Spread]:
    """How many times longer each contestant takes than one of them."""
    return {
        name: Spread.of(values[:, column] / times[to][:, column]) for name, values in times.items()
    }
