"""One stimulus after the other, each as soon as it is there.

A session prepares the network and all arrays once, so that a call costs little beside the
simulation. Its answers are those of ``engine.run`` on the same stimuli together; of a session that
keeps the neurons' state, those for one stimulus of as many steps as all of them.
"""

from __future__ import annotations

import time

import numpy as np

from snn_compile.errors import UsageError
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import abi, reference
from snn_compile.sim.engine import Engine, engine_for, no_engine, pointers
from snn_compile.sim.reference import Run


class Session:
    """A network that answers one stimulus at a time; for one thread.

    Args:
        program: the network.
        keep_state: whether neurons go on from where the stimulus before has left them, instead of
            being reset. For networks of events alone: what any other one answers is that of a
            window that begins at rest.
        threads: number of threads that compute a long stimulus together.

    Raises:
        UsageError: the state is to be kept, and the network reads no events, or has no engine.

    Attributes:
        count: stimuli so far.
        duration: of the latest simulation, in nanoseconds.
    """

    def __init__(
        self, program: QuantizedGraph, *, keep_state: bool = False, threads: int = 1
    ) -> None:
        self.count = 0
        self.duration = 0
        slow = no_engine(program)
        if keep_state and program.input_coding is not InputCoding.EVENTS:
            raise UsageError(
                "the network takes whole frames, and each of them begins at rest: there is no"
                " state to keep",
                code="no-state",
                hint="leave it out; state is kept for networks that read events",
            )
        if keep_state and slow:
            raise UsageError(
                f"only the compiled engine keeps the neurons' state: {slow}",
                code="no-engine",
                hint="install the project again with a C++17 compiler available",
            )
        self._answer = (
            _OnReference(program)
            if slow
            else _OnEngine(engine_for(program), threads, program if keep_state else None)
        )

    def __call__(self, frame: Int) -> Run:
        """The outputs for an encoded frame (1, *sample shape): a run without activity.

        Raises:
            ValueError: it has values outside the encoded range.
        """
        run, self.duration = self._answer(frame, self.count)
        self.count += 1
        return run

    def reset(self) -> None:
        """Begin again: the next stimulus is the first one, and all neurons are at rest."""
        self.count = 0
        self._answer.reset()


class _OnReference:
    """A session of the reference."""

    def __init__(self, program: QuantizedGraph) -> None:
        self._simulate = reference.Simulator(program)
        self.reset()

    def reset(self) -> None:
        """Forget the frame before."""
        self._before: Int | None = None

    def __call__(self, frame: Int, number: int) -> tuple[Run, int]:
        """The outputs for a frame, and how long it took."""
        begun = time.perf_counter_ns()
        run = self._simulate(frame, number, self._before)
        duration = time.perf_counter_ns() - begun
        self._before = frame[0]
        return Run(run.outputs), duration


class _OnEngine:
    """A session of the engine.

    The outputs of a sigma-delta network are a function of the frame: its states are sums of
    changes. No state of an earlier frame is needed for them.
    """

    def __init__(self, engine: Engine, threads: int, kept: QuantizedGraph | None) -> None:
        self._engine = engine
        self._endless = engine.endless(kept) if kept is not None else None
        self._outputs = engine.empty_outputs(1)
        self._batch = abi.Batch(
            n_samples=1,
            outputs=pointers(self._outputs, 0),
            dense_above=engine.dense_above,
            n_threads=threads,
            shared=engine.shared,
        )
        self.reset()

    def reset(self) -> None:
        """Put all neurons at rest."""
        if self._endless is not None:
            self._state = self._endless.state()
            self._batch.state = self._state.handle

    def __call__(self, frame: Int, number: int) -> tuple[Run, int]:
        """The outputs for a frame, and how long it took."""
        engine = self._engine
        sent = reference.encode_inputs(engine.inputs, frame, engine.n_steps, number)
        messages = np.ascontiguousarray(sent, engine.message_type)
        batch = self._batch
        batch.input_steps = messages.shape[1]
        batch.messages = messages.ctypes.data
        batch.message_bytes = messages.itemsize
        network = self._endless or engine.network(held=messages.shape[1] == 1)
        begun = time.perf_counter_ns()
        network.run(batch)
        duration = time.perf_counter_ns() - begun
        nodes = zip(engine.populations, self._outputs, strict=True)
        found = {node.id: values.copy() for node, values in nodes if values is not None}
        return Run(found), duration
