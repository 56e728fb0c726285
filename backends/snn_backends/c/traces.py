"""What the test program writes, and its comparison with the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from snn_backends.c import golden
from snn_backends.c.plan import Plan
from snn_compile.hil.divergence import Divergence, divergence_in
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.sim import reference
from snn_compile.sim.batches import Advance

VALUE = np.dtype("<i8")


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Attributes:
        compared: number of values.
        divergence: the first that differs.
    """

    compared: int
    divergence: Divergence | None


@dataclass(frozen=True, eq=False)
class Trace:
    """The order in which the program of a plan writes values.

    Attributes:
        plan: of the program.
    """

    plan: Plan

    @cached_property
    def order(self) -> list[int]:
        """Layers, as they are written for a stimulus."""
        layers = self.plan.layers
        if not self.plan.is_windowed:
            return [layer.index for layer in layers] * self.plan.n_steps
        found = []
        for phase in range(self.plan.n_phases):
            sent = [one.index for one in layers if one.depth == phase and not one.is_readout]
            ends = [one.index for one in layers if one.depth == phase + 1 and one.is_readout]
            found += [*sent * self.plan.n_steps, *ends]
        return found

    def split(self, values: Int) -> dict[NodeId, Int]:
        """Values of stimuli (N, values of one) as messages of each layer, (N, T or 1, *shape)."""
        sizes = [self.plan.layers[index].size for index in self.order]
        ends = np.cumsum(sizes)
        pieces: dict[int, list[Int]] = {}
        for index, size, end in zip(self.order, sizes, ends, strict=True):
            pieces.setdefault(index, []).append(values[:, end - size : end])
        return {
            layer.node.id: np.stack(pieces[layer.index], axis=1).reshape(
                len(values), -1, *layer.node.shape
            )
            for layer in self.plan.layers
        }

    @property
    def values(self) -> int:
        """Values that are written for a stimulus."""
        return sum(self.plan.layers[index].size for index in self.order)


def write_stimuli(plan: Plan, frames: Int, path: Path) -> None:
    """The file that the test program reads: for ``step``, then for ``run``."""
    program = plan.program
    with path.open("wb") as file:
        for k in range(len(frames)):
            _given(plan, frames, k).astype("<i4").tofile(file)
        for k in range(len(frames)):
            golden.shown(program, frames[k : k + 1], k).astype("<i4").tofile(file)


def _given(plan: Plan, frames: Int, k: int) -> Int:
    """The input's messages at each step that asks for them, for stimulus k."""
    shown: Int = frames[k]
    if plan.sends_once:
        return shown
    if plan.has_changes:
        before: Int = frames[k - 1] if k else np.zeros_like(shown)
        return np.broadcast_to(shown - before, (plan.n_steps, *shown.shape))
    return reference.input_messages(plan.program, frames[k : k + 1], first=k)


def compare(plan: Plan, frames: Int, written: IO[bytes], advance: Advance) -> Comparison:
    """Compare what the program writes for these stimuli with the reference.

    Raises:
        EOFError: it stops early.
    """
    trace, compared, found = Trace(plan), 0, None
    answers = []
    for first, run in reference.record_runs(plan.program, frames):
        n = run.n_stimuli
        messages = trace.split(_read(written, n, trace.values))
        for node, expected in run.messages.items():
            actual = messages[node]
            same = expected[:, : actual.shape[1]]  # a readout that waits is shown once
            compared += same.size
            if found is None and (other := divergence_in(node, same, actual)):
                found = replace(other, stimulus=other.stimulus + first)
        answers.append(
            np.concatenate(
                [run.outputs[o.id].reshape(n, -1) for o in plan.program.readouts], axis=1
            )
        )
        advance(n)
    expected = np.concatenate(answers)
    outputs = _read(written, len(frames), plan.n_outputs)
    if found is None:
        found = next(_of_outputs(plan, expected, outputs), None)
    return Comparison(compared + outputs.size, found)


def _of_outputs(plan: Plan, expected: Int, actual: Int) -> Iterator[Divergence]:
    """Differences of what ``run`` answers."""
    for layer in plan.layers:
        if layer.is_readout:
            columns = slice(layer.first, layer.first + layer.size)
            shape = len(expected), 1, *layer.node.shape
            name = f"{layer.node.id} (snn_run)"
            found = divergence_in(
                name, expected[:, columns].reshape(shape), actual[:, columns].reshape(shape)
            )
            if found is not None:
                yield found


def _read(file: IO[bytes], n: int, values: int) -> Int:
    size = n * values * VALUE.itemsize
    content = file.read(size)
    if len(content) < size:
        raise EOFError
    return np.frombuffer(content, VALUE).reshape(n, values).astype(np.int64)
