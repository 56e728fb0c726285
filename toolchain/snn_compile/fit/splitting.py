"""Insertion of partial sums into a fixed-point network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from snn_compile.fit.additions import unused_name
from snn_compile.fit.align import align
from snn_compile.fit.fan_in import Need, need
from snn_compile.fit.partial_sums import Parts, divide
from snn_compile.fit.relays import fits_state, relay_neurons
from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.models.answers import Range
from snn_compile.ir.quantized import (
    WEIGHT_BITS,
    Input,
    PiecewiseLinearNeurons,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.ir.schedule import integer_network, is_scheduled, schedule
from snn_compile.passes import Finding
from snn_compile.pluralize import pluralize
from snn_compile.sim import bounds
from snn_compile.targets.target import Target


@dataclass(frozen=True, eq=False)
class Sums:
    """The role of a population of partial sums.

    Attributes:
        reader: the population that adds them up.
        group: the synapse group that they divide.
        parts: the division.
    """

    reader: NodeId
    group: Synapses
    parts: Parts


@dataclass(frozen=True, eq=False)
class Split:
    """A network with partial sums.

    Attributes:
        program: the network, with all paths aligned.
        sums: the role of each population of partial sums.
        relay_sources: the source of each relay.
        findings: one for each layer that was split.
    """

    program: QuantizedGraph
    sums: Mapping[NodeId, Sums]
    relay_sources: Mapping[NodeId, NodeId]
    findings: tuple[Finding, ...]


class Splitting:
    """Splits populations of a network, one after the other.

    A network with a schedule is split in its integer form, and scheduled again.

    Args:
        program: the network.
        target: the chip.
    """

    def __init__(self, program: QuantizedGraph, target: Target) -> None:
        self._program = program
        self._target = target
        self._at_once = integer_network(program)
        self._graph = self._at_once.graph
        self._sums: dict[NodeId, Sums] = {}
        self._findings: list[Finding] = []
        widths = [bits for bits in target.weight_bits.value if bits in WEIGHT_BITS]
        self._one = QFormat(min(widths, default=8))

    def split(self, name: NodeId, first: Need) -> str:
        """Insert levels of partial sums before a population until it fits.

        Args:
            name: of the population.
            first: the demand of its largest neuron.

        Returns:
            Why it cannot be split, as the end of a message; empty if it was split.
        """
        found, n_sums, n_levels, keeps_input = first, 0, 0, True
        while not found.fits:
            groups = self._groups(name)
            parts = [part for group in groups if (part := self._divide(group)) is not None]
            if len(parts) < len(groups):
                return "its partial sums exceed the width of a state or a payload"
            for group, part in zip(groups, parts, strict=True):
                if part.n_parts > 1 or not (keeps_input and self._reads_input(group)):
                    self._insert(Sums(name, group, part))
            before, found = found, self._need(name)
            if found.sources < before.sources:
                n_sums, n_levels = n_sums or found.sources, n_levels + 1
            elif keeps_input:
                keeps_input = False  # the input is read at any depth, but its partial sums are not
            else:
                return "even its partial sums do not fit a core"
        later = pluralize(n_levels * self._program.window.lag, "step")
        message = f"layer '{name}': fan-in {first.sources:,}, split into {n_sums:,} partial sums,"
        message += f" {later}"
        origin = self._graph[name].origin
        self._findings.append(Finding(f"{message} later", origin, code="split-fan-in"))
        return ""

    def result(self) -> Split:
        """The network with the partial sums inserted so far, and with aligned paths."""
        graph, relay_sources = align(self._graph, self._sums, self._one)
        program = QuantizedGraph(graph, self._at_once.window)
        if is_scheduled(self._program):
            program = schedule(program, self._program.window)
        return Split(program, self._sums, relay_sources, tuple(self._findings))

    def _groups(self, name: NodeId) -> list[Synapses]:
        nodes = [self._graph[group] for group in self._graph[name].inputs]
        return [node for node in nodes if isinstance(node, Synapses)]

    def _reads_input(self, group: Synapses) -> bool:
        return isinstance(self._graph[group.inputs[0]], Input)

    def _source_shape(self, group: Synapses) -> Shape:
        return self._graph[group.inputs[0]].shape

    def _need(self, name: NodeId) -> Need:
        """The demand of a population in its scheduled form."""
        population = self._program.graph[name]
        if not isinstance(population, Population):
            raise TypeError(f"'{name}' is no population")
        incoming = [(group, self._source_shape(group)) for group in self._groups(name)]
        return need(population, incoming, self._target)

    def _divide(self, group: Synapses) -> Parts | None:
        """A group in the fewest parts whose partial sums fit; None if none do."""
        source = self._source_shape(group)
        alone = need(self._neurons(group.id, group), [(group, source)], self._target)

        def fits(parts: Parts) -> bool:
            sums = self._neurons(group.id, parts.synapses)
            if not fits_state(sums.messages) or self._is_too_wide(sums.messages):
                return False
            return need(sums, [(parts.synapses, source)], self._target).fits

        return divide(group, source, alone.parts, fits)

    def _neurons(self, name: NodeId, synapses: Synapses) -> PiecewiseLinearNeurons:
        """The neurons that send the sums of a synapse group, before its exponent."""
        interval = bounds.group_sums(self._graph, synapses)
        fields = {**synapses.common_fields, "id": name, "inputs": (synapses.id,)}
        return relay_neurons(fields, (int(interval.low.min()), int(interval.high.max())))

    def _is_too_wide(self, messages: Range) -> bool:
        """Whether the messages of partial sums exceed the target's payloads in this coding."""
        low, high = messages
        if self._program.window.is_stream:
            low, high = low - high, high - low
        limit = self._target.payload_bits.value
        return limit is not None and QFormat.holding(low, high).bits > limit

    def _insert(self, sums: Sums) -> None:
        """Insert partial sums between a population and the source of one of its groups."""
        name = unused_name(f"{sums.reader}/sums", {node.id for node in self._graph})
        synapses = replace(sums.parts.synapses, id=NodeId(f"{name}/synapses"))
        reading = sums.parts.summing_synapses(sums.group, name, self._one)
        self._graph = self._graph.edit(
            replaced=[reading], added=[synapses, self._neurons(name, synapses)]
        )
        self._sums[name] = sums
