"""Traversal of a program's populations on calibration samples, each finished before the next.

A pass that adjusts one layer after the other reads the input of a layer with all earlier layers in
fixed point, changes the layer, and computes its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from math import prod
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Neurons, Population, QuantizedGraph, Synapses
from snn_compile.sim import bounds
from snn_compile.sim.batches import batch_size, map_batches
from snn_compile.sim.reference import Simulator, SynapseOperator

T = TypeVar("T")


class Sweep:
    """One traversal; pieces of the samples run on as many threads as there are processors.

    Args:
        program: the network, updated by ``replace_weights``.
        frames: (N, *sample shape) encoded samples, in any integer type.
    """

    def __init__(self, program: QuantizedGraph, frames: npt.NDArray[np.integer]) -> None:
        self._n_steps = program.window.n_steps
        self._frames = frames
        self._size = batch_size(max(prod(node.shape) for node in program.graph) * self._n_steps)
        self._simulator = Simulator(program)
        self._values: list[dict[NodeId, Int]] = [
            self._simulator.encode_inputs(piece.astype(np.int64), start)
            for start in range(0, len(frames), self._size)
            for piece in [frames[start : start + self._size]]
        ]
        self._readers = {node.id: len(program.graph.consumers(node.id)) for node in program.graph}

    def branch(self) -> Sweep:
        """A traversal that continues from here by itself; messages are shared, never changed."""
        other = copy(self)
        other._values = [dict(values) for values in self._values]
        other._readers = dict(self._readers)
        other._simulator = copy(self._simulator)
        other._simulator.operators = dict(self._simulator.operators)
        return other

    def pieces(self, source: NodeId) -> list[Int]:
        """Messages of a population, (*shape, T or 1, B), piece by piece."""
        return [values[source] for values in self._values]

    def is_constant(self, groups: Iterable[Synapses]) -> bool:
        """Whether these groups carry the same messages in all steps of a window."""
        sources = {group.inputs[0] for group in groups}
        return all(values[source].shape[-2] == 1 for values in self._values for source in sources)

    def replace_weights(self, program: QuantizedGraph, groups: list[Synapses]) -> None:
        """Continue with other weights in these groups, from ``program``."""
        for group in groups:
            messages = bounds.message_range(program.graph, group)
            self._simulator.operators[group.id] = SynapseOperator(group, messages)

    def currents(self, population: Population) -> list[Int]:
        """Summed synaptic input, (*shape, T or 1, B), piece by piece."""
        return self._each(lambda k: self._simulator.current(population, self._values[k]))

    def counts(self, population: Neurons, currents: list[Int]) -> list[Int]:
        """Sum of the messages that a population would send in a window, (*shape, B) by piece."""

        def of_piece(k: int) -> Int:
            answer = population.respond(currents[k], self._n_steps)
            total: Int = answer.sum(axis=-2, dtype=np.int64)
            return total

        return self._each(of_piece)

    def advance(self, population: Population, currents: list[Int]) -> None:
        """Simulate a population in its current form; free messages without further readers."""
        if isinstance(population, Neurons):
            answers = self._each(lambda k: population.respond(currents[k], self._n_steps))
            for values, answer in zip(self._values, answers, strict=True):
                values[population.id] = answer
        for group in self._simulator.program.synapses_into(population):
            source = group.inputs[0]
            self._readers[source] -= 1
            if not self._readers[source]:
                for values in self._values:
                    del values[source]

    def _each(self, of_piece: Callable[[int], T]) -> list[T]:
        return list(
            map_batches(lambda _, start: of_piece(start // self._size), self._frames, self._size)
        )
