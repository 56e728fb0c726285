"""What one core of this machine can do at best: the limits that ``engine.py`` measures against.

``roofline.cpp`` is compiled when it is needed, once for each instruction set, by the system's C++
compiler. The floor of a network is the time in which a core would do its synaptic operations, its
taps and its neuron steps, each at the rate of its own loop with the data in the best place. No
bookkeeping is counted: finding the spikes, borders of images, writing what others read.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from engine_networks import Work

SOURCE = Path(__file__).with_name("roofline.cpp")
FLAGS = {
    "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "avx2": ("-march=x86-64-v3",),
    "baseline": (),
}
FIRST_LEVEL = 32 << 10
"""Weights up to this size are taken to lie in the first-level cache, others in the second."""
SECOND_LEVEL = 256 << 10
ROW = 256
N_ROWS = 1024
ROUND_SECONDS = 0.004


@dataclass(frozen=True)
class Limits:
    """Rates of one core, in operations per second, and seconds for one neuron step.

    Attributes:
        gather: synaptic operations by rows of a table in the first-level cache.
        gather_far: the same, second-level cache.
        taps: masked int16 additions.
        neuron_step: widen, integrate, fire, subtract, store the spike.
        adds: int16 additions of registers; two thirds of it bound every gather.
    """

    gather: float
    gather_far: float
    taps: float
    neuron_step: float
    adds: float

    def floor(self, work: Work) -> float:
        """Seconds for one sample."""
        return (
            sum(
                count / (self.gather if size <= FIRST_LEVEL else self.gather_far)
                for size, count in work.gathered
            )
            + work.taps / self.taps
            + work.neuron_steps * self.neuron_step
        )


def median(limits: list[Limits]) -> Limits:
    """The median of each limit."""
    return Limits(*np.median([list(vars(entry).values()) for entry in limits], axis=0).tolist())


class Roofline:
    """The micro-benchmarks of one instruction set.

    Args:
        build: of the engine: ``avx512``, ``avx2`` or ``baseline``.

    Raises:
        OSError: there is no compiler, or it does not take the file.
    """

    def __init__(self, build: str) -> None:
        self.library = _compiled(build)
        vector_bytes = self.library.vector_bytes()
        rng = np.random.default_rng(0)
        self.lanes = vector_bytes // 2
        self.out = aligned(np.zeros(4096, np.int16))
        self.tables = [
            aligned(rng.integers(0, 256, size, np.uint8)) for size in (FIRST_LEVEL, SECOND_LEVEL)
        ]
        self.rows = [
            aligned(rng.integers(0, table.size // ROW, N_ROWS).astype(np.uint16))
            for table in self.tables
        ]
        self.weights = aligned(rng.integers(-99, 99, 36 * self.lanes).astype(np.int16))
        self.bits = aligned(rng.integers(0, 1 << 32, 36).astype(np.uint32))
        self.spikes = aligned(np.zeros(32 * 4, np.uint16))
        self.sums = aligned(rng.integers(-99, 99, 32 * 4 * self.lanes // 2).astype(np.int16))

    def measure(self) -> Limits:
        """All limits, in some 20 ms."""
        gather, gather_far = (
            N_ROWS * ROW / self._seconds("gather", table, rows, N_ROWS, ROW, self.out)
            for table, rows in zip(self.tables, self.rows, strict=True)
        )
        steps = 32 * 4 * self.lanes // 2
        return Limits(
            gather,
            gather_far,
            36 * self.lanes / self._seconds("taps", self.weights, self.bits, 36, self.out),
            self._seconds("neurons", self.sums, 32, 99, self.spikes) / steps,
            8 * self.lanes / self._seconds("adds", self.out),
        )

    def _seconds(self, name: str, *arguments: Any) -> float:
        """CPU time of one repetition of a loop."""
        function: Callable[..., None] = getattr(self.library, name)
        values = [
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in arguments
        ]
        repeats = 64
        while True:
            begin = time.process_time()
            function(*values, ctypes.c_long(repeats))
            elapsed = time.process_time() - begin
            if elapsed >= ROUND_SECONDS / 2:
                return elapsed / repeats
            repeats *= 4


def aligned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy that starts at a cache line."""
    buffer = np.zeros(array.nbytes + 64, np.uint8)
    begin = -buffer.ctypes.data % 64
    copy: np.ndarray[Any, Any] = buffer[begin : begin + array.nbytes].view(array.dtype)
    copy = copy.reshape(array.shape)
    copy[...] = array
    return copy


def _compiled(build: str) -> ctypes.CDLL:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise OSError("no C++ compiler (CXX, g++ or c++)")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"roofline-{build}.so"
        command = [compiler, "-std=c++17", "-O3", *FLAGS[build], "-shared", "-fPIC"]
        done = subprocess.run(
            [*command, str(SOURCE), "-o", str(target)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OSError(f"{compiler} does not compile {SOURCE.name}: {done.stderr[:500]}")
        return ctypes.CDLL(str(target))
