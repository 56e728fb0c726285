"""The passes that quantize, prove the absence of overflow, and schedule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import ClassVar

from snn_compile.errors import CapacityError
from snn_compile.ir.quantized import VOLTAGE_LIMIT
from snn_compile.ir.schedule import schedule
from snn_compile.ir.spiking import Window
from snn_compile.ir.stages import SpikingGraph
from snn_compile.passes import PassResult
from snn_compile.quantize.given import given_findings
from snn_compile.quantize.products import check_operands
from snn_compile.quantize.quantize import Quantization, quantize
from snn_compile.quantize.states import States
from snn_compile.sim import bounds


@dataclass(frozen=True)
class Quantize:
    """Every weight, bias and threshold on the integer grid of Loihi (see ``quantize``).

    Attributes:
        weight_bits: 2 to 8, for layers that no pattern matches.
        layers: patterns of layer names with their widths; the last match applies.
        states: limits of the integers.
    """

    name: ClassVar[str] = "quantize"
    weight_bits: int
    layers: tuple[tuple[str, int], ...] = ()
    states: States = field(default_factory=States)

    def __call__(self, network: SpikingGraph, /) -> PassResult[Quantization]:
        """Quantize the aligned network.

        Raises:
            CapacityError: layers whose state could overflow; all of them at once.
        """
        found = quantize(network, self._bits, self.states)
        kept = {name: numbers.given for name, numbers in found.numbers.items()}
        return PassResult(found, tuple(given_findings(network, kept)))

    def _bits(self, layer: str) -> int:
        bits = [bits for pattern, bits in self.layers if fnmatchcase(layer, pattern)]
        return bits[-1] if bits else self.weight_bits


@dataclass(frozen=True)
class Prove:
    """The same program with bounds of its potentials after the preceding passes."""

    name: ClassVar[str] = "prove"

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Bound every potential, for any input in range.

        Raises:
            CapacityError: a pass changed a weight or a bias so that a state could overflow.
        """
        program, numbers = quantization.program, dict(quantization.numbers)
        for population in program.populations:
            check_operands(program.graph, population, program.window.n_steps)
            interval = bounds.states(program.graph, population, program.window.n_steps)
            if interval.magnitude > min(population.state.max, VOLTAGE_LIMIT):
                raise CapacityError(
                    f"the potential of layer '{population.id}' could reach {interval.magnitude:,}",
                    code="state-overflow",
                    origin=population.origin,
                )
            numbers[population.id] = replace(numbers[population.id], largest=interval.magnitude)
        return PassResult(replace(quantization, numbers=numbers))


@dataclass(frozen=True)
class Schedule:
    """Schedules the one-step computation of an integer network over the window of the coding.

    Attributes:
        window: coding and steps.
    """

    name: ClassVar[str] = "schedule"
    window: Window

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Schedule the program in the window; only integer networks change."""
        return PassResult(
            replace(quantization, program=schedule(quantization.program, self.window))
        )
