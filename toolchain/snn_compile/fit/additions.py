"""Names and numbers of the nodes that the passes add to a network."""

from __future__ import annotations

import itertools
from dataclasses import replace

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.quantize.quantize import Quantization
from snn_compile.sim import bounds


def unused_name(wanted: str, taken: set[NodeId]) -> NodeId:
    """The name, with a number if a node or its synapses already have it; added to ``taken``."""
    names = (wanted if k == 0 else f"{wanted}.{k}" for k in itertools.count())
    found = next(NodeId(n) for n in names if n not in taken and f"{n}/synapses" not in taken)
    taken.add(found)
    return found


def with_program(quantization: Quantization, program: QuantizedGraph) -> Quantization:
    """The quantization with another program, whose populations have other synapses or copies.

    A copy takes the numbers of the population after which it is named. The largest potential of
    every population is computed anew.
    """
    numbers = {}
    for population in program.populations:
        name = population.id
        while name not in quantization.numbers:
            name = NodeId(name.rpartition(".")[0])
        interval = bounds.states(program.graph, population, program.window.n_steps)
        numbers[population.id] = replace(quantization.numbers[name], largest=interval.magnitude)
    return replace(quantization, program=program, numbers=numbers)
