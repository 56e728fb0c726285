"""Events of each core: what the neurons of a placement do for one inference.

A message is counted once for each core that reads it, at its sender and at the reader: a layer that
is cut into more blocks makes the messages of its sources dearer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Input, Neurons, QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.mapping.block import Placement, as_map
from snn_compile.mapping.counts import counts_of
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.program import MappedProgram
from snn_compile.mapping.taps import Int

Float = npt.NDArray[np.float64]
Messages = Mapping[NodeId, npt.NDArray[np.integer | np.floating] | float]
"""Messages of one inference of the input and of each population, by neuron, or as their sum where
only that is known; a missing entry counts as 0.
"""

KINDS = ("synaptic operation", "neuron update", "spike", "message out", "message in")
KINDS_IN_PLURAL = (
    "synaptic operations",
    "neuron updates",
    "spikes",
    "messages out",
    "messages in",
)
"""The columns of a table of events."""


@dataclass(frozen=True, eq=False)
class Events:
    """Events of one inference, by layer and core.

    Attributes:
        layer: of each row, its population.
        core: of each row, its core.
        counts: (rows, KINDS) events of a layer's neurons on one core. Messages in are those that
            this layer is the first on its core to read.
        n_steps: steps of a window: a new inference begins after so many.
        total_steps: steps of an inference, from its first message to its last output.
        input_messages: messages of the input, once for each core that reads them.
        input_values: values that the host sends.
        between_chips: messages from one chip to another, by pair of chips.
        chips: in use.
    """

    layer: tuple[NodeId, ...]
    core: Int
    counts: Float
    n_steps: int
    total_steps: int
    input_messages: float
    input_values: float
    between_chips: Mapping[tuple[int, int], float]
    chips: int

    @property
    def total(self) -> Float:
        """(KINDS,) events of the whole network."""
        return np.asarray(self.counts.sum(axis=0))

    def per_core(self) -> tuple[Int, Float]:
        """The cores, and (cores, KINDS) what happens on each."""
        cores, row = np.unique(self.core, return_inverse=True)
        summed = np.zeros((len(cores), len(KINDS)))
        np.add.at(summed, row, self.counts)
        return cores, summed

    def of_layer(self, layer: NodeId) -> Float:
        """(cores of the layer, KINDS) its events on each."""
        return self.counts[[each == layer for each in self.layer]]


def events(mapped: MappedProgram, messages: Messages) -> Events:
    """Count the events of one inference.

    Every neuron is updated at every step of its window. A neuron that takes several compartments
    of a target takes as many updates, and has its recurrent synapses.
    """
    program, target = mapped.program, mapped.target
    sent = _by_neuron(program, messages)
    readers = _Readers(mapped, sent)
    rows: dict[tuple[NodeId, int], Float] = defaultdict(lambda: np.zeros(len(KINDS)))
    for core, placements in _by_core(mapped.placements):
        for placement, synops, received in readers.read(core, placements):
            row = rows[placement.population, core]
            row += (synops, 0.0, 0.0, 0.0, received)
    soft = {node.id for node in program.populations if node.soft_reset}
    recurrent = target.synapses_per_soft_reset_neuron.value
    for placement in mapped.placements:
        name, where = placement.population, placement.block.slices
        row = rows[name, placement.core]
        row[1] += placement.demand.neurons * program.window.n_steps
        if name in sent:
            spikes = float(sent[name][where].sum())
            row[0] += spikes * recurrent if name in soft else 0.0
            row[2] += spikes
            row[3] += float((sent[name][where] * readers.cores[name][where]).sum())
    order = {node.id: rank for rank, node in enumerate(program.populations)}
    keys = sorted(rows, key=lambda key: (order[key[0]], key[1]))
    return Events(
        layer=tuple(layer for layer, _ in keys),
        core=np.array([core for _, core in keys], dtype=np.int64),
        counts=np.array([rows[key] for key in keys]),
        n_steps=program.window.n_steps,
        total_steps=program.total_steps,
        input_messages=sum(
            float((sent[source.id] * readers.cores[source.id]).sum()) for source in program.inputs
        ),
        input_values=sum(_values_of_the_host(source, sent[source.id]) for source in program.inputs),
        between_chips=dict(readers.between_chips),
        chips=mapped.chips,
    )


def _by_core(placements: Iterable[Placement]) -> list[tuple[int, list[Placement]]]:
    holding: dict[int, list[Placement]] = {}
    for placement in placements:
        holding.setdefault(placement.core, []).append(placement)
    return sorted(holding.items())


def _by_neuron(program: QuantizedGraph, messages: Messages) -> dict[NodeId, Float]:
    """Messages of each neuron, in maps; a sum is spread evenly."""
    maps = {}
    for node in program.graph:
        if isinstance(node, Input | Neurons):
            shape = as_map(node.shape)
            given = np.asarray(messages.get(node.id, 0.0), dtype=np.float64)
            size = int(np.prod(shape))
            maps[node.id] = given.reshape(shape) if given.ndim else np.full(shape, given / size)
    return maps


def _values_of_the_host(source: Input, sent: Float) -> float:
    """A train of spikes is as long as it has spikes; a frame is sent once, and whole."""
    spikes = source.coding in (InputCoding.EVENTS, InputCoding.POISSON)
    return float(sent.sum()) if spikes else float(sent.size)


class _Readers:
    """Which cores read what is sent.

    Attributes:
        cores: for each neuron that sends, as a map, the cores that read it.
        between_chips: messages from one chip to another.
    """

    def __init__(self, mapped: MappedProgram, sent: Mapping[NodeId, Float]) -> None:
        program = mapped.program
        self.sent = sent
        self.cores: dict[NodeId, Int] = {
            name: np.zeros(spikes.shape, dtype=np.int64) for name, spikes in sent.items()
        }
        self.between_chips: dict[tuple[int, int], float] = defaultdict(float)
        self.incoming: dict[NodeId, list[tuple[NodeId, Counts]]] = {
            population.id: [
                (group.inputs[0], counts_of(group, program.graph[group.inputs[0]].shape))
                for group in program.synapses_into(population)
            ]
            for population in program.populations
        }
        self.chip_of = _chips(mapped) if mapped.chips > 1 else {}

    def read(
        self, core: int, placements: Sequence[Placement]
    ) -> Iterable[tuple[Placement, float, float]]:
        """Synaptic operations of each block on a core, and the messages that it alone reads."""
        known: dict[NodeId, npt.NDArray[np.bool_]] = {}
        n_readers: dict[NodeId, int] = defaultdict(int)
        for placement in placements:
            for source, _ in self.incoming[placement.population]:
                n_readers[source] += 1
        for placement in placements:
            synops = received = 0.0
            for source, counts in self.incoming[placement.population]:
                box, reached = counts.onto(placement.block)
                spikes = self.sent[source][box]
                synops += float(np.vdot(spikes, reached))
                new = reached > 0
                if n_readers[source] > 1:
                    seen = known.setdefault(source, np.zeros(self.sent[source].shape, np.bool_))
                    new &= ~seen[box]
                    seen[box] |= new
                self.cores[source][box] += new
                received += float(spikes[new].sum())
                self._cross(source, box, spikes * new, placement.chip)
            yield placement, synops, received

    def _cross(
        self, source: NodeId, box: tuple[slice, slice, slice], spikes: Float, chip: int
    ) -> None:
        """Count the messages that come from other chips."""
        if source not in self.chip_of:
            return
        origins = self.chip_of[source][box]
        for origin, n in enumerate(np.bincount(origins.ravel(), weights=spikes.ravel())):
            if n and origin != chip:
                self.between_chips[origin, chip] += float(n)


def _chips(mapped: MappedProgram) -> dict[NodeId, Int]:
    """The chip of each neuron, in maps."""
    maps = {
        node.id: np.zeros(as_map(node.shape), dtype=np.int64) for node in mapped.program.populations
    }
    for placement in mapped.placements:
        maps[placement.population][placement.block.slices] = placement.chip
    return maps


__all__ = ["KINDS", "Events", "Messages", "events"]
