"""Names and numbers of the nodes that the passes add to a network."""

from __future__ import annotations

import itertools
from dataclasses import replace

from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.quantize.quantize import Quantization
from snn_compile.sim import bounds


def unused_name(like: NodeId, taken: set[NodeId]) -> NodeId:
    """The name with the first free suffix, which is added to ``taken``."""
    found = next(name for k in itertools.count(1) if (name := NodeId(f"{like}.{k}")) not in taken)
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
