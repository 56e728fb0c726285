"""Splitting of fan-in that exceeds a core into exact partial sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from snn_compile.errors import CapacityError, raise_all
from snn_compile.fit.fan_in import Need, limits_fan_in, need
from snn_compile.fit.numbers import with_numbers
from snn_compile.fit.splitting import Split, Splitting
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    PiecewiseLinearNeurons,
    Population,
    QuantizedGraph,
    QuantizedNode,
)
from snn_compile.ir.spiking import Window
from snn_compile.mapping import violations_without_placement
from snn_compile.passes import PassResult
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.to_fixed_point import Prove
from snn_compile.targets.target import Target


@dataclass(frozen=True)
class SplitFanIn:
    """Splits populations whose fan-in exceeds the input axons or the synapse memory of a core.

    A partial sum accumulates a part of the sources and sends the unrounded sum as a signed payload.
    The population adds up its partial sums and sends its messages one step later. Relays delay all
    parallel paths by as much.

    Attributes:
        target: the chip.
        stock: whether only Lava's stock neurons are allowed, which cannot send sums.
    """

    name: ClassVar[str] = "split-fan-in"
    target: Target
    stock: bool = False

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Split the layers that do not fit; a network that fits is returned as the same object.

        Raises:
            CapacityError: the fan-in of a layer exceeds a core, and the target, the coding or the
                neurons allow no partial sums. All such layers are reported at once, together with
                violations that need no placement.
        """
        split = self.split(quantization.program)
        if split is None:
            return PassResult(quantization)
        return PassResult(Prove()(with_numbers(quantization, split)).graph, split.findings)

    def of_program(self, program: QuantizedGraph) -> PassResult[QuantizedGraph]:
        """The network alone.

        Raises:
            CapacityError: as the pass.
        """
        split = self.split(program)
        if split is None:
            return PassResult(program)
        return PassResult(split.program, split.findings)

    def split(self, program: QuantizedGraph) -> Split | None:
        """The split network; None if it fits as it is.

        Raises:
            CapacityError: as the pass.
        """
        wide = self.too_wide(program)
        if not wide:
            return None
        splitting, why = self._try_split(program, wide)
        if why:
            refused = [self._refusal(program.graph[n], wide[n], text) for n, text in why.items()]
            others = violations_without_placement(program, self.target)
            raise_all([*refused, *(violation.error for violation in others)])
        return splitting.result()

    def without_remedy(self, program: QuantizedGraph) -> dict[NodeId, Need]:
        """The populations that do not fit a core and cannot be split, with their demands."""
        wide = self.too_wide(program)
        return {name: wide[name] for name in self._try_split(program, wide)[1]} if wide else {}

    def _try_split(
        self, program: QuantizedGraph, wide: Mapping[NodeId, Need]
    ) -> tuple[Splitting, dict[NodeId, str]]:
        """The splitting of wide populations, and an obstacle for each that cannot be split."""
        obstacle = self._obstacle(program.window)
        splitting = Splitting(program, self.target)
        found = {name: obstacle or splitting.split(name, first) for name, first in wide.items()}
        return splitting, {name: why for name, why in found.items() if why}

    def too_wide(self, program: QuantizedGraph) -> dict[NodeId, Need]:
        """The populations with a neuron whose sources or weights exceed a core."""
        if not limits_fan_in(self.target):
            return {}
        needs = {
            population.id: need(
                population,
                [
                    (group, program.graph[group.inputs[0]].shape)
                    for group in program.synapses_into(population)
                ],
                self.target,
            )
            for population in program.populations
        }
        return {name: found for name, found in needs.items() if not found.fits}

    def _obstacle(self, window: Window) -> str:
        """Why no partial sums are possible, as the end of a message; empty if they are."""
        form = _form(window)
        if self.stock:
            return "stock neurons cannot send partial sums"
        if form is None:
            return f"coding '{window.coding}' has no neurons that send partial sums"
        if not self.target.payload_bits.value and self.target.payload_bits.value is not None:
            return f"{self.target.name} has no payloads for partial sums"
        kinds = self.target.neurons.value
        if kinds is not None and form.__name__.removesuffix("Neurons") not in kinds:
            return f"{self.target.name} has no neurons that send partial sums"
        return ""

    def _refusal(self, population: QuantizedNode, need: Need, why: str) -> CapacityError:
        if need.has_too_many_sources:
            code, limit = "input-axons-per-core", f"{need.most_sources:,} sources"
            what = f"has {need.sources:,} sources, a core of {self.target.name} receives {limit}"
        else:
            code, limit = "synapse-memory-per-core", f"{need.most_memory:,} bits of weights"
            what = f"needs {need.memory:,} bits, a core of {self.target.name} holds {limit}"
        error = CapacityError(
            f"layer '{population.id}': a neuron {what}, and {why}",
            code=code,
            origin=population.origin,
            hint=f"at most {limit} fit: pool or prune before this layer, choose another --target,"
            " or prune with --allow-approximate",
        )
        if need.has_too_many_sources:
            error.needed, error.limit = need.sources, need.most_sources or 0
        else:
            error.needed, error.limit = need.memory, need.most_memory or 0
        return error


def _form(window: Window) -> type[Population] | None:
    """The neuron class that sends partial sums in a coding; None if there is none."""
    if window.schedule is None:
        return PiecewiseLinearNeurons
    return window.schedule.forms.get(PiecewiseLinearNeurons)
