"""From the spiking network in floating point to the one in fixed point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CapacityError, CompileError, raise_all
from snn_compile.ir import quantized, spiking
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.integer_weights import channel_of
from snn_compile.ir.quantized import QuantizedGraph, QuantizedNode
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import SpikingGraph
from snn_compile.numerics.functions import floor_log2
from snn_compile.quantize import stock
from snn_compile.quantize.integers import IntegerWeights
from snn_compile.quantize.neurons import in_fixed_point
from snn_compile.quantize.products import OPERAND_WEIGHT, operand_weights
from snn_compile.quantize.ranges import on_a_grid
from snn_compile.quantize.states import EXPONENTS, States
from snn_compile.quantize.weights import MAX_EXPONENT_SPREAD, integer_weights, with_unit
from snn_compile.quantize.wide_sums import narrow_weights, of_payloads, payload_doublings
from snn_compile.sim import bounds

MAX_FRACTION_BITS = 6
"""Bits of a potential below the unit of the weights on Loihi."""
MAX_DOUBLINGS = 12
"""Maximal number of doublings of a channel's unit before the layer is refused."""


@dataclass(frozen=True, eq=False)
class LayerNumbers:
    """Scales of a population's integers.

    Attributes:
        unit: real value of one step of its potential, (C,).
        weight_bits: width of its weights.
        fraction_bits: bits of the potential below the unit of the weights; if negative, low bits
            are dropped.
        saturated: share of the weights that were clipped.
        largest: proven largest magnitude of the potential.
        bias: real bias in steps of the potential, broadcasts to the shape.
        given: share of the weights that are the integers of a quantized file, of synapses with any.
        drive_errors: squared error of the potential over its target's power on samples held out,
            before and after reconstruction; empty if nothing was learned.
    """

    unit: Float
    weight_bits: int
    fraction_bits: int
    saturated: float
    largest: int
    bias: Float
    given: Mapping[NodeId, float] = field(default_factory=dict)
    drive_errors: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Quantization:
    """A program and the scales of its integers.

    Attributes:
        program: the network in fixed point.
        numbers: scales of every population.
        network: its origin in floating point.
    """

    program: QuantizedGraph
    numbers: Mapping[NodeId, LayerNumbers]
    network: SpikingGraph


def quantize(
    network: SpikingGraph, weight_bits: Callable[[str], int], states: States | None = None
) -> Quantization:
    """Put every weight, bias and threshold on the integer grid of Loihi.

    A layer keeps as many fraction bits in its potentials as the static bound allows: the bound
    proves that no state overflows for any input in the encoded range.

    Args:
        network: the aligned spiking network.
        weight_bits: 2 to 8 for each layer name.
        states: limits of the integers; 24 bits by default.

    Raises:
        ModelError: a layer whose dynamic range is too large.
        CapacityError: layers whose state could overflow (``state-overflow``), or that have no form
            in stock neurons (``not-stock``); all of them at once.
    """
    states = states or States()
    nodes: dict[NodeId, QuantizedNode] = {node.id: _input(node) for node in network.inputs}
    numbers: dict[NodeId, LayerNumbers] = {}
    refused, missing = list[CompileError](), set[NodeId]()
    for population in network.populations:
        groups = network.synapses_into(population)
        if any(group.inputs[0] in missing for group in groups):
            missing.add(population.id)  # its input is unknown
            continue
        bits = narrow_weights(network, groups, weight_bits(population.id))
        if isinstance(population, spiking.ProductNeurons):
            bits = OPERAND_WEIGHT.bits
        doublings = payload_doublings(network, groups)
        layer = _Layer(population, groups, bits, nodes, network.window, states, doublings)
        with on_a_grid(population):
            weights, found = layer.first_that_fits()
            if isinstance(found, CompileError):
                refused.append(found)
                if not states.is_lif(population):
                    missing.add(population.id)
                    continue
                # It sends spikes in any case: later layers are checked too.
                found = layer.build(weights, 0), layer.numbers(weights, 0, largest=0)
        added, numbers[population.id] = found
        nodes.update((node.id, node) for node in added)
    raise_all(refused)
    return Quantization(QuantizedGraph(Graph(nodes.values()), network.window), numbers, network)


def _input(node: spiking.Input) -> quantized.Input:
    return quantized.Input(
        **node.common_fields,
        format=QFormat.holding(node.low, node.high),
        low=node.low,
        high=node.high,
        coding=node.coding,
        seed=node.seed,
    )


@dataclass(frozen=True, eq=False)
class _Layer:
    """A population with its synapses, before the choice of units.

    Attributes:
        population: in floating point.
        groups: the synapses into it.
        bits: of its weights.
        before: nodes already in fixed point, by name.
        window: of the network.
        states: how far numbers may go.
        doublings: by how many powers of two the payloads of each group are wider than others.
    """

    population: spiking.Population
    groups: tuple[spiking.Synapses, ...]
    bits: int
    before: Mapping[NodeId, QuantizedNode]
    window: spiking.Window
    states: States
    doublings: tuple[int, ...]

    def first_that_fits(
        self,
    ) -> tuple[IntegerWeights, tuple[list[QuantizedNode], LayerNumbers] | CompileError]:
        """The finest weights with which no state can overflow; if there are none, the refusal.

        Exponents of wide payloads lie far apart where one of the arms of a sum dwarfs the others,
        as bounds without data make it. Then these give up bits.
        """
        weights = self.integers()
        found = self.fit(weights)
        if isinstance(found, CompileError) and weights.exact:
            weights = self.integers(as_integers=False)
            found = self.fit(weights)
        least = max(self.doublings)
        while least and isinstance(found, CompileError) and max(weights.exponents) > least:
            weights = self.integers(most_apart=max(weights.exponents) - 1)
            found = self.fit(weights)
        return weights, found

    def integers(
        self, *, as_integers: bool = True, most_apart: int = MAX_EXPONENT_SPREAD
    ) -> IntegerWeights:
        """The weights in units of their own; unchanged, if they are integers and may stay so.

        Args:
            as_integers: whether they may.
            most_apart: largest difference of two groups' exponents.
        """
        population = self.population
        if isinstance(population, spiking.ProductNeurons):
            return operand_weights(self.groups)
        threshold = population.threshold if isinstance(population, spiking.Neurons) else None

        def chosen(groups: tuple[spiking.Synapses, ...]) -> IntegerWeights:
            return integer_weights(
                groups,
                self.bits,
                threshold,
                self.states.smallest_weight(population),
                as_integers=as_integers and not any(self.doublings),
                # Sums that are spread over time cannot be shifted right one by one.
                most_apart=EXPONENTS[-1]
                if self.window.schedule
                else max(most_apart - max(self.doublings), 0),
            )

        return of_payloads(self.groups, self.doublings, chosen)

    def fit(
        self, weights: IntegerWeights
    ) -> tuple[list[QuantizedNode], LayerNumbers] | CompileError:
        """The layer with the most fraction bits for which no state can overflow.

        Where a few channels alone would cost the whole layer its low bits (dying channels, whose
        biases dwarf their weights), those channels give up weight bits instead: their unit is
        doubled. It does not help channels whose weights alone overflow once none is left.
        """
        population, states = self.population, self.states
        fraction, limit = self._fraction_bits(weights), states.limit(population)
        added = self.build(weights, fraction)
        first = interval = self._potential(added)
        by_weights: npt.NDArray[np.bool_] | None = None
        for _ in range(MAX_DOUBLINGS):
            over = _over(interval, limit)
            over |= states.overfull(population, weights.unit * 2.0**-fraction)
            if not over.any() and not (states.stock and self._nothing_left(weights)):
                below = fraction + states.own_bits(population)
                return added, self.numbers(weights, below, interval.magnitude)
            if by_weights is None:
                by_weights = _over(self._potential(_without_bias(added)), limit)
            if isinstance(population, spiking.Readout) and (weights.unit == weights.unit[0]).all():
                over[:] = True
            unit = np.where(over, 2.0, 1.0) * weights.unit
            weights = with_unit(self.groups, weights, unit, self.bits)
            if weights.exact or (by_weights & ~self._used(weights)).any():
                break
            added = self.build(weights, fraction)
            interval = self._potential(added)
        return self._refusal(first.magnitude)

    def build(self, weights: IntegerWeights, fraction: int) -> list[QuantizedNode]:
        """Synapses and neurons with potentials in steps of ``unit * 2**-fraction``."""
        population, states = self.population, self.states
        step = weights.unit * 2.0**-fraction
        groups = [
            _synapses(group, tensor, exponent + fraction)
            for group, tensor, exponent in zip(
                self.groups, weights.tensors, weights.exponents, strict=True
            )
        ]
        bias = population.bias / step[:, None, None] + floor_loss(tuple(groups))
        if states.stock and not isinstance(population, spiking.LIFNeurons):
            return [*groups, stock.population(population, bias, step, exact=weights.exact)]
        return [*groups, in_fixed_point(population, bias, step)]

    def numbers(self, weights: IntegerWeights, below: int, largest: int) -> LayerNumbers:
        """The scales of integers, with ``below`` bits below the unit of the weights."""
        unit = weights.unit * 2.0**-below
        bias = self.population.bias / unit[:, None, None]
        kept = zip(self.groups, weights.given, strict=False)
        given = {group.id: share for group, share in kept if share}
        return LayerNumbers(unit, self.bits, below, weights.saturated, largest, bias, given)

    def _fraction_bits(self, weights: IntegerWeights) -> int:
        """The bits that fit in three quarters of the channels, or that all channels can drop."""
        population, states = self.population, self.states
        if weights.exact and (not states.own_bits(population) or states.stock):
            return 0
        interval = self._potential(self.build(weights, 0))
        magnitude = np.maximum(np.maximum(-interval.low, interval.high), 1)
        room = floor_log2(states.limit(population) / magnitude)
        room = np.minimum(room, states.doublings(population, weights.unit))
        most = min(MAX_FRACTION_BITS, EXPONENTS[-1] - max(weights.exponents))
        # Sums that are spread over time cannot be shifted right one by one.
        lowest = 0 if self.window.schedule else states.least_exponent()
        least = lowest - min(weights.exponents)
        for_all, for_most = int(room.min()), int(np.quantile(room, 0.25))
        if any(weights.given):  # no channel may give up weight bits
            for_most = for_all
        return min(most, max(least, for_all if for_all >= 0 else min(0, for_most)))

    def _potential(self, added: list[QuantizedNode]) -> bounds.Interval:
        """Bounds of the potential of the last node, given the nodes before it."""
        *groups, population = added
        sources = {group.inputs[0]: self.before[group.inputs[0]] for group in groups}
        if not isinstance(population, quantized.Population):
            raise TypeError(f"'{population.id}' is not a population")
        nodes = {**sources, **{node.id: node for node in added}}
        return bounds.states(nodes, population, self.window.n_steps)

    def _used(self, weights: IntegerWeights) -> npt.NDArray[np.bool_]:
        """Channels with a weight that is not 0."""
        used = np.zeros(len(weights.unit), bool)
        for group, mantissa in zip(self.groups, weights.mantissas, strict=True):
            if isinstance(group, spiking.SparseSynapses):
                used[channel_of(group)[mantissa != 0]] = True
            else:
                used |= mantissa.reshape(len(used), -1).any(axis=1)
        return used

    def _nothing_left(self, weights: IntegerWeights) -> bool:
        """Whether the weights are not empty and all rounded to 0."""
        return any(g.weight.any() for g in self.groups) and not self._used(weights).any()

    def _refusal(self, largest: int) -> CompileError:
        name, origin = self.population.id, self.population.origin
        limit = self.states.limit(self.population)
        if self.states.stock:
            return stock.refusal(name, origin, largest, limit)
        return CapacityError(
            f"the potential of layer '{name}' could reach {largest:,}"
            f" (2^{np.log2(largest):.1f}); a {limit.bit_length() + 1}-bit state holds {limit:,}",
            code="state-overflow",
            origin=origin,
            hint="use fewer time steps, fewer weight bits or a smaller layer",
        )


def _over(interval: bounds.Interval, limit: int) -> npt.NDArray[np.bool_]:
    """Channels whose potential could leave the state."""
    over: npt.NDArray[np.bool_] = np.maximum(-interval.low, interval.high) > limit
    return over


def _without_bias(added: list[QuantizedNode]) -> list[QuantizedNode]:
    *groups, population = added
    if not isinstance(population, quantized.Population):
        raise TypeError(f"'{population.id}' is not a population")
    return [*groups, population.changed(bias=QTensor.of(0 * population.bias.values))]


def floor_loss(groups: tuple[quantized.Synapses, ...]) -> float:
    """Mean loss of a potential in right shifts: half a step less half of the last bit."""
    return sum((1 - 2.0 ** min(group.exponent, 0)) / 2 for group in groups)


def _synapses(group: spiking.Synapses, weight: QTensor, exponent: int) -> quantized.Synapses:
    match group:
        case spiking.ConvSynapses():
            return quantized.ConvSynapses(
                **group.common_fields,
                weight=weight,
                exponent=exponent,
                geometry=group.geometry,
            )
        case spiking.DenseSynapses():
            return quantized.DenseSynapses(
                **group.common_fields,
                weight=weight,
                exponent=exponent,
            )
        case spiking.SparseSynapses():
            return quantized.SparseSynapses(
                **group.common_fields,
                indptr=group.indptr,
                indices=group.indices,
                weight=weight,
                exponent=exponent,
            )
