"""Inputs and responses of a device's layer: the evidence for a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.hil.divergence import Divergence
from snn_compile.hil.recording import Recording
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    Input,
    Population,
    QuantizedGraph,
    Synapses,
    along_channels,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import bounds, reference
from snn_compile.sim.reference import SynapseOperator

BUDGET_BYTES = 256 << 20
"""Memory for the evidence of one layer; stimuli beyond it are not examined."""
_COPIES = 6
"""Arrays of the size of a layer's messages, at 8 bytes each, live in a diagnosis."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Inputs and responses of one layer for consecutive stimuli.

    Neurons are flat here. In stateful networks the inputs start with one more frame: the sum of
    all messages before the first stimulus.

    Attributes:
        program: the network.
        population: the layer.
        first: index of the first stimulus.
        inputs: the layer's inputs on the device, by source, (*source shape, T, skipped + B).
        skipped: frames of the inputs that come before the first stimulus.
        observed: (neurons, T, B), messages of the layer on the device.
        assumed: sources that the device does not record; the reference's messages replace them.
    """

    program: QuantizedGraph
    population: Population
    first: int
    inputs: Mapping[NodeId, Int]
    skipped: int
    observed: Int
    assumed: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[Synapses, ...]:
        """The synapse groups that feed the layer."""
        return self.program.synapses_into(self.population)

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return len(self.observed[0, 0])

    @cached_property
    def normal_current(self) -> Int:
        """Summed synaptic input, (neurons, T, skipped + B)."""
        return self.current(self.inputs)

    @cached_property
    def normal(self) -> Int:
        """The reference's response to the same inputs, (neurons, T, B)."""
        return self.answers(self.population, self.normal_current)

    @cached_property
    def differing(self) -> Int:
        """Neurons whose responses differ from the reference's."""
        return np.flatnonzero((self.normal != self.observed).any(axis=(1, 2)))

    def current(
        self, inputs: Mapping[NodeId, Int], replaced: Mapping[NodeId, Synapses] | None = None
    ) -> Int:
        """Summed synaptic input for other messages or other synapses, (neurons, T, ...)."""
        total: Int | None = None
        for group in self.groups:
            used = (replaced or {}).get(group.id, group)
            messages = inputs[group.inputs[0]]
            part = operator(self.program, used)(messages)
            part = part.reshape(-1, *messages.shape[-2:])
            total = part if total is None else total + part
        if total is None:
            raise TypeError(f"'{self.population.id}' has no synapses")
        return total

    def answers(self, population: Population, current: Int, neurons: Int | None = None) -> Int:
        """Messages of neurons in response to a current.

        Args:
            population: the layer, or one with other parameters.
            current: (K, T, skipped + B).
            neurons: (K,) neuron of each row; by default all of them, in order.

        Returns:
            (K, T, B) int64.
        """
        which = np.arange(prod(population.shape)) if neurons is None else neurons
        answer = _some(population, which).respond(current, current.shape[1])
        return answer[..., self.skipped :].astype(np.int64)


def operator(program: QuantizedGraph, group: Synapses) -> SynapseOperator:
    """A synapse group, exact for all messages that its source can send."""
    return SynapseOperator(group, bounds.message_range(program.graph, group))


def _some(population: Population, neurons: Int) -> Population:
    """A flat population of selected neurons of another one, with their parameters."""
    per_neuron: dict[str, Any] = {}
    for item in fields(population):
        value = getattr(population, item.name)
        if isinstance(value, QTensor) and item.name in population.tables:
            rows = value.values[neurons // prod(population.shape[1:])]
            per_neuron[item.name] = QTensor(rows, value.format)
        elif isinstance(value, QTensor):
            full = along_channels(value.values, population.shape).reshape(-1)
            per_neuron[item.name] = QTensor(full[neurons], value.format)
    return replace(population, shape=(len(neurons),), **per_neuron)


def collect(
    program: QuantizedGraph,
    frames: Int,
    recording: Recording,
    population: Population,
    around: Divergence,
) -> Evidence:
    """The evidence about a layer around its first divergence: as many stimuli as fit the memory.

    Args:
        program: the network.
        frames: encoded stimuli.
        recording: the messages of the device.
        population: the layer, recorded.
        around: its first divergence.
    """
    sources = [group.inputs[0] for group in program.synapses_into(population)]
    count = stimuli_within_budget(program, population)
    first = 0 if around.stimulus < count else around.stimulus - 1
    stop = min(first + count, recording.header.recorded)
    collector = _Collector(program, frames, recording, first, stop)
    inputs = {source: collector.messages(source) for source in dict.fromkeys(sources)}
    observed = _time_last(recording.messages(population.id, first, stop))
    return Evidence(
        program,
        population,
        first,
        inputs,
        collector.skipped,
        observed.reshape(-1, *observed.shape[-2:]),
        tuple(name for name in inputs if collector.is_assumed(name)),
    )


def healthy(program: QuantizedGraph, frames: Int, population: Population) -> Evidence:
    """The evidence about a layer of a correct device, for stimuli shown from the first on."""
    run = reference.run(program, frames, record=True)
    arriving = program.inputs.split(reference.input_messages(program, frames), 2)
    sent = {**run.messages, **arriving}
    sources = dict.fromkeys(group.inputs[0] for group in program.synapses_into(population))
    inputs = {source: _time_last(sent[source]) for source in sources}
    observed = _time_last(sent[population.id])
    observed = observed.reshape(-1, *observed.shape[-2:])
    return Evidence(program, population, 0, inputs, 0, observed)


def stimuli_within_budget(program: QuantizedGraph, population: Population, more: int = 0) -> int:
    """Stimuli whose evidence fits the memory, with ``more`` copies of the layer's messages."""
    sources = {group.inputs[0] for group in program.synapses_into(population)}
    own = prod(population.shape)
    numbers = (own + sum(prod(program.graph[source].shape) for source in sources)) * _COPIES
    numbers += own * more
    return max(2, BUDGET_BYTES // (numbers * program.window.n_steps * 8))


@dataclass(frozen=True, eq=False)
class _Collector:
    """Collects the messages of a layer's sources."""

    program: QuantizedGraph
    frames: Int
    recording: Recording
    first: int
    stop: int

    @property
    def skipped(self) -> int:
        carries_state = self.program.input_coding is InputCoding.CHANGES
        return 1 if carries_state and self.first else 0

    def is_assumed(self, source: NodeId) -> bool:
        is_input = isinstance(self.program.graph[source], Input)
        return not is_input and source not in self.recording.layers

    def messages(self, source: NodeId) -> Int:
        """(*shape, T, skipped + B); the skipped frame is the sum of all messages before."""
        if isinstance(self.program.graph[source], Input):
            frames = self.frames[self.first - self.skipped : self.stop]
            sent = reference.input_messages(self.program, frames, first=self.first)
            return _time_last(self.program.inputs.split(sent, 2)[source])
        if self.is_assumed(source):
            frames, first = self.frames[self.first : self.stop], self.first
            before = reference.shown_before(self.frames, first)
            run = reference.run(self.program, frames, first=first, before=before, record=True)
            messages, so_far = run.messages[source], self._reference_so_far(source)
        else:
            recorded = self.recording.messages(source, self.first, self.stop)
            messages = recorded.astype(np.int64)
            so_far = self._recorded_so_far(source)
        if self.skipped:
            messages = np.concatenate([so_far[None], messages])
        return _time_last(messages)

    def _recorded_so_far(self, source: NodeId) -> Int:
        total = np.zeros((1, *self.program.graph[source].shape), np.int64)
        if self.skipped:
            for first, stop in self.recording.ranges(self.first):
                total += self.recording.messages(source, first, stop).sum(axis=0, dtype=np.int64)
        return total

    def _reference_so_far(self, source: NodeId) -> Int:
        if not self.skipped:
            return np.zeros((1, *self.program.graph[source].shape), np.int64)
        frame = self.frames[self.first - 1 : self.first]
        sent: Int = reference.run(self.program, frame, record=True).messages[source][0]
        return sent


def _time_last(messages: npt.NDArray[np.generic]) -> Int:
    """(n, T, *shape) as (*shape, T, n)."""
    turned: Int = np.ascontiguousarray(np.moveaxis(messages, (0, 1), (-1, -2))).astype(np.int64)
    return turned
