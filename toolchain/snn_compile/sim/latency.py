"""How long each of many calls has taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KEPT = 1 << 20
"""Calls whose times are kept, the latest ones: a stream need not end."""
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Percentiles:
    """Times of calls in milliseconds. A percentile is the time of a call, not interpolated.

    Attributes:
        p50: the least time that half of the calls did not exceed.
        p90, p99: likewise of 90 and 99 percent.
        max: of the slowest call.
    """

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True)
class Latency:
    """Times of the calls of a stream.

    Attributes:
        calls: how many of them the times are of: the latest ``KEPT`` at most.
        call: from the sample to the answer in real numbers: checks, encoding, simulation, decoding.
        engine: of the simulation alone.
    """

    calls: int
    call: Percentiles
    engine: Percentiles


class Durations:
    """Durations of the latest calls, in nanoseconds."""

    def __init__(self) -> None:
        self.count = 0
        self._rows = np.zeros((2, 256), np.int64)

    def add(self, call: int, engine: int) -> None:
        """Keep the durations of another call."""
        size = self._rows.shape[1]
        if self.count == size < KEPT:
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)], axis=1)
            size *= 2
        self._rows[:, self.count % size] = call, engine
        self.count += 1

    def latency(self) -> Latency:
        """The percentiles of at least one call."""
        n = min(self.count, KEPT)
        call, engine = np.sort(self._rows[:, :n], axis=1) / 1e6
        return Latency(n, _percentiles(call), _percentiles(engine))


def _percentiles(ascending: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Percentiles:
    p50, p90, p99 = (
        float(ascending[-(-len(ascending) * percent // 100) - 1]) for percent in PERCENTILES
    )
    return Percentiles(p50, p90, p99, float(ascending[-1]))
