"""Golden messages: what each layer sends for the stored stimuli, as one hash per stimulus.

The engine computes all of them, and the reference as many as a budget of counted work allows,
spread over the stimuli. Nothing here asks a clock: equal inputs give equal files on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from snn_compile.hil.verification import Verification
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import ConvSynapses, QuantizedGraph
from snn_compile.ir.timing import InputCoding
from snn_compile.memory import format_size
from snn_compile.pluralize import pluralize
from snn_compile.sim import engine, reference
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.reference import Run

MOST, FEWEST = 100, 4
"""Most and fewest stimuli that are stored with a network."""
MESSAGE_BYTES = 8 << 30
"""Size of all golden messages, as integers of 4 bytes: they are hashed."""
STIMULUS_BYTES = 256 << 20
"""Size of all stored stimuli, as integers of 8 bytes."""
ENGINE_WORK = 1 << 39
"""Multiplications of the engine for all golden messages."""
REFERENCE_WORK = 1 << 35
"""Work of the reference: multiplications, and ``NEURON_WORK`` for each step of a neuron."""
NEURON_WORK = 64


def n_stimuli(program: QuantizedGraph) -> int:
    """Number of stimuli to store with a network, within the budgets of bytes and work."""
    steps = program.window.n_steps
    message_bytes = 4 * steps * sum(prod(node.shape) for node in program.populations)
    held = 1 if program.inputs[0].coding is not InputCoding.EVENTS else steps
    stimulus_bytes = 8 * held * prod(program.inputs.shape)
    return max(
        FEWEST,
        min(
            MOST,
            MESSAGE_BYTES // message_bytes,
            STIMULUS_BYTES // stimulus_bytes,
            ENGINE_WORK // (steps * _multiplications(program)),
        ),
    )


def n_for_reference(program: QuantizedGraph) -> int:
    """Number of stimuli for which the reference computes within its budget."""
    neurons = sum(prod(node.shape) for node in program.populations)
    work = program.window.n_steps * (_multiplications(program) + NEURON_WORK * neurons)
    return max(FEWEST, REFERENCE_WORK // work)


def summary(program: QuantizedGraph, n: int) -> str:
    """How many of ``MOST`` stimuli are stored, and why not all."""
    neurons = sum(prod(node.shape) for node in program.populations)
    size = format_size(4 * n * program.window.n_steps * neurons)
    checked = min(n, n_for_reference(program))
    return (
        f"{n} of {MOST} stimuli, {size} of messages (budget {format_size(MESSAGE_BYTES)})"
        f" · the reference checks {checked}"
    )


def is_sampled(program: QuantizedGraph, n: int) -> bool:
    """Whether n stimuli exceed the budget of the reference, or are fewer than ``MOST``."""
    return n > n_for_reference(program) or n_stimuli(program) < MOST


@dataclass
class Recorded:
    """Golden messages.

    Attributes:
        outputs: potentials of each output after the window, one entry for each stimulus.
        hashes: of each layer's messages, for each stimulus.
        n_checked: stimuli that the reference has computed.
        unequal: differences between engine and reference.
    """

    outputs: dict[NodeId, list[Int]] = field(default_factory=dict)
    hashes: dict[str, list[str]] = field(default_factory=dict)
    n_checked: int = 0
    unequal: list[str] = field(default_factory=list)

    @property
    def potentials(self) -> dict[NodeId, Int]:
        """The outputs of all stimuli as one array each."""
        return {name: np.stack(values) for name, values in self.outputs.items()}

    @property
    def mode(self) -> str:
        """Who computed them."""
        n = len(next(iter(self.outputs.values()), []))
        if self.n_checked == n:
            return "reference simulator, hashes of all messages"
        return (
            f"engine on {pluralize(n, 'stimulus')}, reference simulator on {self.n_checked} of"
            " them; hashes of all messages"
        )

    def add(self, run: Run) -> None:
        """Append the stimuli of a run."""
        for name, values in run.outputs.items():
            self.outputs.setdefault(name, []).extend(values)
        for name, messages in run.messages.items():
            self.hashes.setdefault(name, []).extend(_digest(one) for one in messages)

    def compare(self, first: int, run: Run) -> None:
        """Compare with what the reference computed for the stimuli from ``first`` on."""
        for k in range(run.n_stimuli):
            for name, values in run.outputs.items():
                if not np.array_equal(values[k], self.outputs[name][first + k]):
                    self.unequal.append(f"output '{name}' of the engine, stimulus {first + k}")
            for name, messages in run.messages.items():
                if _digest(messages[k]) != self.hashes[name][first + k]:
                    self.unequal.append(f"layer '{name}' of the engine, stimulus {first + k}")
        self.n_checked += run.n_stimuli


def verification(
    program: QuantizedGraph,
    n: int,
    recorded: Recorded,
    expected: Mapping[str, Int],
    hashes: Mapping[str, Sequence[str]],
) -> Verification:
    """The simulators of today, compared with what was recorded at compile time.

    Args:
        program: the network.
        n: number of stimuli.
        recorded: what the simulators give today.
        expected: potentials of each output at compile time, by name.
        hashes: of each layer's messages at compile time, by name.
    """
    unequal = [
        f"output '{name}' differs from the golden potentials"
        for name, found in recorded.potentials.items()
        if not np.array_equal(found, expected.get(name, found[:0])[: len(found)])
    ]
    unequal += [
        f"layer '{name}' differs from the golden trace at stimulus {stimulus}"
        for name, digests in recorded.hashes.items()
        for stimulus, digest in enumerate(digests)
        if [digest] != list(hashes.get(name, ()))[stimulus : stimulus + 1]
    ]
    unequal += recorded.unequal
    window = program.window.n_steps
    per_stimulus = sum(prod(p.shape) for p in program.populations) * window
    return Verification(
        "golden",
        recorded.mode,
        n,
        n * window + program.latency,
        per_stimulus * n,
        not unequal,
        details=tuple(unequal[:10]),
    )


def record(program: QuantizedGraph, frames: Int, advance: Advance = no_progress) -> Recorded:
    """Outputs and hashes of all messages, a few stimuli at a time.

    Without an engine, or within its budget, the reference alone computes them.

    Args:
        program: the network.
        frames: encoded stimuli.
        advance: progress callback; ``work_items`` in all.
    """
    found, chosen = Recorded(), checked_stimuli(program, len(frames))
    simulate = reference.run if len(chosen) == len(frames) else engine.run
    for _, run in reference.record_runs(program, frames, simulate):
        found.add(run)
        advance(run.n_stimuli)
    if len(chosen) == len(frames):
        found.n_checked = len(frames)
        return found
    for first, run in _by_reference(program, frames, chosen):
        found.compare(first, run)
        advance(run.n_stimuli)
    return found


def by_reference(
    program: QuantizedGraph, frames: Int, *, first: int = 0, before: Int | None = None
) -> Recorded:
    """What the reference alone gives for some stimuli, from ``first`` on, after ``before``."""
    found = Recorded(n_checked=len(frames))
    for _, run in reference.record_runs(program, frames, first=first, before=before):
        found.add(run)
    return found


def join(parts: Sequence[Recorded]) -> Recorded:
    """The golden messages of stimuli that follow each other."""
    whole = Recorded()
    for part in parts:
        for name, values in part.outputs.items():
            whole.outputs.setdefault(name, []).extend(values)
        for layer, digests in part.hashes.items():
            whole.hashes.setdefault(layer, []).extend(digests)
        whole.n_checked += part.n_checked
        whole.unequal += part.unequal
    return whole


def work_items(program: QuantizedGraph, n: int) -> int:
    """Number of stimuli that ``record`` computes, by the engine and by the reference."""
    checked = len(checked_stimuli(program, n))
    return n if checked == n else n + checked


def checked_stimuli(program: QuantizedGraph, n: int) -> Sequence[int]:
    """The stimuli that the reference computes: all of them, or some from first to last."""
    few = n_for_reference(program)
    if n <= few or engine.no_engine(program):
        return range(n)
    spread = np.linspace(0, n - 1, few).round().astype(int)
    return [int(k) for k in np.unique(spread)]


def _by_reference(
    program: QuantizedGraph, frames: Int, chosen: Sequence[int]
) -> Iterator[tuple[int, Run]]:
    for k in chosen:
        before = reference.shown_before(frames, k)
        yield k, reference.run(program, frames[k : k + 1], first=k, before=before, record=True)


def _multiplications(program: QuantizedGraph) -> int:
    """Multiplications of one step."""
    return 1 + sum(
        group.weight.values.size * (prod(group.shape[1:]) if isinstance(group, ConvSynapses) else 1)
        for population in program.populations
        for group in program.synapses_into(population)
    )


def _digest(messages: Int) -> str:
    """SHA-256 of one layer's messages for one stimulus, as int32 in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(messages, dtype="<i4").tobytes()).hexdigest()
