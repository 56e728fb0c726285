"""What is added to a network: names of nodes, and the numbers of populations."""

from __future__ import annotations

import itertools
from dataclasses import replace

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.quantize.quantize import Quantization
from snn_compile.sim import bounds


def unused(like: NodeId, taken: set[NodeId]) -> NodeId:
    """A name made from another one that no node has; it is taken from then on."""
    found = next(name for k in itertools.count(1) if (name := NodeId(f"{like}.{k}")) not in taken)
    taken.add(found)
    return found


def with_program(quantization: Quantization, program: QuantizedGraph) -> Quantization:
    """A quantization whose populations have other synapses, or copies.

    A copy has the numbers of the population that it is named after. Bounds are proven again.
    """
    numbers = {}
    for population in program.populations:
        name = population.id
        while name not in quantization.numbers:
            name = NodeId(name.rpartition(".")[0])
        interval = bounds.states(program.graph, population, program.window.n_steps)
        numbers[population.id] = replace(quantization.numbers[name], largest=interval.magnitude)
    return replace(quantization, program=program, numbers=numbers)
