"""Weights of sums of wide payloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.models.product import MAX_OPERAND
from snn_compile.ir.stages import SpikingGraph
from snn_compile.numerics.functions import floor_log2
from snn_compile.quantize.integers import IntegerWeights

SUM_BITS = 30
"""Bits of a sum without sign, before its exponent: the limit of 32-bit accumulators."""
NARROW_BITS = 8
"""Reference width of payloads."""
FEWEST_BITS = 2
"""Fewest bits of a weight, sign included."""


def narrow_weights(network: SpikingGraph, groups: tuple[spiking.Synapses, ...], bits: int) -> int:
    """Weight bits for which no sum of wide payloads exceeds 32 bits.

    Means of a normalization add up thousands of payloads of 16 bits, all with the same weight,
    which is as exact with one bit as with seven. For payloads of up to 11 bits nothing changes.
    """
    for group in groups:
        largest = _widest(network, group)
        if largest <= MAX_OPERAND:
            continue
        most = (1 << SUM_BITS) / (largest * _alike(group))
        bits = min(bits, max(FEWEST_BITS, 1 + int(floor_log2(most + 1.0))))
    return bits


def payload_doublings(
    network: SpikingGraph, groups: tuple[spiking.Synapses, ...]
) -> tuple[int, ...]:
    """Excess width of each group's payloads over the narrowest, in powers of two.

    A small weight of a wide payload counts as much as a large one of a narrow payload; the choice
    of a unit depends on it.
    """
    wide = [_widest(network, group) for group in groups]
    doublings = [max(largest.bit_length() - NARROW_BITS, 0) for largest in wide]
    return tuple(n - min(doublings) for n in doublings)


def of_payloads(
    groups: tuple[spiking.Synapses, ...],
    doublings: tuple[int, ...],
    choose: Callable[[tuple[spiking.Synapses, ...]], IntegerWeights],
) -> IntegerWeights:
    """Integers for weights scaled by their payload widths; exponents undo the scaling."""
    if not any(doublings):
        return choose(groups)
    magnified = tuple(
        replace(
            group,
            weight=np.ldexp(group.weight, n),
            step=None if group.step is None else np.ldexp(group.step, n),
        )
        for group, n in zip(groups, doublings, strict=True)
    )
    found = choose(magnified)
    exponents = [e - n for e, n in zip(found.exponents, doublings, strict=True)]
    least = min(exponents)
    unit = np.ldexp(found.unit, least)
    return replace(found, exponents=tuple(e - least for e in exponents), unit=unit)


def _widest(network: SpikingGraph, group: spiking.Synapses) -> int:
    """Largest payload of a group's source, if it has more bits than an operand; else 0."""
    source = network.graph[group.inputs[0]]
    largest = max(getattr(source, "high", 0), -getattr(source, "low", 0))
    wide = isinstance(source, spiking.PiecewiseLinearNeurons | spiking.ProductNeurons)
    return int(largest) if wide and largest > MAX_OPERAND else 0


def _alike(group: spiking.Synapses) -> float:
    """Largest sum of a neuron's weights, relative to the group's largest weight."""
    weight = np.abs(group.weight)
    if isinstance(group, spiking.SparseSynapses):
        totals = np.add.reduceat(np.append(weight, 0.0), np.minimum(group.indptr[:-1], len(weight)))
        totals = np.where(np.diff(group.indptr) > 0, totals, 0.0)
    else:
        totals = weight.reshape(len(weight), -1).sum(axis=1)
    return float(totals.max(initial=0.0) / max(weight.max(initial=0.0), np.finfo(np.float64).tiny))
