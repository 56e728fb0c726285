"""The arrays that the engine's library writes to."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Input, Population, Readout
from snn_compile.sim import abi
from snn_compile.sim.reference import Run

ALIGNED_TO = 64
"""Alignment of arrays in bytes."""


class Result:
    """The arrays of a run, filled by concurrent calls; None for those not recorded.

    Attributes:
        outputs, traces, activity: an entry for each population.
    """

    def __init__(
        self,
        populations: list[Input | Population],
        n_steps: int,
        n_samples: int,
        record: bool,
        activity: bool,
    ) -> None:
        self._ids = [p.id for p in populations]
        self._lock = threading.Lock()
        self.outputs = empty_outputs(populations, n_samples)
        self.traces = _traces(populations, n_steps, n_samples, record)
        self.activity: list[Int | None] = []
        for p in populations:
            counted = activity and not isinstance(p, Readout)
            self.activity.append(np.zeros(p.shape, np.int64) if counted else None)

    def zero_counts(self) -> list[Int | None]:
        """Arrays for the activity of one call."""
        return [None if total is None else np.zeros_like(total) for total in self.activity]

    def add(self, counts: list[Int | None]) -> None:
        """Add the activity of one call."""
        with self._lock:
            for total, part in zip(self.activity, counts, strict=True):
                if total is not None and part is not None:
                    total += part

    def run(self) -> Run:
        """The run assembled from the calls."""

        def by_node(arrays: list[Int | None]) -> dict[NodeId, Int]:
            return {k: a for k, a in zip(self._ids, arrays, strict=True) if a is not None}

        return Run(by_node(self.outputs), by_node(self.traces), by_node(self.activity))


def empty_outputs(populations: Sequence[Input | Population], n_samples: int) -> list[Int | None]:
    """Arrays for the final potentials of readouts; None for other populations."""
    return [
        np.zeros((n_samples, *p.shape), np.int64) if isinstance(p, Readout) else None
        for p in populations
    ]


def _traces(
    populations: list[Input | Population], n_steps: int, n_samples: int, record: bool
) -> list[Int | None]:
    """Arrays for every message, in one allocation that lives as long as any of them.

    An allocation of this size returns to the system when freed. ``malloc`` caches single arrays of
    up to 32 MB: a few runs in a row took half as much memory again as one of them.
    """
    sent = [p for p in populations if record and not isinstance(p, Input)]
    shapes = {p.id: (n_samples, n_steps, *p.shape) for p in sent}
    sizes = [prod(shapes[p.id]) * np.dtype(message_dtype(p)).itemsize for p in sent]
    starts = [0, *accumulate(-(-size // ALIGNED_TO) * ALIGNED_TO for size in sizes)]
    room = np.empty(starts[-1], np.uint8)
    traces = {
        p.id: room[start : start + size].view(message_dtype(p)).reshape(shapes[p.id])
        for p, start, size in zip(sent, starts, sizes, strict=False)
    }
    return [traces.get(p.id) for p in populations]


def message_dtype(population: Input | Population) -> type[np.signedinteger]:
    """Message type of a trace, as in ``engine.h``."""
    if isinstance(population, Readout):
        return np.int64
    wide = isinstance(population, Input) or abi.engine_form(population).sends_integers
    return np.int32 if wide else np.int8


def pointers(arrays: list[Int | None], start: int) -> Any:
    """A C array of the addresses of each array's entry ``start``; NULL for None."""
    pointers = (abi.Int64 * len(arrays))()
    for i, array in enumerate(arrays):
        if array is not None:
            address = array.ctypes.data + start * array.strides[0]
            pointers[i] = ctypes.cast(address, abi.Int64)
    return pointers
