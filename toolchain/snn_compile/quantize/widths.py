"""A network whose layers may have any of several widths of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from snn_compile.ir.graph import NodeId
from snn_compile.passes import counted
from snn_compile.quantize.fit_layers import FitLayers, Walk
from snn_compile.quantize.quantize import Quantization

Width = int
"""Bits of a layer's weights."""


@dataclass(frozen=True, eq=False)
class Widths:
    """The network with all layers at each width, every layer by itself.

    A layer has the integers that suit the messages of the widest network and, where potentials are
    calibrated, counts right on them. Its errors are its own, and a network of several widths, put
    together from layers, is none that was fitted as a whole.

    Attributes:
        at: the network at each width, the widest first.
    """

    at: Mapping[Width, Quantization]

    @staticmethod
    def fitted(
        widths: tuple[Width, ...],
        quantized: Callable[[Width], Quantization],
        fit: FitLayers | None,
    ) -> Widths:
        """Quantize a network at each width and fit its layers.

        Args:
            widths: the widest first.
            quantized: the network with all layers at a width, rounded to nearest.
            fit: the pass that fits layers; None leaves them as they are.
        """
        at = {width: quantized(width) for width in widths}
        widest = widths[0]
        if fit is None:
            return Widths(at)
        populations = at[widest].program.populations
        walk = Walk.of(fit, at[widest].program, keeps=True)
        with counted("fit-widths", len(populations)) as advance:
            for population in populations:
                for width in reversed(widths):  # the widest last: its messages go on
                    walk.show(at[width], population.id)
                    at[width] = walk.fitted(at[width], population.id)
                walk.pass_on(at[widest], population.id)
                advance(1)
        return Widths(at)

    @property
    def widest(self) -> Quantization:
        """All layers at the largest width."""
        return next(iter(self.at.values()))

    def mixed(self, chosen: Mapping[NodeId, Width]) -> Quantization:
        """The network with some layers at other widths than the largest."""
        network = self.widest
        replaced, numbers = [], dict(network.numbers)
        for name, width in chosen.items():
            other = self.at[width]
            population = next(one for one in other.program.populations if one.id == name)
            replaced += [*other.program.synapses_into(population), population]
            numbers[name] = other.numbers[name]
        graph = network.program.graph.edit(replaced=replaced)
        return replace(network, program=replace(network.program, graph=graph), numbers=numbers)
