"""The bit-accurate simulator: the definition of correct.

It executes the equations of ``ir/quantized.py`` for a batch of stimuli. A feed-forward network can
be run one layer at a time, all steps of a window at once, because every population starts its
window when the first message of the stimulus reaches it: population d, step t happens in row ``t +
depth`` of the device's clock (``row_of``), and the result does not depend on when that is. The slow
transcription that walks row by row and agrees is in ``tests/property``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int, arithmetic_shift
from snn_compile.ir.graph import NodeId
from snn_compile.ir.inputs import Inputs
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Input,
    Population,
    QuantizedGraph,
    Readout,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.numerics.products import blas
from snn_compile.samples.rows import Rows
from snn_compile.sim import bounds, kernels
from snn_compile.sim.batches import Advance, batch_size, map_batches, no_progress


@dataclass(frozen=True)
class Run:
    """The result of a simulation.

    Attributes:
        outputs: final potential of each readout, (N, *shape) int64.
        messages: if recorded, messages of each population at each step of the window,
            (N, T, *shape); for a readout, its potential after each step.
        activity: messages other than 0 of each neuron over all stimuli, (*shape,) int64, for the
            inputs and every population that sends; of clip-floor neurons the sum of their counts,
            equal to the number of spikes that a sync network sends for them.
    """

    outputs: dict[NodeId, Int]
    messages: dict[NodeId, Int] = field(default_factory=dict)
    activity: dict[NodeId, Int] = field(default_factory=dict)

    @property
    def n_stimuli(self) -> int:
        """Number of simulated stimuli."""
        return len(next(iter(self.outputs.values())))


RECORDED_BYTES = 256 << 20
"""Memory limit for the recorded messages of one piece of the stimuli."""


def recording_batch_size(program: QuantizedGraph) -> int:
    """Stimuli per batch for callers that need the messages of many stimuli, but not all at once."""
    nodes = (*program.inputs, *program.populations)
    per_step = 8 * sum(prod(node.shape) for node in nodes)
    return max(1, RECORDED_BYTES // (per_step * program.window.n_steps))


def row_of(program: QuantizedGraph, node: NodeId, stimulus: int, step: int) -> int:
    """Row of the device's clock in which a population handles a step of a stimulus."""
    window = program.window
    return stimulus * window.n_steps + step + program.depth[node] * window.lag


def input_messages(
    program: QuantizedGraph, frames: npt.NDArray[np.integer], *, first: int = 0
) -> Int:
    """Messages of the host for encoded frames, the first of a stream.

    Args:
        program: the network.
        frames: (N, *sample shape) encoded values; (N, T, *sample shape) events.
        first: index of the first frame among all stimuli; decides the Poisson draws.

    Returns:
        (N, T, *sample shape) int64.
    """
    n_steps = program.window.n_steps
    messages = encode_inputs(program.inputs, np.asarray(frames, np.int64), n_steps, first)
    return np.broadcast_to(messages, (len(frames), n_steps, *program.inputs.shape))


def encode_inputs(
    inputs: Inputs[Input] | Inputs[spiking.Input], frames: Int, n_steps: int, first: int
) -> Int:
    """Messages of all inputs, (N, 1 or T, *sample shape): one step where all steps are the same."""
    values = inputs.split(frames, 2 if inputs[0].coding is InputCoding.EVENTS else 1)
    sent = {node.id: encode_input(node, values[node.id], n_steps, first) for node in inputs}
    return inputs.join(sent, 2)


def encode_input(node: Input | spiking.Input, frames: Int, n_steps: int, first: int) -> Int:
    """Messages of one input, (N, 1 or T, *shape)."""
    if frames.size and (frames.min() < node.low or frames.max() > node.high):
        raise ValueError(
            f"encoded input {frames.min()}..{frames.max()} outside {node.low}..{node.high}"
        )
    if node.coding is InputCoding.EVENTS:
        return frames
    if node.coding is InputCoding.FRAME:
        return np.pad(frames[:, None], [(0, 0), (0, n_steps - 1), *[(0, 0)] * (frames.ndim - 1)])
    if node.coding is InputCoding.CHANGES:
        return np.diff(frames, axis=0, prepend=0)[:, None]
    if node.coding is not InputCoding.POISSON:
        return frames[:, None]
    spikes = np.empty((len(frames), n_steps, *node.shape), np.int64)
    for index, frame in enumerate(frames):
        # A generator per stimulus: its spikes do not depend on how stimuli are batched.
        generator = np.random.Generator(np.random.Philox(key=[node.seed, first + index]))
        draw = generator.integers(0, node.full_scale, size=(n_steps, *node.shape))
        spikes[index] = np.sign(frame) * (draw < np.abs(frame))
    return spikes


def run(
    program: QuantizedGraph,
    frames: npt.NDArray[np.integer],
    *,
    first: int = 0,
    before: npt.NDArray[np.integer] | None = None,
    record: bool = False,
    advance: Advance = no_progress,
) -> Run:
    """Simulate a batch of stimuli.

    Args:
        program: the network.
        frames: (N, *sample shape) encoded values.
        first: index of the first frame among all stimuli; decides the Poisson draws.
        before: (*sample shape), the frame before the first one, for sigma-delta networks, which
            carry state; None at the start of a stream.
        record: whether to keep every message.
        advance: progress callback, in stimuli.

    Raises:
        ValueError: a frame has values outside the encoded range.
    """
    simulate = Simulator(program, record)

    def run_piece(piece: npt.NDArray[np.generic], start: int) -> Run:
        return simulate(piece.astype(np.int64), first + start, shown_before(frames, start, before))

    return _in_pieces(program, run_piece, frames, advance)


def shown_before(
    frames: Rows, start: int, before: npt.NDArray[np.integer] | None = None
) -> npt.NDArray[np.integer] | None:
    """The frame before frame ``start``; None at the start of a stream."""
    return frames[start - 1 : start][0] if start else before


def record_runs(
    program: QuantizedGraph,
    frames: Rows,
    simulate: Callable[..., Run] = run,
    *,
    first: int = 0,
    before: npt.NDArray[np.integer] | None = None,
) -> Iterator[tuple[int, Run]]:
    """Recorded runs of many stimuli, a few at a time, each with the index of its first one.

    ``first`` and ``before`` are those of :func:`run`, if these are not the first stimuli.
    """
    at_once = recording_batch_size(program)
    for start in range(0, len(frames), at_once):
        piece, shown = frames[start : start + at_once], shown_before(frames, start, before)
        number = first + start
        yield number, simulate(program, piece, first=number, before=shown, record=True)


def run_messages(
    program: QuantizedGraph,
    messages: npt.NDArray[np.integer],
    *,
    record: bool = False,
    advance: Advance = no_progress,
) -> Run:
    """Simulate input messages, (N, T or 1, *sample shape) integers; otherwise as ``run``."""
    simulate = Simulator(program, record)

    def run_piece(piece: npt.NDArray[np.generic], start: int) -> Run:
        if not start or not simulate.carries_state:
            return simulate.on(piece.astype(np.int64))
        so_far = messages[:start].sum(axis=0, dtype=np.int64, keepdims=True)
        return simulate.on(np.concatenate([so_far, piece.astype(np.int64)]), skipped=1)

    return _in_pieces(program, run_piece, messages, advance)


def _in_pieces(
    program: QuantizedGraph,
    simulate: Callable[[npt.NDArray[np.generic], int], Run],
    samples: npt.NDArray[np.integer],
    advance: Advance,
) -> Run:
    """One run computed in pieces."""
    largest = max(prod(node.shape) for node in program.graph) * program.window.n_steps
    pieces = list(map_batches(simulate, samples, batch_size(largest), advance))
    if pieces:
        return join_runs(pieces)
    return Run({node.id: np.empty((0, *node.shape), np.int64) for node in program.readouts})


def join_runs(pieces: Sequence[Run], record: bool = True) -> Run:
    """Concatenation of at least one run, in order; with messages if recorded."""
    first = pieces[0]
    return Run(
        {key: np.concatenate([p.outputs[key] for p in pieces]) for key in first.outputs},
        {key: np.concatenate([p.messages[key] for p in pieces]) for key in first.messages}
        if record
        else {},
        {key: np.sum([p.activity[key] for p in pieces], axis=0) for key in first.activity},
    )


class Simulator:
    """A program prepared for execution: one exact synapse operator per group."""

    def __init__(self, program: QuantizedGraph, record: bool = False) -> None:
        self.program = program
        self.record = record
        self.operators = {
            node.id: SynapseOperator(node, bounds.message_range(program.graph, node))
            for node in program.graph
            if isinstance(node, Synapses)
        }
        self.dtypes = {node.id: self._state_dtype(node) for node in program.populations}
        self.carries_state = program.input_coding is InputCoding.CHANGES
        """Whether the answers to a frame depend on earlier frames."""

    def _state_dtype(self, population: Population) -> type[np.int32] | type[np.int64]:
        """int32 where all sums, before and after their shift, and a 24-bit state provably fit."""
        fits = bounds.largest_sum(self.program.graph, population) < 1 << 30
        return np.int32 if fits else np.int64

    def __call__(
        self, frames: Int, first: int = 0, before: npt.NDArray[np.integer] | None = None
    ) -> Run:
        """Simulate one piece of frames; ``first`` is the index of its first stimulus."""
        skipped = 0
        if self.carries_state and before is not None:
            # All states are sums of changes: the first frame continues from the last one.
            frames, skipped = np.concatenate([before[None].astype(np.int64), frames]), 1
        n_steps = self.program.window.n_steps
        return self.on(encode_inputs(self.program.inputs, frames, n_steps, first), skipped)

    def on(self, messages: Int, skipped: int = 0) -> Run:
        """Simulate messages (B, T or 1, *sample shape); omit the first ``skipped`` results."""
        program, n_steps = self.program, self.program.window.n_steps
        values = self.input_values(messages)
        held = n_steps // messages.shape[1]
        activity = {key: held * _active(sent[..., skipped:]) for key, sent in values.items()}
        readers = {node.id: len(program.graph.consumers(node.id)) for node in program.graph}
        outputs: dict[NodeId, Int] = {}
        recorded: dict[NodeId, Int] = {}
        for population in program.populations:
            a = self.current(population, values)
            for synapses in program.synapses_into(population):
                source = synapses.inputs[0]
                readers[source] -= 1
                if not readers[source]:
                    del values[source]
            answer = population.respond(a, n_steps)
            kept = answer[..., skipped:]
            if self.record:
                recorded[population.id] = np.moveaxis(kept, (-1, -2), (0, 1))
            if isinstance(population, Readout):
                outputs[population.id] = np.moveaxis(kept[..., -1, :], -1, 0)
            else:
                spikes = kept.sum(axis=(-1, -2)) if population.counts else _active(kept)
                activity[population.id] = spikes
                values[population.id] = answer
        return Run(outputs, recorded, activity)

    def encode_inputs(self, frames: Int, first: int = 0) -> dict[NodeId, Int]:
        """Messages of each input, (*shape, T, B); one step where all steps are the same."""
        n_steps = self.program.window.n_steps
        return self.input_values(encode_inputs(self.program.inputs, frames, n_steps, first))

    def input_values(self, messages: Int) -> dict[NodeId, Int]:
        """Messages (B, T or 1, *sample shape) of each input, (*shape, T or 1, B)."""
        by_input = self.program.inputs.split(messages, 2)
        return {key: np.moveaxis(sent, (0, 1), (-1, -2)) for key, sent in by_input.items()}

    def current(self, population: Population, values: Mapping[NodeId, Int]) -> Int:
        """Summed synaptic input of a population, (*shape, T or 1, B), for its sources' messages."""
        dtype = self.dtypes[population.id]
        total: Int | None = None
        for synapses in self.program.synapses_into(population):
            part = self.operators[synapses.id](values[synapses.inputs[0]], dtype)
            total = part if total is None else total + part
        if total is None:
            raise TypeError(f"'{population.id}' has no synapses")
        return total


def _active(messages: Int) -> Int:
    """Messages other than 0 per neuron: (*shape, T, B) to (*shape,)."""
    active: Int = np.count_nonzero(messages, axis=(-1, -2))
    return active


class SynapseOperator:
    """A synapse group as an exact linear operator followed by its exponent.

    Args:
        synapses: the group.
        messages: smallest and largest input message; decides the floating type in which
            BLAS sums integers exactly.
    """

    def __init__(self, synapses: Synapses, messages: tuple[int, int]) -> None:
        self.synapses = synapses
        _, partial = bounds.synapse_sums(synapses, messages)
        self.dtype = np.dtype(kernels.exact_dtype(partial))
        self._apply = self._operator()

    def _operator(self) -> Callable[[kernels.Array], kernels.Array]:
        synapses = self.synapses
        weight = synapses.weight.values.astype(self.dtype)
        match synapses:
            case ConvSynapses():
                return lambda s: kernels.conv2d(s, weight, synapses.geometry)
            case DenseSynapses():
                return lambda s: blas(weight, s.reshape(-1, s.shape[-1]))
            case SparseSynapses():
                from scipy.sparse import csr_array

                n_rows = len(synapses.indptr) - 1
                matrices: dict[int, csr_array] = {}

                def multiply(s: kernels.Array) -> kernels.Array:
                    flat = s.reshape(-1, s.shape[-1])
                    if len(flat) not in matrices:
                        matrices[len(flat)] = csr_array(
                            (weight, synapses.indices, synapses.indptr), (n_rows, len(flat))
                        )
                    product: kernels.Array = matrices[len(flat)] @ flat
                    return product

                return multiply

    def __call__(self, messages: Int, dtype: npt.DTypeLike = np.int64) -> Int:
        """Synaptic input for messages (*source shape, T, B), as (*shape, T, B) integers."""
        *source, n_steps, batch = messages.shape
        s = messages.astype(self.dtype).reshape(*source, n_steps * batch)
        sums = self._apply(s).astype(dtype)
        shifted = arithmetic_shift(sums, self.synapses.exponent)
        return shifted.reshape(*self.synapses.shape, n_steps, batch)
