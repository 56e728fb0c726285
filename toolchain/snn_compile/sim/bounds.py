"""Bounds of sums and potentials, by interval arithmetic over weights and message ranges.

All bounds hold for every stimulus whose messages stay in the stated ranges; 0 is always among the
messages (a silent neuron, a padded border), so bounds over a whole kernel also hold at the borders.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Protocol

import numpy as np

from snn_compile.ir.fixedpoint import Int, arithmetic_shift
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.models.answers import Interval, Range
from snn_compile.ir.models.arithmetic import ends
from snn_compile.ir.quantized import (
    ConvSynapses,
    Input,
    Neurons,
    Population,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding

Arriving = Callable[[Synapses], Range]
"""Smallest and largest value that reaches a synapse group."""

BEYOND = 1 << 56
"""Above any exact sum, but small enough to add many of them."""


class Nodes(Protocol):
    """A graph, or the known part of one."""

    def __getitem__(self, name: NodeId, /) -> QuantizedNode:
        """The node with a name."""
        ...


def message_range(graph: Nodes, synapses: Synapses) -> tuple[int, int]:
    """Smallest and largest input message of a synapse group."""
    source = graph[synapses.inputs[0]]
    if not isinstance(source, Input | Neurons):
        raise TypeError(f"'{source.id}' sends no messages")
    return source.messages


def total_range(graph: Nodes, synapses: Synapses, n_steps: int) -> Range:
    """Smallest and largest sum of a source's messages: in a window, or of all changes so far."""
    source = graph[synapses.inputs[0]]
    if isinstance(source, Neurons):
        return source.total(n_steps)
    if isinstance(source, Input) and source.coding in (InputCoding.FRAME, InputCoding.CHANGES):
        return min(source.low, 0), max(source.high, 0)
    return message_range(graph, synapses)


def synapse_sums(synapses: Synapses, messages: tuple[int, int]) -> tuple[Interval, int]:
    """Bounds of a group's integer sum per output channel, before the exponent.

    Returns:
        The interval, and the largest magnitude of any partial sum in any order of addition.
    """
    n_channels = synapses.shape[0]
    rows, partial = _row_sums(synapses, messages)
    # One row a channel (a kernel) or a neuron; the neurons of a channel are neighbours.
    lowest = rows.low.reshape(n_channels, -1).min(axis=1)
    highest = rows.high.reshape(n_channels, -1).max(axis=1)
    return Interval(lowest, highest), partial


def _row_sums(synapses: Synapses, messages: Range) -> tuple[Interval, int]:
    """The same per kernel or neuron."""
    low, high = messages
    if isinstance(synapses, SparseSynapses):
        weight = synapses.weight.values
        positive, negative = (
            _by_row(synapses, part(weight, 0)) for part in (np.maximum, np.minimum)
        )
    else:
        positive, negative = synapses.weight.sums
    interval = Interval(positive * low + negative * high, positive * high + negative * low)
    partial = int((positive - negative).max(initial=0)) * max(abs(low), abs(high))
    return interval, partial


def current(graph: Nodes, population: Population) -> Interval:
    """Bounds of the summed input ``a`` of a population at one step, per channel."""
    return _summed(graph, population, lambda synapses: message_range(graph, synapses))


def group_sums(graph: Nodes, synapses: Synapses) -> Interval:
    """Bounds of a group's integer sum at one step, before the exponent."""
    return _sums(graph, synapses, lambda group: message_range(graph, group))


def _summed(graph: Nodes, population: Population, arriving: Arriving) -> Interval:
    """Bounds of the sum of a population's synapses per channel, for the ranges of their inputs."""
    n_channels = population.shape[0]
    total = _added(graph, population, arriving)
    return Interval(
        total.low.reshape(n_channels, -1).min(axis=1),
        total.high.reshape(n_channels, -1).max(axis=1),
    )


def _added(graph: Nodes, population: Population, arriving: Arriving) -> Interval:
    """The same per neuron, or per channel where only that is known."""
    low = np.zeros((population.shape[0], 1), np.int64)
    high = low
    for source in population.inputs:
        synapses = graph[source]
        if not isinstance(synapses, Synapses):
            raise TypeError(f"'{source}' is not a synapse group")
        interval = _sums(graph, synapses, arriving)
        low = low + _shifted(interval.low, synapses.exponent).reshape(len(low), -1)
        high = high + _shifted(interval.high, synapses.exponent).reshape(len(high), -1)
    return Interval(low, high)


def _sums(graph: Nodes, synapses: Synapses, arriving: Arriving) -> Interval:
    """Bounds of a group's sum, per row or per channel.

    Neurons that only forward sums are bounded by their own input. Otherwise each partial sum would
    count with the bounds of the widest one.
    """
    source, messages = graph[synapses.inputs[0]], arriving(synapses)
    if not isinstance(source, Neurons) or not source.sends_sums or source.total(1) != messages:
        return _row_sums(synapses, messages)[0]
    passed = _added(graph, source, arriving)
    low, high = (np.clip(end, *messages) for end in (passed.low, passed.high))
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    if (low == low[0, 0]).all() and (high == high[0, 0]).all():
        return _row_sums(synapses, (int(low[0, 0]), int(high[0, 0])))[0]
    return _sums_of_each(synapses, source.shape, low, high)


def _sums_of_each(synapses: Synapses, source: Shape, low: Int, high: Int) -> Interval:
    """Bounds of a group's sum, given bounds of the messages per source, (C, 1 or H * W)."""
    weight = synapses.weight.values
    if isinstance(synapses, ConvSynapses) and _is_one_to_one(synapses):
        ends = weight[:, 0, 0] * low, weight[:, 0, 0] * high
        return Interval(np.minimum(*ends), np.maximum(*ends))
    if isinstance(synapses, ConvSynapses):
        lows, highs = low.min(axis=1), high.max(axis=1)
        read = synapses.geometry.channels_read(*weight.shape[:2])[:, :, None, None]
    else:
        lows, highs = (np.broadcast_to(end, (source[0], prod(source[1:]))) for end in (low, high))
        lows, highs = lows.ravel(), highs.ravel()
        read = synapses.indices if isinstance(synapses, SparseSynapses) else np.arange(len(lows))
    ends = weight * lows[read], weight * highs[read]
    return Interval(_by_row(synapses, np.minimum(*ends)), _by_row(synapses, np.maximum(*ends)))


def _is_one_to_one(synapses: ConvSynapses) -> bool:
    n_channels, *kernel = synapses.weight.shape
    return kernel == [1, 1, 1] and synapses.geometry == Geometry(groups=n_channels)


def _by_row(synapses: Synapses, terms: Int) -> Int:
    """Sums of one term for each weight."""
    if isinstance(synapses, SparseSynapses):
        summed: Int = np.diff(np.append(0, np.cumsum(terms))[synapses.indptr])
    else:
        summed = terms.reshape(len(terms), -1).sum(axis=1)
    return summed


def _shifted(x: Int, exponent: int) -> Int:
    """``x * 2**exponent``; saturates at ``BEYOND`` instead of wrapping."""
    if exponent > 0:
        x = np.clip(x, -(BEYOND >> exponent), BEYOND >> exponent)
    return arithmetic_shift(x, exponent)


def largest_sum(graph: Nodes, population: Population) -> int:
    """Largest magnitude of any sum on the way to a population's drive, in any order of addition.

    Of the summed input with its bias, and of every group's sum before its exponent.
    """
    largest = current(graph, population).magnitude
    largest += int(np.abs(population.bias.values).max(initial=0))
    for source in population.inputs:
        synapses = graph[source]
        if isinstance(synapses, Synapses):
            _, partial = synapse_sums(synapses, message_range(graph, synapses))
            largest = max(largest, partial)
    return largest


def potential(graph: Nodes, population: Population, n_steps: int) -> Interval:
    """Bounds of the membrane potential per channel, before it is compared with the threshold.

    Raises:
        TypeError: for neurons whose wrapping and saturation are part of their definition.
    """
    return population.potential(_drive(_arriving(graph, population, n_steps), population), n_steps)


def states(graph: Nodes, population: Population, n_steps: int) -> Interval:
    """Bounds of all states of a population."""
    a = _arriving(graph, population, n_steps)
    return population.states(a, _drive(a, population), n_steps)


def _arriving(graph: Nodes, population: Population, n_steps: int) -> Interval:
    """Bounds of a population's input: of one step, or of a whole window."""
    if not population.sums_windows:
        return current(graph, population)
    return _summed(graph, population, lambda synapses: total_range(graph, synapses, n_steps))


def _drive(a: Interval, population: Population) -> Interval:
    bias = ends(population.bias, population)
    return Interval(a.low + bias.low, a.high + bias.high)


__all__ = [
    "Interval",
    "Range",
    "current",
    "group_sums",
    "largest_sum",
    "message_range",
    "potential",
    "states",
    "synapse_sums",
    "total_range",
]
