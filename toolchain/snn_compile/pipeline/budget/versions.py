"""What each layer costs, and what it adds to the error of the outputs, at each width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.options.budget import Budget
from snn_compile.pipeline.budget.knapsack import Float, Front
from snn_compile.pipeline.budget.meter import Measured, Meter
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.sites import rectifiers_and_outputs
from snn_compile.quantize.widths import Width, Widths

SHOWN = 8
"""Points of the front whose networks are measured, for the drawing."""


@dataclass(frozen=True, eq=False)
class Versions:
    """The layers that have a choice, with cost and error at each width.

    Attributes:
        widths: the most bits first.
        names: of the layers.
        cost: (layers, widths) bytes or microjoules.
        error: (layers, widths) what the layer alone adds to the error of the outputs.
        others: bytes or microjoules of all else.
        base: error of the outputs with all layers at the largest width.
        n_samples: of the measurements.
        uniform: the network at each width.
        front: some of the choices that no other beats, by cost.
    """

    widths: tuple[Width, ...]
    names: tuple[NodeId, ...]
    cost: Float
    error: Float
    others: float
    base: float
    n_samples: int
    uniform: tuple[Measured, ...]
    front: tuple[Measured, ...]

    @staticmethod
    def measured(meter: Meter, widths: Widths, names: Sequence[NodeId], budget: Budget) -> Versions:
        """Measure every layer at every width, with all others at the largest."""
        each = tuple(widths.at)
        base = meter.error(meter.outputs(widths.widest))
        error = np.zeros((len(names), len(each)))
        for row, name in enumerate(names):
            for column, width in enumerate(each[1:], 1):
                outputs = meter.outputs(widths.mixed({name: width}))
                error[row, column] = meter.error(outputs) - base
        cost, others = _costs(meter, widths, names, budget.quantity)
        front = Front.of(list(cost), list(error))

        def of(versions: Sequence[int]) -> Measured:
            chosen = _chosen(each, names, versions)
            outputs = meter.outputs(widths.mixed(chosen))
            spent, added = others + _sum(cost, versions), base + _sum(error, versions)
            return meter.judged(chosen, spent, added, outputs)

        targets = np.linspace(front.cost[0], front.cost[-1], SHOWN)
        points = dict.fromkeys(front.within(target) or 0 for target in targets.tolist())
        return Versions(
            each,
            tuple(names),
            cost,
            error,
            others,
            base,
            len(meter.x),
            tuple(of([version] * len(names)) for version in range(len(each))),
            tuple(of(front.versions(point)) for point in points),
        )

    def within(self, limit: float) -> dict[NodeId, Width] | None:
        """The widths with the least sum of errors within a limit of the sum of costs."""
        front = Front.of(list(self.cost), list(self.error))
        point = front.within(limit - self.others)
        return None if point is None else _chosen(self.widths, self.names, front.versions(point))

    @property
    def cheapest(self) -> dict[NodeId, Width]:
        """The widths that cost least."""
        front = Front.of(list(self.cost), list(self.error))
        return _chosen(self.widths, self.names, front.versions(0))

    def predicted(self, chosen: Mapping[NodeId, Width]) -> tuple[float, float]:
        """Cost and error of a choice, as the layers add up."""
        versions = [self.widths.index(chosen[name]) for name in self.names]
        return self.others + _sum(self.cost, versions), self.base + _sum(self.error, versions)


def _sum(table: Float, versions: Sequence[int]) -> float:
    """Over the layers, of the version of each, in their order."""
    return float(sum(row[version] for row, version in zip(table, versions, strict=True)))


def _costs(
    meter: Meter, widths: Widths, names: Sequence[NodeId], quantity: str
) -> tuple[Float, float]:
    """(layers, widths) what layers cost in a network of one width; and all else in the widest."""
    cost, others = np.zeros((len(names), len(widths.at))), 0.0
    for column, width in enumerate(widths.at):
        network = widths.mixed(dict.fromkeys(names, width))
        mapped = meter.mapped(meter.completed(network))
        found = meter.by_layer(mapped, quantity)
        if not column:
            others = meter.spent(mapped, quantity) - sum(found.get(name, 0.0) for name in names)
        cost[:, column] = [found.get(name, 0.0) for name in names]
    return cost, others


def _chosen(
    widths: Sequence[Width], names: Sequence[NodeId], versions: Sequence[int]
) -> dict[NodeId, Width]:
    return {name: widths[version] for name, version in zip(names, versions, strict=True)}


def layers_with_a_choice(
    folded: ANNGraph, network: Quantization, options: CompileOptions
) -> list[NodeId]:
    """Layers of the float network whose width neither the options nor the file state."""
    known = set(rectifiers_and_outputs(folded))
    stated = [layer for layer in options.layers if layer.weight_bits is not None]
    return [
        population.id
        for population in network.program.populations
        if population.id in known
        and not network.numbers[population.id].given
        and not any(layer.matches(population.id) for layer in stated)
    ]
