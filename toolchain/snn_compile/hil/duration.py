"""How long comparisons with the reference will take, before they begin.

One stimulus is simulated here, by the reference and by the engine; the work of a comparison is
counted in such stimuli. What that leaves open makes the range: batches are faster than a single
stimulus, and other processes may slow down the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from snn_compile.hil import golden
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import engine, native, reference

Range = tuple[float, float]
"""Seconds at least and at most."""

IN_BATCHES, BUSY = 0.2, 2.0
"""Share of the time of a single stimulus that one of many may take, and the delay by others."""
SHORT, MANY = 0.05, 8
"""Below so many seconds, one stimulus says little: so many are simulated."""


@runtime_checkable
class Foreseeable(Protocol):
    """A backend that knows how long its verification takes.

    Without this, ``snn-compile verify`` says beforehand only how long it may take at most.
    """

    def expected_seconds(
        self, program: QuantizedGraph, n_stimuli: int, per_stimulus: Range
    ) -> Range:
        """Seconds at least and at most, besides those of the reference.

        Args:
            program: the network.
            n_stimuli: number of stimuli.
            per_stimulus: seconds of the reference for one.
        """
        ...


@dataclass(frozen=True)
class Speed:
    """Seconds for one stimulus on this machine, at least and at most."""

    reference: Range
    engine: Range

    @staticmethod
    def measure(program: QuantizedGraph, frames: Int) -> Speed:
        """Simulate one stimulus, or a few if that takes no time."""
        slow = _seconds(program, frames, reference.run)
        fast = slow if engine.no_engine(program) else _seconds(program, frames, engine.run)
        return Speed(_range(slow), _range(fast))

    def expected(
        self, name: str, backend: object, program: QuantizedGraph, n_stimuli: int
    ) -> Range | None:
        """Seconds of a comparison; None if the backend does not say.

        Args:
            name: of the comparison.
            backend: that of this name, if any.
            program: the network.
            n_stimuli: number of stimuli.
        """
        if name == "golden":
            checked = len(golden.checked_stimuli(program, n_stimuli))
            by_engine = 0 if checked == n_stimuli else n_stimuli
            return _sum(_times(checked, self.reference), _times(by_engine, self.engine))
        if name == "engine":
            if engine.no_engine(program):
                return 0.0, 0.0
            more = _times(n_stimuli * len(native.builds()), self.engine)
        elif isinstance(backend, Foreseeable):
            more = backend.expected_seconds(program, n_stimuli, self.reference)
        else:
            return None
        return _sum(_times(n_stimuli, self.reference), more)


def _seconds(program: QuantizedGraph, frames: Int, simulate: Callable[..., object]) -> float:
    for n in (1, MANY):
        start = time.perf_counter()
        simulate(program, frames[:n], record=True)
        seconds = (time.perf_counter() - start) / len(frames[:n])
        if seconds > SHORT:
            break
    return seconds


def _range(seconds: float) -> Range:
    return IN_BATCHES * seconds, BUSY * seconds


def _times(n: int, one: Range) -> Range:
    return n * one[0], n * one[1]


def _sum(one: Range, other: Range) -> Range:
    return one[0] + other[0], one[1] + other[1]
