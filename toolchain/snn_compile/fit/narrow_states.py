"""Narrowing of states to the width of the target, where no potential can leave it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import VOLTAGE_LIMIT, Population, QuantizedGraph, QuantizedNode
from snn_compile.passes import PassResult
from snn_compile.quantize.quantize import Quantization
from snn_compile.sim import bounds


@dataclass(frozen=True)
class NarrowStates:
    """Narrows states to the target's width where static bounds prove that none overflows.

    States that wrap or saturate by definition keep their width, which determines their values.

    Attributes:
        bits: width of a state of the target, sign included.
    """

    name: ClassVar[str] = "narrow-states"
    bits: int

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Narrow the states of wider populations."""
        program = self.of_program(quantization.program).graph
        return PassResult(replace(quantization, program=program))

    def of_program(self, program: QuantizedGraph) -> PassResult[QuantizedGraph]:
        """The network alone."""
        narrow: list[QuantizedNode] = [
            population.changed(state=QFormat(self.bits))
            for population in program.populations
            if population.state.bits > self.bits and self._holds(program, population)
        ]
        if not narrow:
            return PassResult(program)
        graph: Graph[QuantizedNode] = program.graph.edit(replaced=narrow)
        return PassResult(QuantizedGraph(graph, program.window))

    def _holds(self, program: QuantizedGraph, population: Population) -> bool:
        if population.wraps:
            return False
        interval = bounds.states(program.graph, population, program.window.n_steps)
        return interval.magnitude <= min(QFormat(self.bits).max, VOLTAGE_LIMIT)
