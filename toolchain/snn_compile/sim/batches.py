"""Application of a function to many samples in pieces that fit the cache and the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from snn_compile.samples.rows import Rows
from snn_compile.threads import allowed

T = TypeVar("T")
Advance = Callable[[int], None]
"""Progress callback, in samples since the last call."""

WORKING_BYTES = 6 << 20
"""Maximal size of an intermediate value of one piece."""


def no_progress(n_samples: int) -> None:
    """No-op progress callback."""
    del n_samples


def batch_size(
    elements_per_sample: int,
    itemsize: int = 4,
    limit: int = 256,
    working_bytes: int = WORKING_BYTES,
) -> int:
    """Samples per piece for which the largest value stays within the working size."""
    return max(1, min(limit, working_bytes // max(1, elements_per_sample * itemsize)))


def map_batches(
    function: Callable[[npt.NDArray[np.generic], int], T],
    x: Rows,
    size: int,
    advance: Advance = no_progress,
    *,
    threads: int | None = None,
) -> Iterator[T]:
    """``function(piece, index of its first sample)`` for consecutive pieces of x, in order.

    Pieces run on at most ``threads`` threads, or as many as this process may use; numpy and the
    engine release the interpreter lock.
    """
    starts = range(0, len(x), size)
    workers = max(1, min(threads or allowed(), len(starts)))

    def run(start: int) -> T:
        piece = x[start : start + size]
        result = function(piece, start)
        advance(len(piece))
        return result

    if workers == 1:
        yield from map(run, starts)
        return
    # One BLAS thread for each of ours: nested pools fight over the cores (half the speed,
    # measured).
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        pending = []
        queue = iter(starts)
        for start in queue:
            pending.append(pool.submit(run, start))
            if len(pending) > workers:
                yield pending.pop(0).result()
        for future in pending:
            yield future.result()
