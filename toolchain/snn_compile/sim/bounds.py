"""Bounds of sums and potentials, by interval arithmetic over weights and message ranges.

All bounds hold for every stimulus whose messages stay in the stated ranges; 0 is always among the
messages (a silent neuron, a padded border), so bounds over a whole kernel also hold at the borders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from snn_compile.ir.fixedpoint import Int, arithmetic_shift
from snn_compile.ir.graph import NodeId
from snn_compile.ir.models.answers import Interval, Range
from snn_compile.ir.models.arithmetic import ends
from snn_compile.ir.quantized import (
    Input,
    Neurons,
    Population,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding

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
    low, high = messages
    n_channels = synapses.shape[0]
    if isinstance(synapses, SparseSynapses):
        n_rows, weight = len(synapses.indptr) - 1, synapses.weight.values
        rows = np.repeat(np.arange(n_rows), np.diff(synapses.indptr))
        positive = np.bincount(rows, np.maximum(weight, 0), n_rows).astype(np.int64)
        negative = np.bincount(rows, np.minimum(weight, 0), n_rows).astype(np.int64)
    else:
        positive, negative = synapses.weight.sums
    # One row per channel (a kernel) or per neuron; the neurons of a channel are adjacent.
    lowest = (positive * low + negative * high).reshape(n_channels, -1).min(axis=1)
    highest = (positive * high + negative * low).reshape(n_channels, -1).max(axis=1)
    interval = Interval(lowest, highest)
    partial = int((positive - negative).max(initial=0)) * max(abs(low), abs(high))
    return interval, partial


def current(graph: Nodes, population: Population) -> Interval:
    """Bounds of the summed input ``a`` of a population at one step, per channel."""
    return _summed(graph, population, lambda synapses: message_range(graph, synapses))


def _summed(
    graph: Nodes, population: Population, arriving: Callable[[Synapses], Range]
) -> Interval:
    """Bounds of the sum of a population's synapses, for the ranges of their messages."""
    low = np.zeros(population.shape[0], np.int64)
    high = np.zeros(population.shape[0], np.int64)
    for source in population.inputs:
        synapses = graph[source]
        if not isinstance(synapses, Synapses):
            raise TypeError(f"'{source}' is not a synapse group")
        interval, _ = synapse_sums(synapses, arriving(synapses))
        low = low + _shifted(interval.low, synapses.exponent)
        high = high + _shifted(interval.high, synapses.exponent)
    return Interval(low, high)


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
    "largest_sum",
    "message_range",
    "potential",
    "states",
    "synapse_sums",
    "total_range",
]
