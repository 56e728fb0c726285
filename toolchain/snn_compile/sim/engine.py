"""The fast simulator: the reference's integers from compiled code.

``Engine`` prepares a network for one build of the library in ``toolchain/engine`` and runs batches
of stimuli through it, on as many threads as there are processors. Its results are defined by
``sim/reference.py`` and equal bit for bit. Callers use ``run``: the engine if it is installed, else
the reference.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable
from ctypes import POINTER, c_void_p
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import Input, Population, QuantizedGraph
from snn_compile.ir.schedule import integer_network, is_scheduled
from snn_compile.ir.spiking import InputCoding, Schedule
from snn_compile.sim import abi, native, reference
from snn_compile.sim.batches import Advance, map_batches, no_progress
from snn_compile.sim.library import Network
from snn_compile.sim.reference import Run
from snn_compile.sim.results import Result, pointers
from snn_compile.sim.scheduled import in_windows, stream
from snn_compile.threads import allowed

MAX_PIECE_SIZE = 64
"""Maximal number of stimuli per call of the library and thread: progress is reported after each."""
MANY = 16
"""Stimuli for each thread that are worth several calls of the library."""
MEASURED = -1.0
"""Placeholder for the measured density threshold of the build."""


def run(
    program: QuantizedGraph,
    frames: npt.NDArray[np.integer],
    *,
    first: int = 0,
    before: npt.NDArray[np.integer] | None = None,
    record: bool = False,
    advance: Advance = no_progress,
) -> Run:
    """Simulate a batch of stimuli on the engine, or on the reference if there is no engine.

    Arguments and result are those of :func:`snn_compile.sim.reference.run`.
    """
    simulate = reference.run if no_engine(program) else _on_engine
    return simulate(program, frames, first=first, before=before, record=record, advance=advance)


def _on_engine(program: QuantizedGraph, frames: npt.NDArray[np.integer], **options: Any) -> Run:
    return engine_for(program).run(frames, **options)


def simulator(program: QuantizedGraph | None = None) -> str:
    """Description of the simulator that ``run`` uses, with the reason for the reference."""
    why = no_engine(program)
    return f"reference ({why})" if why else f"engine {native.status().build}"


def no_engine(program: QuantizedGraph | None = None) -> str:
    """Why the engine is unavailable, in general or for a program; empty if it is available."""
    if native.find() is None:
        return f"no compiled engine: {native.status().why}"
    return abi.not_expressed(program) if program is not None else ""


_PREPARED: weakref.WeakKeyDictionary[QuantizedGraph, Engine] = weakref.WeakKeyDictionary()


def engine_for(program: QuantizedGraph) -> Engine:
    """The engine of a network, cached for the network's lifetime."""
    if program not in _PREPARED:
        _PREPARED[program] = Engine(program)
    return _PREPARED[program]


class Engine:
    """A network prepared for one build of the library.

    Args:
        program: the network.
        build: name of the build; by default the best one that this CPU supports.
        dense_above: share of firing neurons above which a layer is computed densely; by default
            the measured optimum of the build. The result does not depend on it.
        shared: whether all threads compute each stimulus together; by default only if it is long.
            The result does not depend on it, either.

    Raises:
        UsageError: the build is not available.
        MemoryError: the library ran out of memory.
    """

    def __init__(
        self,
        program: QuantizedGraph,
        *,
        build: str | None = None,
        dense_above: float = MEASURED,
        shared: bool = False,
    ) -> None:
        self.dense_above = dense_above
        self.shared = shared
        self._library = native.load(build)
        # No reference to the program itself: `engine_for` ties the engine's lifetime to it.
        self._window = program.window
        self._schedule = program.window.schedule if is_scheduled(program) else None
        at_once = integer_network(program)
        self.inputs = at_once.inputs
        self.populations: list[Input | Population] = [*at_once.inputs, *at_once.populations]
        self.n_steps = at_once.window.n_steps
        self._recording_batch_size = reference.recording_batch_size(at_once)
        digits = self._schedule is not None and self._schedule.spikes is np.bitwise_count
        self._counts_spikes = self._schedule is None or self._schedule.spikes is None or digits
        self._held = abi.Description(at_once, held=True, digits=digits)
        self._stepping = abi.Description(at_once, held=False, digits=digits)
        low = min(node.messages[0] for node in self.inputs)
        high = max(node.messages[1] for node in self.inputs)
        self.message_type = np.int8 if -128 <= low and high < 128 else np.int32
        self._draws = any(node.coding is InputCoding.POISSON for node in self.inputs)
        self._networks: dict[bool, Network] = {}
        self._lock = threading.Lock()

    def run(
        self,
        frames: npt.NDArray[np.integer],
        *,
        first: int = 0,
        before: npt.NDArray[np.integer] | None = None,
        record: bool = False,
        activity: bool = True,
        threads: int | None = None,
        advance: Advance = no_progress,
    ) -> Run:
        """Simulate encoded frames.

        Args:
            frames: (N, *sample shape) encoded values.
            first: index of the first frame among all stimuli; seeds the Poisson draws.
            before: as for :func:`snn_compile.sim.reference.run`.
            record: whether to keep every message.
            activity: whether to count the messages of each neuron.
            threads: maximal number; by default those that this process may use.
            advance: progress callback, in stimuli.

        Raises:
            ValueError: a frame has values outside the encoded range.
        """

        def messages(piece: npt.NDArray[np.generic], start: int) -> Int:
            encoded = piece.astype(np.int64)
            return reference.encode_inputs(self.inputs, encoded, self.n_steps, first + start)

        asked = _Asked(record, activity, threads, advance, self._draws)
        return self._spread(np.asarray(frames), before, messages, asked)

    def run_messages(
        self,
        messages: npt.NDArray[np.integer],
        *,
        record: bool = False,
        activity: bool = True,
        threads: int | None = None,
        advance: Advance = no_progress,
    ) -> Run:
        """Simulate input messages, (N, T or 1, *sample shape) integers; otherwise as ``run``."""
        n_steps = self._window.n_steps
        if messages.shape[1] not in (1, n_steps):
            raise ValueError(f"messages of {messages.shape[1]} steps, not {n_steps} or 1")
        sums = self._sums(messages, self._schedule) if self._schedule else messages
        asked = _Asked(record, activity, threads, advance)
        found = self._spread(sums, None, lambda piece, _: piece, asked)
        if self._schedule and activity:
            # Not of their sums.
            sent = n_steps // messages.shape[1] * np.count_nonzero(messages, axis=(0, 1))
            found.activity.update(self.inputs.split(sent, 0))
        return found

    def _sums(self, messages: npt.NDArray[np.integer], schedule: Schedule) -> Int:
        """Sums of messages, in their window or since the first one: (N, 1, *shape)."""
        if schedule.sent is not None:
            held = self._window.n_steps // messages.shape[1]
            sums: Int = held * messages.sum(axis=1, dtype=np.int64, keepdims=True)
            return sums
        return messages.cumsum(axis=0, dtype=np.int64)

    def _spread(
        self,
        samples: npt.NDArray[np.integer],
        before: npt.NDArray[np.integer] | None,
        messages: Callable[[npt.NDArray[np.generic], int], npt.NDArray[np.generic]],
        asked: _Asked,
    ) -> Run:
        """The run of a scheduled network, from the values of its integer network."""
        schedule, n_steps = self._schedule, self._window.n_steps
        record = asked.record
        if schedule is None or not (record or asked.activity):
            return self._run(samples, messages, asked)
        if schedule.sent is None:

            def values_of(piece: npt.NDArray[np.integer], advance: Advance) -> Run:
                wanted = replace(asked, record=True, activity=False, advance=advance)
                return self._run(piece, messages, wanted)

            runs = stream(
                self.populations,
                samples,
                before,
                values_of,
                self._recording_batch_size,
                record=record,
                advance=asked.advance,
            )
            return reference.join_runs(list(runs), record)
        in_time = partial(in_windows, schedule, self.populations, n_steps=n_steps, record=record)
        if self._counts_spikes:  # no messages have to be kept
            return in_time(self._run(samples, messages, asked))
        at_once = max(1, self._recording_batch_size // n_steps)
        pieces = (samples[k : k + at_once] for k in range(0, max(1, len(samples)), at_once))
        wanted = replace(asked, record=True, activity=True)
        runs = (self._run(piece, messages, wanted) for piece in pieces)
        return reference.join_runs([in_time(run) for run in runs], record)

    def _run(
        self,
        samples: npt.NDArray[np.integer],
        messages: Callable[[npt.NDArray[np.generic], int], npt.NDArray[np.generic]],
        asked: _Asked,
    ) -> Run:
        activity, n = asked.activity, len(samples)
        result = Result(self.populations, self.n_steps, n, asked.record, activity)

        def simulate(piece: npt.NDArray[np.generic], start: int) -> None:
            given = np.ascontiguousarray(messages(piece, start), self.message_type)
            counts = result.activity if alone else result.zero_counts()
            batch = abi.Batch(
                n_samples=given.shape[0],
                input_steps=given.shape[1],
                messages=given.ctypes.data,
                message_bytes=given.itemsize,
                outputs=pointers(result.outputs, start),
                activity=pointers(counts, 0) if activity else None,
                traces=ctypes.cast(pointers(result.traces, start), POINTER(c_void_p)),
                dense_above=self.dense_above,
                n_threads=workers // outside,
                shared=self.shared,
            )
            self.network(held=given.shape[1] == 1).run(batch)
            if not alone:
                result.add(counts)

        workers = asked.threads or allowed()
        # Random spikes of many stimuli take as long to draw as to simulate: each thread draws its
        # own. All else is encoded in no time, and the library's threads are awake sooner.
        outside = workers if asked.draws and n >= MANY * workers else 1
        alone = outside == 1  # who adds to the counts
        size = _piece_size(n, workers // outside, outside, self.n_steps)
        for _ in map_batches(simulate, samples, size, asked.advance, threads=outside):
            pass
        return result.run()

    def endless(self, program: QuantizedGraph, held: bool) -> Network:
        """The same network for neurons that are never reset, so that nothing bounds potentials."""
        return Network(self._library, abi.Description(program, held, endless=True))

    def network(self, held: bool) -> Network:
        """The network for an input with equal messages at every step, or not."""
        with self._lock:
            if held not in self._networks:
                description = self._held if held else self._stepping
                self._networks[held] = Network(self._library, description)
            return self._networks[held]


def _piece_size(n_samples: int, inside: int, outside: int, n_steps: int) -> int:
    """Stimuli per call of the library.

    Args:
        n_samples: of all calls.
        inside: threads of a call.
        outside: calls at the same time.
        n_steps: of a stimulus.
    """
    # Several calls at least: progress is reported after each one. None of few stimuli, though, nor
    # of a single step each, which take no time.
    most = MAX_PIECE_SIZE * inside
    few = n_samples // (4 * outside) // inside * inside
    least = 1 if outside > 1 else most if n_steps == 1 else MANY * inside
    return max(least, min(most, few))


@dataclass(frozen=True)
class _Asked:
    """What is wanted of a run: the arguments of ``Engine.run``.

    Attributes:
        draws: whether the input's messages are random spikes that have yet to be drawn.
    """

    record: bool
    activity: bool
    threads: int | None
    advance: Advance
    draws: bool = False
