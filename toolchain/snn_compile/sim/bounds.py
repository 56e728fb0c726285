"""What no sum and no potential can exceed, by interval arithmetic over weights and message ranges.

All bounds hold for every stimulus whose messages stay in the stated ranges; 0 is always among the
messages (a silent neuron, a padded border), so bounds over a whole kernel also hold at the borders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, arithmetic_shift
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    CubaLIFNeurons,
    GradedNeurons,
    IFNeurons,
    Input,
    Neurons,
    Population,
    QuantizedNode,
    RadixIFNeurons,
    Readout,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
    SignedIFNeurons,
    SparseSynapses,
    Synapses,
    SyncIFNeurons,
    SyncReadout,
    along_channels,
)
from snn_compile.ir.spiking import InputCoding, Reset


@dataclass(frozen=True)
class Interval:
    """Smallest and largest value per channel, (C,) each."""

    low: Int
    high: Int

    @property
    def magnitude(self) -> int:
        """Largest absolute value over all channels."""
        return int(max(-self.low.min(initial=0), self.high.max(initial=0)))


Range = tuple[int, int]
"""Smallest and largest value."""


def message_range(graph: Graph[QuantizedNode], synapses: Synapses) -> tuple[int, int]:
    """Smallest and largest message that reaches a synapse group."""
    source = graph[synapses.inputs[0]]
    if not isinstance(source, Input | Neurons):
        raise TypeError(f"'{source.id}' sends no messages")
    return source.messages


def total_range(graph: Graph[QuantizedNode], synapses: Synapses, n_steps: int) -> Range:
    """Smallest and largest sum of a source's messages: in a window, or of all changes so far."""
    source = graph[synapses.inputs[0]]
    if isinstance(source, SyncIFNeurons):
        return 0, n_steps
    if isinstance(source, SigmaDeltaNeurons | RadixIFNeurons):
        return 0, source.payload.max
    if isinstance(source, Input) and source.coding in (InputCoding.FRAME, InputCoding.CHANGES):
        return min(source.low, 0), max(source.high, 0)
    return message_range(graph, synapses)


def synapse_sums(synapses: Synapses, messages: tuple[int, int]) -> tuple[Interval, int]:
    """Bounds of a group's integer sum per output channel, before the exponent.

    Returns:
        The interval, and the largest magnitude of any partial sum in any order of addition.
    """
    low, high = messages
    weight = synapses.weight.values
    n_channels = synapses.shape[0]
    if isinstance(synapses, SparseSynapses):
        n_rows = len(synapses.indptr) - 1
        rows = np.repeat(np.arange(n_rows), np.diff(synapses.indptr))
        positive = np.bincount(rows, np.maximum(weight, 0), n_rows).astype(np.int64)
        negative = np.bincount(rows, np.minimum(weight, 0), n_rows).astype(np.int64)
    else:
        flat = weight.reshape(weight.shape[0], -1)
        positive = np.maximum(flat, 0).sum(axis=1)
        negative = np.minimum(flat, 0).sum(axis=1)
    # One row a channel (a kernel) or a neuron; the neurons of a channel are neighbours.
    lowest = (positive * low + negative * high).reshape(n_channels, -1).min(axis=1)
    highest = (positive * high + negative * low).reshape(n_channels, -1).max(axis=1)
    interval = Interval(lowest, highest)
    partial = int((positive - negative).max(initial=0)) * max(abs(low), abs(high))
    return interval, partial


def current(graph: Graph[QuantizedNode], population: Population) -> Interval:
    """Bounds of the summed input ``a`` of a population at one step, per channel."""
    return _summed(graph, population, lambda synapses: message_range(graph, synapses))


def _summed(
    graph: Graph[QuantizedNode], population: Population, arriving: Callable[[Synapses], Range]
) -> Interval:
    """Bounds of what a population's synapses add up to, for the ranges of what reaches them."""
    low = np.zeros(population.shape[0], np.int64)
    high = np.zeros(population.shape[0], np.int64)
    for source in population.inputs:
        synapses = graph[source]
        if not isinstance(synapses, Synapses):
            raise TypeError(f"'{source}' is not a synapse group")
        interval, _ = synapse_sums(synapses, arriving(synapses))
        low = low + arithmetic_shift(interval.low, synapses.exponent)
        high = high + arithmetic_shift(interval.high, synapses.exponent)
    return Interval(low, high)


def largest_sum(graph: Graph[QuantizedNode], population: Population) -> int:
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


def potential(graph: Graph[QuantizedNode], population: Population, n_steps: int) -> Interval:
    """Bounds of the membrane potential per channel, before it is compared with the threshold.

    Neurons that decide on one sum have its bounds: that of one step (graded, clip-floor), of the
    window before (sync) or of all changes so far (sigma-delta).

    For integrate-and-fire neurons with drive ``d = a + bias`` in [d_lo, d_hi] at every step:

    - downwards, nothing stops a negative drive: ``V >= min(v0, 0) + n_steps * min(d_lo, 0)``
      (a spike leaves ``V >= 0``);
    - upwards, a spike takes ``threshold`` away, so what is left after a step is at most
      ``max(v0, threshold - 1)`` plus whatever the drive exceeds the threshold by, each step.

    Raises:
        TypeError: for leaky neurons, whose wrapping and saturation are part of their definition.
    """
    if isinstance(population, CubaLIFNeurons):
        raise TypeError("leaky neurons wrap and saturate by definition")
    a = _summed(graph, population, lambda synapses: total_range(graph, synapses, n_steps))
    bias = along_channels(population.bias.values, population.shape)
    bias = bias.reshape(population.shape[0], -1)
    low, high = a.low + bias.min(axis=1), a.high + bias.max(axis=1)
    if isinstance(population, _ONE_SUM):
        return Interval(low, high)
    if isinstance(population, Readout):
        return Interval(n_steps * np.minimum(low, 0), n_steps * np.maximum(high, 0))
    return _integrate_and_fire(population, low, high, n_steps)


def states(graph: Graph[QuantizedNode], population: Population, n_steps: int) -> Interval:
    """Bounds of everything that a population keeps in its states' format.

    Of neurons whose potential only integrates (``CubaLIFNeurons.integrates``), the current's: where
    the potential saturates, that is their definition.
    """
    if isinstance(population, CubaLIFNeurons) and population.integrates:
        a = current(graph, population)
        bias = along_channels(population.bias.values, population.shape)
        ends = bias.reshape(population.shape[0], -1) * population.filtered_bias
        return Interval((a.low << 6) + ends.min(axis=1), (a.high << 6) + ends.max(axis=1))
    if isinstance(population, CubaLIFNeurons):
        return leaky(graph, population, n_steps)
    return potential(graph, population, n_steps)


def leaky(graph: Graph[QuantizedNode], node: CubaLIFNeurons, n_steps: int) -> Interval:
    """Bounds of both states of leaky neurons per channel, in their units: 2**-6 of a weight.

    Every step of the neuron is monotone in its states and its input, so the ends of an interval
    give the ends of the next one. As long as these stay inside 24 bits, nothing wraps or saturates.
    """
    a = current(graph, node)
    bias = along_channels(node.bias.values, node.shape).reshape(node.shape[0], -1)
    ends = np.stack([bias.min(axis=1), bias.max(axis=1)])
    arriving = np.stack([a.low, a.high]) << 6
    into_u, into_v = (ends, 0) if node.filtered_bias else (0, ends)
    threshold = np.broadcast_to(node.threshold.values << 6, node.shape[:1])
    drop = None if node.drop is None else np.broadcast_to(node.drop.values, node.shape[:1])
    keep_u, keep_v = 4096 - (node.current_decay + 1), 4096 - node.voltage_decay
    u = v = widest = np.zeros((2, node.shape[0]), np.int64)
    for _ in range(n_steps):
        before = u, v
        u = _toward_zero(u * keep_u) + arriving + into_u
        v = _toward_zero(_after_reset(v, threshold, drop) * keep_v) + u + into_v
        low = np.minimum(widest[0], np.minimum(u[0], v[0]))
        widest = np.stack([low, np.maximum(widest[1], np.maximum(u[1], v[1]))])
        beyond = np.abs(widest).max() > _FAR_BEYOND  # nothing more to learn
        if beyond or (np.array_equal(before[0], u) and np.array_equal(before[1], v)):
            break
    return Interval(widest[0], widest[1])


_FAR_BEYOND = 1 << 45


def _after_reset(v: Int, threshold: Int, drop: Int | None) -> Int:
    """Bounds (2, C) of what a step leaves of potentials in the given bounds."""
    low, high = v
    silent, fires = np.minimum(high, threshold), high > threshold
    if drop is None:
        return np.stack([np.minimum(low, 0), np.maximum(silent, 0)])
    fired_low = np.minimum(low, np.maximum(low, threshold + 1) - drop)
    return np.stack(
        [np.where(fires, fired_low, low), np.where(fires, np.maximum(silent, high - drop), high)]
    )


def _toward_zero(x: Int) -> Int:
    result: Int = np.sign(x) * (np.abs(x) >> 12)
    return result


_ONE_SUM = (
    GradedNeurons,
    ClipFloorNeurons,
    SyncIFNeurons,
    RadixIFNeurons,
    SyncReadout,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
)


def _integrate_and_fire(
    node: IFNeurons | SignedIFNeurons, low: Int, high: Int, n_steps: int
) -> Interval:
    # A negative spike adds a threshold to a negative potential, which stays below the threshold:
    # signed neurons have the bounds of those that only fire upwards.
    theta = node.threshold.values
    v0 = along_channels(node.initial_potential.values, node.shape).reshape(node.shape[0], -1)
    left = np.maximum(v0.max(axis=1), theta - 1)
    if isinstance(node, SignedIFNeurons) or node.reset is Reset.SUBTRACT:
        most = 1 if isinstance(node, SignedIFNeurons) else node.burst
        left = left + (n_steps - 1) * np.maximum(high - most * theta, 0)
    lowest = np.minimum(v0.min(axis=1), 0) + n_steps * np.minimum(low, 0)
    return Interval(lowest, left + np.maximum(high, 0))
