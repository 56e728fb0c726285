"""States in the width of the target, where that is proven to hold them."""

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
    """Gives states the target's format where no potential can leave it: nothing else changes.

    States that wrap or saturate by definition would do so elsewhere, and keep their width.

    Attributes:
        bits: of a state of the target.
    """

    name: ClassVar[str] = "narrow-states"
    bits: int

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Replace the formats of populations that are wider."""
        program = self.of_program(quantization.program)
        return PassResult(replace(quantization, program=program))

    def of_program(self, program: QuantizedGraph) -> QuantizedGraph:
        """The network alone."""
        narrow: list[QuantizedNode] = [
            population.changed(state=QFormat(self.bits))
            for population in program.populations
            if population.state.bits > self.bits and self._holds(program, population)
        ]
        if not narrow:
            return program
        graph: Graph[QuantizedNode] = program.graph.edit(replaced=narrow)
        return QuantizedGraph(graph, program.window)

    def _holds(self, program: QuantizedGraph, population: Population) -> bool:
        if population.wraps:
            return False
        interval = bounds.states(program.graph, population, program.window.n_steps)
        return interval.magnitude <= min(QFormat(self.bits).max, VOLTAGE_LIMIT)
