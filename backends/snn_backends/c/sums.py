"""Bounds of what arrives at a population: they decide the types of its sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from snn_compile.ir.quantized import Population, QuantizedGraph, Synapses
from snn_compile.sim import bounds


@dataclass(frozen=True)
class Sums:
    """What arrives at a population at once.

    Attributes:
        low: smallest sum of all groups, high: largest; 0 is between them.
        magnitude: largest of any sum on the way, in any order of addition.
    """

    low: int
    high: int
    magnitude: int


def of_step(program: QuantizedGraph, node: Population) -> Sums:
    """The messages of one step."""
    return _sums(program, node, lambda group: bounds.message_range(program.graph, group))


def of_window(program: QuantizedGraph, node: Population) -> Sums:
    """The messages of a whole window, or all changes so far."""
    n_steps = program.window.n_steps
    return _sums(program, node, lambda group: bounds.total_range(program.graph, group, n_steps))


def _sums(
    program: QuantizedGraph, node: Population, arriving: Callable[[Synapses], tuple[int, int]]
) -> Sums:
    low = high = largest = 0
    for group in program.synapses_into(node):
        interval, partial = bounds.synapse_sums(group, arriving(group))
        ends = int(interval.low.min()), int(interval.high.max())
        low += _scaled(min(ends[0], 0), group.exponent)
        high += _scaled(max(ends[1], 0), group.exponent)
        largest = max(largest, int(partial))
    return Sums(low, high, max(largest, -low, high))


def _scaled(value: int, exponent: int) -> int:
    return value << exponent if exponent >= 0 else value >> -exponent
