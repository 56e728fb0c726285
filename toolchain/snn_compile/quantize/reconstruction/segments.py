"""The parts of a network that are learned as a whole: stretches without what has no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import Population, QuantizedGraph, Readout
from snn_compile.quantize.reconstruction.levels import levels_of


@dataclass(frozen=True)
class Segment:
    """Populations with gradients, in topological order.

    Attributes:
        populations: their names.
        sources: populations and inputs outside of it that it reads.
    """

    populations: tuple[NodeId, ...]
    sources: tuple[NodeId, ...]


def segments_of(program: QuantizedGraph) -> Iterator[Segment | Population]:
    """The program in order: segments as long as possible, and populations without a gradient."""
    stretch: list[Population] = []
    for population in program.populations:
        if levels_of(population) is not None or isinstance(population, Readout):
            stretch.append(population)
            continue
        if stretch:
            yield _segment(program, stretch)
        yield population
        stretch = []
    if stretch:
        yield _segment(program, stretch)


def whole_of(program: QuantizedGraph) -> Segment:
    """All populations together."""
    return _segment(program, list(program.populations))


def _segment(program: QuantizedGraph, stretch: list[Population]) -> Segment:
    names = tuple(population.id for population in stretch)
    groups = [group for population in stretch for group in program.synapses_into(population)]
    read = dict.fromkeys(group.inputs[0] for group in groups)
    return Segment(names, tuple(source for source in read if source not in names))
