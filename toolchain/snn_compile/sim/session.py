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
from snn_compile.ir.quantized import QuantizedGraph, Readout
from snn_compile.ir.schedule import is_scheduled
from snn_compile.sim import abi, reference
from snn_compile.sim.engine import Network, State, engine_for, no_engine, pointers
from snn_compile.sim.reference import Run


class Session:
    """A network that answers one stimulus at a time; for one thread.

    Args:
        program: the network.
        keep_state: whether neurons go on from where the stimulus before has left them, instead of
            being reset. Only of networks whose neurons have a state from step to step.
        threads: number of threads that compute a long stimulus together.

    Raises:
        UsageError: the state is to be kept, and the network has none, or has no engine.

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
        if keep_state:
            _require_state(program, slow)
        self._answer: _OnReference | _OnEngine
        if slow:
            self._answer = _OnReference(program)
        else:
            self._answer = _OnEngine(program, keep_state, threads)

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

    def __init__(self, program: QuantizedGraph, keep_state: bool, threads: int) -> None:
        self._engine = engine = engine_for(program)
        self._kept = program if keep_state else None
        self._network: Network | None = None
        self._state: State | None = None
        self._outputs = engine.empty_outputs(1)
        self._batch = abi.Batch(
            n_samples=1,
            outputs=pointers(self._outputs, 0),
            dense_above=engine.dense_above,
            n_threads=threads,
            shared=engine.shared,
        )

    def reset(self) -> None:
        """Put all neurons at rest."""
        self._state = None

    def __call__(self, frame: Int, number: int) -> tuple[Run, int]:
        """The outputs for a frame, and how long it took."""
        engine = self._engine
        sent = reference.encode_inputs(engine.inputs, frame, engine.n_steps, number)
        messages = np.ascontiguousarray(sent, engine.message_type)
        batch = self._batch
        batch.input_steps = messages.shape[1]
        batch.messages = messages.ctypes.data
        batch.message_bytes = messages.itemsize
        network = self._prepared(held=messages.shape[1] == 1)
        begun = time.perf_counter_ns()
        network.run(batch)
        duration = time.perf_counter_ns() - begun
        nodes = zip(engine.populations, self._outputs, strict=True)
        found = {node.id: values.copy() for node, values in nodes if values is not None}
        return Run(found), duration

    def _prepared(self, held: bool) -> Network:
        """The network, and in the batch the state that it goes on from."""
        if self._network is None:
            engine, kept = self._engine, self._kept
            self._network = engine.network(held) if kept is None else engine.endless(kept, held)
        if self._kept is not None and self._state is None:
            self._state = self._network.state()
            self._batch.state = self._state.handle
        return self._network


def _require_state(program: QuantizedGraph, slow: str) -> None:
    """Check that neurons have a state from step to step, and that the engine can keep it."""
    if slow:
        raise UsageError(
            f"only the compiled engine keeps the neurons' state: {slow}",
            code="no-engine",
            hint="leave it out: then each sample begins at rest",
        )
    sending = (node for node in program.populations if not isinstance(node, Readout))
    if is_scheduled(program) or all(abi.engine_form(node).is_stateless for node in sending):
        raise UsageError(
            f"in {program.window.coding} coding an answer depends on its sample alone: there is no"
            " state to keep",
            code="no-state",
            hint="leave it out; state is kept in rate and signed coding, and by networks that were"
            " trained with spikes",
        )
