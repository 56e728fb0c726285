"""The blocks that are reconstructed: populations between two places where one value carries all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph

MOST_LAYERS = 4
"""Layers with weights of a block; longer stretches without a single value are single layers."""


@dataclass(frozen=True)
class Block:
    """Populations in topological order; the float network has the drive of the last.

    Attributes:
        populations: their names.
        sources: populations and inputs outside of the block that it reads.
        owned: those of ``sources`` that nothing else reads.
    """

    populations: tuple[NodeId, ...]
    sources: tuple[NodeId, ...]
    owned: frozenset[NodeId]

    @property
    def end(self) -> NodeId:
        """The population whose drive is compared."""
        return self.populations[-1]


def blocks_of(program: QuantizedGraph, known: Callable[[NodeId], bool]) -> Iterator[Block]:
    """The program in blocks, in order; populations behind the last known one are in none.

    A block ends where everything later depends on a single earlier population: around a residual
    connection, not inside. Where that takes more than ``MOST_LAYERS``, or another output lies
    before it, each layer is a block.

    Args:
        program: the network.
        known: whether a population has the drive of a node of the float network.
    """
    readers = {node.id: _readers(program, node.id) for node in program.graph}
    waiting: set[NodeId] = set()
    stretch: list[NodeId] = []
    for population in program.populations:
        stretch.append(population.id)
        waiting.add(population.id)
        waiting = {name for name in waiting if not readers[name] <= _seen(program, population.id)}
        if known(population.id) and waiting <= {population.id}:
            for names in _short(program, stretch, known):
                yield _block(program, names, readers)
            stretch = []
    for names in _short(program, stretch, known):
        if known(names[-1]):
            yield _block(program, names, readers)


def _readers(program: QuantizedGraph, name: NodeId) -> frozenset[NodeId]:
    """The populations that read the messages of a node."""
    groups = program.graph.consumers(name)
    return frozenset(p.id for group in groups for p in program.graph.consumers(group.id))


def _seen(program: QuantizedGraph, last: NodeId) -> set[NodeId]:
    names = [population.id for population in program.populations]
    return set(names[: names.index(last) + 1])


def _short(
    program: QuantizedGraph, stretch: list[NodeId], known: Callable[[NodeId], bool]
) -> Iterator[list[NodeId]]:
    """The stretch as a whole if it has few layers and one end; else layer by layer."""
    outputs = {readout.id for readout in program.readouts}
    if sum(map(known, stretch)) <= MOST_LAYERS and not outputs & set(stretch[:-1]):
        if stretch:
            yield stretch
        return
    part: list[NodeId] = []
    for name in stretch:
        part.append(name)
        if known(name):
            yield part
            part = []
    if part:
        yield part


def _block(
    program: QuantizedGraph, names: list[NodeId], readers: dict[NodeId, frozenset[NodeId]]
) -> Block:
    inside = set(names)
    by_name = {population.id: population for population in program.populations}
    read = dict.fromkeys(
        group.inputs[0] for name in names for group in program.synapses_into(by_name[name])
    )
    sources = tuple(source for source in read if source not in inside)
    return Block(tuple(names), sources, frozenset(s for s in sources if readers[s] <= inside))
