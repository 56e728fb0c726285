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
from collections.abc import Callable, Sequence
from ctypes import POINTER, c_void_p
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Input, Population, QuantizedGraph, Readout
from snn_compile.ir.schedule import integer_network, is_scheduled
from snn_compile.ir.spiking import InputCoding, Schedule
from snn_compile.sim import abi, native, reference
from snn_compile.sim.batches import Advance, map_batches, no_progress
from snn_compile.sim.reference import Run
from snn_compile.sim.scheduled import in_windows, stream
from snn_compile.threads import allowed

MAX_PIECE_SIZE = 64
"""Maximal number of stimuli per call of the library and thread: progress is reported after each."""
MANY = 16
"""Stimuli for each thread that are worth several calls of the library."""
ALIGNED_TO = 64
"""Alignment of arrays in bytes."""
OUT_OF_MEMORY, OUT_OF_RANGE = 1, 2
"""Error codes of ``snn_engine_run``."""
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
        result = _Result(self.populations, self.n_steps, n, asked.record, activity)

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
        size = _piece_size(n, workers // outside, outside)
        for _ in map_batches(simulate, samples, size, asked.advance, threads=outside):
            pass
        return result.run()

    def empty_outputs(self, n_samples: int) -> list[Int | None]:
        """Arrays for the outputs of some stimuli: an entry for each population."""
        return _outputs(self.populations, n_samples)

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


def _piece_size(n_samples: int, inside: int, outside: int) -> int:
    """Stimuli per call of the library.

    Args:
        n_samples: of all calls.
        inside: threads of a call.
        outside: calls at the same time.
    """
    # Several calls at least: progress is reported after each one. None of few stimuli, though.
    few = n_samples // (4 * outside) // inside * inside
    return max(1 if outside > 1 else MANY * inside, min(MAX_PIECE_SIZE * inside, few))


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


class Network:
    """The library's object, freed with this one."""

    def __init__(self, library: ctypes.CDLL, description: abi.Description) -> None:
        abi.declare(library)
        self._library = library
        message = ctypes.create_string_buffer(200)
        self._handle = library.snn_engine_network_new(
            description.populations,
            len(description.populations),
            description.synapses,
            len(description.synapses),
            description.n_steps,
            message,
            len(message),
        )
        if not self._handle:
            raise MemoryError(f"the engine cannot hold the network: {message.value.decode()}")
        weakref.finalize(self, library.snn_engine_network_free, self._handle)

    def state(self) -> State:
        """The state of the network at rest.

        Raises:
            MemoryError: the library ran out of memory.
        """
        return State(self._library, self, self._handle)

    def run(self, batch: abi.Batch) -> None:
        """Simulate, with the interpreter lock released."""
        outcome = self._library.snn_engine_run(self._handle, ctypes.byref(batch))
        if outcome == OUT_OF_MEMORY:
            raise MemoryError("the engine ran out of memory")
        if outcome == OUT_OF_RANGE:
            raise ValueError("the input has messages outside its range")


class State:
    """Where the neurons of a network stand: the library's object, freed with this one."""

    def __init__(self, library: ctypes.CDLL, network: Network, handle: int) -> None:
        self.handle: int | None = library.snn_engine_state_new(handle)
        if not self.handle:
            raise MemoryError("the engine cannot hold the state of the network")
        self._network = network  # which is freed later
        weakref.finalize(self, library.snn_engine_state_free, self.handle)


class _Result:
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
        self.outputs = _outputs(populations, n_samples)
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


def _outputs(populations: Sequence[Input | Population], n_samples: int) -> list[Int | None]:
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
    sizes = [prod(shapes[p.id]) * np.dtype(_message_dtype(p)).itemsize for p in sent]
    starts = [0, *accumulate(-(-size // ALIGNED_TO) * ALIGNED_TO for size in sizes)]
    room = np.empty(starts[-1], np.uint8)
    traces = {
        p.id: room[start : start + size].view(_message_dtype(p)).reshape(shapes[p.id])
        for p, start, size in zip(sent, starts, sizes, strict=False)
    }
    return [traces.get(p.id) for p in populations]


def _message_dtype(population: Input | Population) -> type[np.signedinteger]:
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
