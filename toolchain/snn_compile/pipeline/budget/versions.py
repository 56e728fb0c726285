"""What each layer costs, and what it adds to the error of the outputs, at each width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from snn_compile.convert.set_payloads import SetPayloads
from snn_compile.ir import ann
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import at_widths
from snn_compile.options import CompileOptions
from snn_compile.options.budget import ENERGY, Budget
from snn_compile.options.layers import literal
from snn_compile.pipeline.budget.knapsack import Front
from snn_compile.pipeline.budget.meter import Meter, Spent, Start
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.sites import has_drive, rectifiers_and_outputs
from snn_compile.quantize.widths import Width, Widths

SHOWN = 8
"""Points of the front that are drawn."""
WEIGHTS, PAYLOADS = "weight_bits", "payload_bits"
NARROW_PAYLOADS = (6, 5, 4, 3, 2)
"""Widths of payloads that are tried besides the network's own."""
Chosen = tuple[Width, ...]
"""The width of each choice."""


@dataclass(frozen=True)
class Choice:
    """The widths that one option of one layer may have.

    Attributes:
        layer: its name.
        option: ``weight_bits`` or ``payload_bits``.
        widths: the most bits first.
        cost: bytes or microjoules at each; of payloads, less what they are at the largest width.
        error: what each adds to the error of the outputs, with all else at the largest width.
    """

    layer: NodeId
    option: str
    widths: tuple[Width, ...]
    cost: tuple[float, ...]
    error: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """A network with a width for each choice.

    Attributes:
        widths: of the choices.
        cost: bytes or microjoules.
        predicted: error of the outputs, as the choices add up.
        error: as measured; None if the network was not made.
        lost: points lost against the float network; None if no output can be judged.
    """

    widths: Chosen
    cost: float
    predicted: float
    error: float | None
    lost: float | None


@dataclass(frozen=True)
class Versions:
    """The choices, and some networks that come of them.

    Attributes:
        choices: of all layers.
        others: bytes or microjoules of all else.
        base: error of the outputs with the largest widths.
        n_samples: of the measurements.
        uniform: the network at each width of weights.
        front: some of the choices that no other beats, by cost.
    """

    choices: tuple[Choice, ...]
    others: float
    base: float
    n_samples: int
    uniform: tuple[Measured, ...] = ()
    front: tuple[Measured, ...] = ()

    def within(self, limit: float) -> Chosen | None:
        """The widths with the least sum of errors within a limit of the sum of costs."""
        front = self._solved
        point = front.within(limit - self.others)
        return None if point is None else self._chosen(front, point)

    @property
    def cheapest(self) -> Chosen:
        """The widths that cost least."""
        return self._chosen(self._solved, 0)

    def shown(self) -> Iterator[Chosen]:
        """Some points of the front, evenly by cost."""
        front = self._solved
        targets = np.linspace(front.cost[0], front.cost[-1], SHOWN).tolist()
        for point in dict.fromkeys(front.within(target) or 0 for target in targets):
            yield self._chosen(front, point)

    def predicted(self, chosen: Chosen) -> tuple[float, float]:
        """Cost and error of a network, as the choices add up."""
        cost, error = self.others, self.base
        for choice, width in zip(self.choices, chosen, strict=True):
            column = choice.widths.index(width)
            cost, error = cost + choice.cost[column], error + choice.error[column]
        return cost, error

    def of_option(self, option: str, chosen: Chosen) -> dict[NodeId, Width]:
        """The width of each layer that has a choice of an option."""
        pairs = zip(self.choices, chosen, strict=True)
        return {choice.layer: width for choice, width in pairs if choice.option == option}

    @cached_property
    def _solved(self) -> Front:
        costs = [np.array(choice.cost) for choice in self.choices]
        return Front.of(costs, [np.array(choice.error) for choice in self.choices])

    def _chosen(self, front: Front, point: int) -> Chosen:
        versions = zip(self.choices, front.versions(point), strict=True)
        return tuple(choice.widths[version] for choice, version in versions)


def measured(meter: Meter, start: Start, budget: Budget) -> Versions:
    """Measure every layer at every width, with all else at the largest.

    Payloads enter a budget of energy: the narrower they are, the more of them are 0 and not sent.
    Each of their widths is measured in a network that is rounded to nearest, since the readers of a
    layer have other integers for each.
    """
    options = meter.options
    widths = tuple(
        bits
        for bits in sorted(meter.board.weight_bits.value, reverse=True)
        if 2 <= bits <= options.number("weight_bits")
    )
    each = at_widths(
        start.folded,
        start.statistics,
        start.samples,
        options,
        start.coding,
        widths,
        start.given,
        start.drives,
    )
    choices, others, base = _of_weights(meter, each, start.folded, budget.quantity)
    if budget.quantity == ENERGY and start.coding.payloads:
        choices += _of_payloads(meter, start, widths[:1])
    versions = Versions(tuple(choices), others, base, len(meter.x))

    def of(chosen: Chosen) -> Measured:
        cost, predicted = versions.predicted(chosen)
        payloads = [choice for choice in versions.choices if choice.option == PAYLOADS]
        narrow = chosen[len(chosen) - len(payloads) :] if payloads else ()
        if any(bits != one.widths[0] for bits, one in zip(narrow, payloads, strict=True)):
            return Measured(chosen, cost, predicted, None, None)
        outputs = meter.outputs(each.mixed(versions.of_option(WEIGHTS, chosen)))
        return Measured(chosen, cost, predicted, meter.error(outputs), meter.points(outputs))

    uniform = [
        tuple(bits if one.option == WEIGHTS else one.widths[0] for one in versions.choices)
        for bits in widths
    ]
    return replace(
        versions, uniform=tuple(map(of, uniform)), front=tuple(map(of, versions.shown()))
    )


def _of_weights(
    meter: Meter, each: Widths, folded: ANNGraph, quantity: str
) -> tuple[list[Choice], float, float]:
    """Choices of weights, the cost of all else, and the error with all at the largest width."""
    names = _with_a_choice(folded, each.widest, meter.options)
    widths = tuple(each.at)
    base = meter.error(meter.outputs(each.widest))
    errors = {
        (name, width): meter.error(meter.outputs(each.mixed({name: width}))) - base
        for name in names
        for width in widths[1:]
    }
    costs = list[Spent]()
    for width in widths:
        network = each.mixed(dict.fromkeys(names, width))
        costs.append(meter.spent(meter.mapped(meter.completed(network)), quantity))
    others = costs[0].total - sum(costs[0].layers.get(name, 0.0) for name in names)
    choices = [
        Choice(
            name,
            WEIGHTS,
            widths,
            tuple(cost.layers.get(name, 0.0) for cost in costs),
            (0.0, *(errors[name, width] for width in widths[1:])),
        )
        for name in names
    ]
    return choices, others, base


def _of_payloads(meter: Meter, start: Start, widest: tuple[Width, ...]) -> list[Choice]:
    """Choices of payloads."""
    options = meter.options.with_value("rounding", "nearest", "tried")

    def rounded(folded: ANNGraph) -> Quantization:
        parts = folded, start.statistics, start.samples, options, start.coding
        return at_widths(*parts, widest, start.given).widest

    before = rounded(start.folded)
    mapped = meter.mapped(meter.completed(before))

    def energy(network: Quantization) -> float:
        return meter.energy(mapped, meter.completed(network))

    error, cost = meter.error(meter.outputs(before)), energy(before)
    own = start.coding.size
    narrow = [bits for bits in NARROW_PAYLOADS if bits < own]
    choices = []
    for node in start.folded.graph:
        if not _has_free_payloads(node):
            continue
        networks = [rounded(with_payloads(start.folded, {node.id: bits})) for bits in narrow]
        choices.append(
            Choice(
                node.id,
                PAYLOADS,
                (own, *narrow),
                (0.0, *(energy(one) - cost for one in networks)),
                (0.0, *(meter.error(meter.outputs(one)) - error for one in networks)),
            )
        )
    return choices


def _has_free_payloads(node: ann.AnnNode) -> bool:
    """Whether nothing states or shares the grid of an activation."""
    if not isinstance(node, ann.Activation) or not has_drive(node):
        return False
    stated = node.own_bits, node.payload_bits, node.levels, node.peers
    return all(one is None for one in stated)


def with_payloads(folded: ANNGraph, bits: Mapping[NodeId, Width]) -> ANNGraph:
    """The network with payloads of other widths."""
    layers = tuple((literal(name), width) for name, width in bits.items())
    return SetPayloads(layers)(folded).graph if layers else folded


def _with_a_choice(
    folded: ANNGraph, network: Quantization, options: CompileOptions
) -> list[NodeId]:
    """Layers of the float network whose weights' width neither the options nor the file state."""
    known = set(rectifiers_and_outputs(folded))
    stated = [layer for layer in options.layers if layer.weight_bits is not None]
    return [
        population.id
        for population in network.program.populations
        if population.id in known
        and not network.numbers[population.id].given
        and not any(layer.matches(population.id) for layer in stated)
    ]
