"""From the spiking network in floating point to the one in fixed point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CapacityError, CompileError, raise_all
from snn_compile.ir import quantized, spiking
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor, round_half_even, round_half_up
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import QuantizedGraph, QuantizedNode
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import SpikingGraph
from snn_compile.numerics.functions import ceil_log2, floor_log2
from snn_compile.quantize import stock
from snn_compile.quantize.ranges import on_a_grid
from snn_compile.quantize.states import EXPONENTS, States
from snn_compile.quantize.trained import as_trained
from snn_compile.quantize.weights import IntegerWeights, channel_of, integer_weights, with_unit
from snn_compile.sim import bounds

MOST_FRACTION_BITS = 6
"""Bits of a potential below the unit of the weights: what Loihi gives a potential."""
MAX_DOUBLINGS = 12
"""Times a channel's unit may be doubled before the layer is refused."""


@dataclass(frozen=True, eq=False)
class LayerNumbers:
    """How one population's integers relate to real values.

    Attributes:
        unit: real value of one step of its potential, (C,).
        weight_bits: width of its weights.
        fraction_bits: of the potential below the unit of the weights; negative ones drop low bits.
        saturated: share of the weights that were clipped.
        largest: proven largest magnitude of the potential.
        bias: real bias in steps of the potential, broadcasts to the shape.
    """

    unit: Float
    weight_bits: int
    fraction_bits: int
    saturated: float
    largest: int
    bias: Float


@dataclass(frozen=True, eq=False)
class Quantization:
    """A program and what its integers stand for.

    Attributes:
        program: the network in fixed point.
        numbers: of every population.
        network: the one in floating point that it was made from.
    """

    program: QuantizedGraph
    numbers: Mapping[NodeId, LayerNumbers]
    network: SpikingGraph


def quantize(
    network: SpikingGraph, weight_bits: Callable[[str], int], states: States | None = None
) -> Quantization:
    """Put every weight, bias and threshold on the integer grid of Loihi.

    A layer keeps as many fraction bits in its potentials as the static bound allows: the bound
    shows that no state can overflow for any input in the encoded range.

    Args:
        network: the aligned spiking network.
        weight_bits: 2 to 8 for each layer name.
        states: how far numbers may go; as far as 24 bits do, if not given.

    Raises:
        ModelError: a layer whose numbers lie too far apart.
        CapacityError: layers whose state could overflow (``state-overflow``), or that have no form
            in stock neurons (``not-stock``); all of them at once.
    """
    states = states or States()
    nodes: list[QuantizedNode] = [_input(network.input)]
    numbers: dict[NodeId, LayerNumbers] = {}
    refused, missing = list[CompileError](), set[NodeId]()
    for population in network.populations:
        groups = network.synapses_into(population)
        if any(group.inputs[0] in missing for group in groups):
            missing.add(population.id)  # what it would see is not known
            continue
        bits = weight_bits(population.id)
        smallest = states.smallest_weight(population)
        threshold = None if isinstance(population, spiking.Readout) else population.threshold
        with on_a_grid(population):
            weights = integer_weights(groups, bits, threshold, smallest)
            found = _fitted(population, groups, weights, bits, nodes, network.window, states)
            if isinstance(found, CompileError) and weights.exact:
                weights = integer_weights(groups, bits, threshold, smallest, as_integers=False)
                found = _fitted(population, groups, weights, bits, nodes, network.window, states)
            if isinstance(found, CompileError):
                refused.append(found)
                if not states.is_lif(population):
                    missing.add(population.id)
                    continue
                # Whatever its numbers, it would send spikes: those after it are judged, too.
                found = _unfitted(population, groups, weights, bits, states)
        added, numbers[population.id] = found
        nodes.extend(added)
    raise_all(refused)
    return Quantization(QuantizedGraph(Graph(nodes), network.window), numbers, network)


def _input(node: spiking.Input) -> quantized.Input:
    return quantized.Input(
        **node.place,
        format=QFormat.holding(node.low, node.high),
        low=node.low,
        high=node.high,
        coding=node.coding,
        seed=node.seed,
    )


def _fitted(
    population: spiking.Population,
    groups: tuple[spiking.Synapses, ...],
    weights: IntegerWeights,
    bits: int,
    before: list[QuantizedNode],
    window: spiking.Window,
    states: States,
) -> tuple[list[QuantizedNode], LayerNumbers] | CompileError:
    """The layer with the most fraction bits for which no state can overflow.

    Where a few channels alone would cost the whole layer its low bits (dying channels, whose biases
    dwarf their weights), those channels give up weight bits instead: their unit is doubled.
    """
    own, limit = states.own_bits(population), states.limit(population)
    if weights.exact and (not own or states.stock):
        fraction = 0
    else:
        room = _room(_layer(population, groups, weights, bits, 0, states), before, window, limit)
        room = np.minimum(room, states.doublings(population, weights.unit))
        most = min(MOST_FRACTION_BITS, EXPONENTS[-1] - max(weights.exponents))
        # Sums that are spread over time cannot be shifted right one by one.
        lowest = 0 if window.coding in spiking.SCHEDULED else states.least_exponent()
        least = lowest - min(weights.exponents)
        for_all, for_most = int(room.min()), int(np.quantile(room, 0.25))
        fraction = min(most, max(least, for_all if for_all >= 0 else min(0, for_most)))
    added = _layer(population, groups, weights, bits, fraction, states)
    first = _potential(added, before, window).magnitude
    by_weights = _over(_potential(_without_bias(added), before, window), limit)
    for _ in range(MAX_DOUBLINGS):
        interval = _potential(added, before, window)
        over = _over(interval, limit)
        over |= states.overfull(population, weights.unit * 2.0**-fraction)
        if not over.any() and not (states.stock and _nothing_left(groups, weights)):
            return added, _numbers(population, weights, bits, fraction + own, interval.magnitude)
        if isinstance(population, spiking.Readout):
            over[:] = True
        weights = with_unit(groups, weights, np.where(over, 2.0, 1.0) * weights.unit, bits)
        if weights.exact or (by_weights & ~_used(groups, weights)).any():
            break
        added = _layer(population, groups, weights, bits, fraction, states)
    if states.stock:
        return stock.refusal(population.id, population.origin, first, limit)
    return CapacityError(
        f"the potential of layer '{population.id}' could reach {first:,}"
        f" (2^{np.log2(first):.1f}); a {limit.bit_length() + 1}-bit state holds {limit:,}",
        code="state-overflow",
        origin=population.origin,
        hint="use fewer time steps, fewer weight bits or a smaller layer",
    )


def _unfitted(
    population: spiking.Population,
    groups: tuple[spiking.Synapses, ...],
    weights: IntegerWeights,
    bits: int,
    states: States,
) -> tuple[list[QuantizedNode], LayerNumbers]:
    """A layer that has been refused, in numbers that mean nothing."""
    added = _layer(population, groups, weights, bits, 0, states)
    return added, _numbers(population, weights, bits, 0, 0)


def _numbers(
    population: spiking.Population,
    weights: IntegerWeights,
    bits: int,
    fraction: int,
    largest: int,
) -> LayerNumbers:
    """What integers stand for, with so many bits below the unit of the weights."""
    unit = weights.unit * 2.0**-fraction
    bias = population.bias / unit[:, None, None]
    return LayerNumbers(unit, bits, fraction, weights.saturated, largest, bias)


def _over(interval: bounds.Interval, limit: int) -> npt.NDArray[np.bool_]:
    """Channels whose potential could leave the state."""
    over: npt.NDArray[np.bool_] = np.maximum(-interval.low, interval.high) > limit
    return over


def _without_bias(added: list[QuantizedNode]) -> list[QuantizedNode]:
    *groups, population = added
    if not isinstance(population, quantized.Population):
        raise TypeError(f"'{population.id}' is not a population")
    return [*groups, replace(population, bias=QTensor.of(0 * population.bias.values))]


def _used(groups: tuple[spiking.Synapses, ...], weights: IntegerWeights) -> npt.NDArray[np.bool_]:
    """Channels with a weight that is not 0."""
    used = np.zeros(len(weights.unit), bool)
    for group, mantissa in zip(groups, weights.mantissas, strict=True):
        used[channel_of(group)[mantissa != 0]] = True
    return used


def _nothing_left(groups: tuple[spiking.Synapses, ...], weights: IntegerWeights) -> bool:
    """Whether there are weights, and all of them have been rounded to 0."""
    return any(g.weight.any() for g in groups) and not _used(groups, weights).any()


def _room(
    added: list[QuantizedNode], before: list[QuantizedNode], window: spiking.Window, limit: int
) -> Int:
    """Doublings that each channel's potential can take before it could overflow."""
    interval = _potential(added, before, window)
    magnitude = np.maximum(np.maximum(-interval.low, interval.high), 1)
    return floor_log2(limit / magnitude)


def _potential(
    added: list[QuantizedNode], before: list[QuantizedNode], window: spiking.Window
) -> bounds.Interval:
    """Bounds of the potential of the last node, given the nodes before it."""
    *groups, population = added
    sources = {g.inputs[0] for g in groups}
    graph = Graph([*(_detached(node) for node in before if node.id in sources), *added])
    if not isinstance(population, quantized.Population):
        raise TypeError(f"'{population.id}' is not a population")
    return bounds.states(graph, population, window.n_steps)


def _detached(node: QuantizedNode) -> QuantizedNode:
    """A source without its own inputs: only its message range matters here."""
    return replace(node, inputs=())


def _layer(
    population: spiking.Population,
    groups: tuple[spiking.Synapses, ...],
    weights: IntegerWeights,
    bits: int,
    fraction: int,
    states: States,
) -> list[QuantizedNode]:
    """Synapses and neurons with potentials in steps of ``unit * 2**-fraction``."""
    step = weights.unit * 2.0**-fraction
    added: list[QuantizedNode] = []
    for group, mantissa, exponent in zip(groups, weights.mantissas, weights.exponents, strict=True):
        weight = QTensor(mantissa.reshape(np.shape(group.weight)), QFormat(bits))
        added.append(_synapses(group, weight, exponent + fraction))
    lost = floor_loss(tuple(node for node in added if isinstance(node, quantized.Synapses)))
    bias = population.bias / step[:, None, None] + lost
    if states.stock and not isinstance(population, spiking.LIFNeurons):
        added.append(stock.population(population, bias, step, exact=weights.exact))
    else:
        added.append(_population(population, bias, step))
    return added


def floor_loss(groups: tuple[quantized.Synapses, ...]) -> float:
    """What right shifts take from a potential on average: half a step less half of the last bit."""
    return sum((1 - 2.0 ** min(group.exponent, 0)) / 2 for group in groups)


def _synapses(group: spiking.Synapses, weight: QTensor, exponent: int) -> quantized.Synapses:
    match group:
        case spiking.ConvSynapses():
            return quantized.ConvSynapses(
                **group.place,
                weight=weight,
                exponent=exponent,
                geometry=group.geometry,
            )
        case spiking.DenseSynapses():
            return quantized.DenseSynapses(
                **group.place,
                weight=weight,
                exponent=exponent,
            )
        case spiking.SparseSynapses():
            return quantized.SparseSynapses(
                **group.place,
                indptr=group.indptr,
                indices=group.indices,
                weight=weight,
                exponent=exponent,
            )


def _population(node: spiking.Population, bias: Float, step: Float) -> quantized.Population:
    """The neurons in steps of their potential; ``bias`` is real, in those steps."""
    match node:
        case spiking.Readout():
            return quantized.Readout(
                **node.place,
                bias=QTensor.of(round_half_even(bias)),
            )
        case spiking.ClipFloorNeurons():
            threshold = np.maximum(round_half_even(node.threshold / step), 1)
            return quantized.ClipFloorNeurons(
                **node.place,
                threshold=QTensor.of(threshold),
                bias=_with_half(bias, threshold),
                levels=node.levels,
                relay=node.relay,
            )
        case spiking.GradedNeurons():
            threshold = node.threshold / step
            multiplier, shift = reciprocal(threshold)
            return quantized.GradedNeurons(
                **node.place,
                bias=_with_half(bias, threshold),
                multiplier=QTensor(multiplier, QFormat(12, signed=False)),
                shift=QTensor.of(shift),
                payload=QFormat.holding(0, node.levels),
                relay=node.relay,
            )
        case spiking.SignedIFNeurons():
            threshold = np.maximum(round_half_even(node.threshold / step), 1)
            return quantized.SignedIFNeurons(
                **node.place,
                threshold=QTensor.of(threshold),
                bias=QTensor.of(round_half_even(bias)),
                initial_potential=_share(threshold, node.initial_potential),
                relay=node.relay,
            )
        case spiking.LIFNeurons():
            return as_trained(node, bias, step)
        case spiking.IFNeurons():
            threshold = np.maximum(round_half_even(node.threshold / step), 1)
            return quantized.IFNeurons(
                **node.place,
                threshold=QTensor.of(threshold),
                bias=QTensor.of(round_half_even(bias)),
                initial_potential=_share(threshold, node.initial_potential),
                reset=node.reset,
                burst=node.burst,
                relay=node.relay,
            )


def _with_half(bias: Float, threshold: Float | Int) -> QTensor:
    """A bias that holds half a threshold, for the floor that follows to round.

    A tie goes down, so that a threshold of one step (relays) adds nothing at all.
    """
    return QTensor.of(-round_half_up(-bias - threshold[:, None, None] / 2))


def _share(threshold: Int, share: float) -> QTensor:
    return QTensor.of(np.floor(threshold * share).astype(np.int64))


def reciprocal(threshold: Float) -> tuple[Int, Int]:
    """``1 / threshold`` as ``multiplier / 2**shift`` with ``2**11 <= multiplier < 2**12``.

    A 12-bit factor is what Loihi's decay multiplier takes; its relative error is below 2**-12.
    Thresholds below 2**-11 of a step cannot be expressed and are raised to it.
    """
    threshold = np.maximum(threshold, 2.0**-11)
    shift = 11 + ceil_log2(threshold)
    multiplier = round_half_even(np.ldexp(1.0, shift) / threshold)
    over = multiplier > 4095
    return np.where(over, 2048, multiplier), np.where(over, shift - 1, shift)
