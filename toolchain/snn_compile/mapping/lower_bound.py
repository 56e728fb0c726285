"""A lower bound of the cores that any placement of a network needs.

It holds for every partition of the neurons into cores, not only for boxes. A core that holds ``n``
neurons of a layer needs at least ``t(n)`` input axons for them: ``halo`` says how few sources ``p``
neurons of one channel read, the core reads no fewer than its neurons of any one channel do, and so
``t`` axons suffice for at most the sum over channels of the largest such ``p``. The layer then
takes at least ``N min t(n)/n`` axons in all, over the ``n`` that a core has room for. Each synapse
of a source into another core is an output axon of the source, so the same number bounds these.
Memory is bounded by what each kernel, or each neuron's list, takes at least.

All layers together take the sums of what each takes, so no fewer cores than any sum fills; and no
fewer than any single layer needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    DenseSynapses,
    Population,
    QuantizedGraph,
    Synapses,
)
from snn_compile.mapping.block import as_map, capacity
from snn_compile.mapping.conv_counts import ConvCounts
from snn_compile.mapping.fan_out import Counts
from snn_compile.mapping.halo import EXACT, ConvHalo, classes
from snn_compile.mapping.memory import LeastMemory, format_of
from snn_compile.targets.target import Target

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

SIZES = 400
"""Numbers of neurons of a channel, and of axons, that are tried; all, where there are no more."""
MAX_COVER = 10_000
"""Sums of axons that are tried for whole cores; with more, a fraction of a core matters little."""


@dataclass(frozen=True)
class Least:
    """What any placement needs.

    Attributes:
        cores: their number.
        layers: for each population the least of each limit, in the order of ``LIMITS``.
    """

    cores: int
    layers: Mapping[NodeId, tuple[int, int, int, int]]

    def shares(self, target: Target) -> list[float]:
        """Of each limit, the least of all layers together, in cores."""
        return [
            0.0
            if limit is None
            else sum(layer[i] for layer in self.layers.values()) / max(limit, 1)
            for i, limit in enumerate(capacity(target))
        ]


def _ratio(axons: Float, neurons: Float, room: float, free: int = 0) -> float:
    """The fewest axons for each neuron on cores with room for so many.

    A core with more than ``neurons[k - 1]`` and at most ``neurons[k]`` of them needs ``axons[k]``.
    """
    before = np.concatenate([[0.0], neurons[:-1]])
    held = (before < room) & (neurons > before)
    if not held.any():
        return 0.0
    return float((np.maximum(0.0, axons[held] - free) / np.minimum(neurons[held], room)).min())


def _whole(axons: Float, neurons: Float, room: float, n: int, free: int) -> float:
    """The fewest axons for so many neurons in whole cores, whereas a ratio allows fractions of one.

    It is the smallest sum of axons for which the neurons that they can suffice for, the most by
    dynamic programming, are enough. 0 if there are too many sums.
    """
    before = np.concatenate([[0.0], neurons[:-1]])
    held = (before < room) & (neurons > before)
    each = np.ceil(np.maximum(0.0, axons[held] - free) - EXACT).astype(np.int64)
    if not each.size or each[0] == 0:
        return 0.0
    unit = int(np.gcd.reduce(each))
    each //= unit
    holds = np.minimum(neurons[held], room)
    last = (int(n / holds[-1]) + 1) * int(each[-1])
    if last > MAX_COVER:
        return 0.0
    most = np.zeros(last + 1)
    for total in range(int(each[0]), last + 1):
        count = np.searchsorted(each, total, side="right")
        most[total] = (most[total - each[:count]] + holds[:count]).max()
        if most[total] >= n - EXACT:
            return float(total * unit)
    return 0.0


class _Group:
    """The least axons that one synapse group takes.

    Channels that share no source, as those of a relay or of a depthwise convolution, are apart: a
    core needs the sum of what each of such classes needs, and within a class at least the most that
    any channel does.
    """

    def __init__(self, synapses: Synapses, counts: Counts, source: Shape) -> None:
        shape = as_map(synapses.shape)
        self.per_channel = shape[1] * shape[2]
        self.sizes = _sizes(self.per_channel)
        fewest, labels = _fewest(synapses, counts, source, self.sizes)
        reads = fewest[:, -1] > 0
        self.free = int((~reads).sum()) * self.per_channel
        """Neurons without sources, which fit anywhere."""
        fewest, labels = np.maximum.accumulate(fewest[reads], axis=1), labels[reads]
        names, members = np.unique(labels, return_counts=True)
        self.apart = fewest[np.isin(labels, names[members == 1])]
        self.n_alike = 1
        """Channels that each row of these stands for."""
        if len(self.apart) and (self.apart == self.apart[:1]).all():
            self.n_alike, self.apart = len(self.apart), self.apart[:1]
        self.classes = [fewest[labels == name] for name in names[members > 1]]
        self.curves = [self._curve(each) for each in self.classes]

    def _curve(self, fewest: Float) -> tuple[Float, Float]:
        """The axons and the neurons that they can suffice for, of channels with common sources."""
        axons = np.unique(fewest)
        is_exact = len(axons) <= SIZES
        if not is_exact:
            axons = axons[np.linspace(0, len(axons) - 1, SIZES).astype(np.int64)]
        room = np.concatenate(
            [self.sizes - 1, self.sizes[-1:]]
        )  # between two sizes that were tried
        neurons = np.zeros(len(axons))
        for row in fewest:
            neurons += room[np.searchsorted(row, axons + EXACT, side="right")]
        if not is_exact:  # between two that were tried, only the lower one's axons are certain
            axons, neurons = axons[:-1], neurons[1:]
        return axons, neurons

    def _rates_apart(self, room: float, free: int = 0) -> Float:
        """Axons for each neuron of channels that share no sources."""
        most = np.concatenate([self.sizes[1:] - 1, self.sizes[-1:]])
        held = self.sizes <= room
        return np.asarray(
            (np.maximum(0.0, self.apart[:, held] - free) / np.minimum(most[held], room)).min(axis=1)
        )

    def least(self, room: float, free: int = 0) -> float:
        """The fewest axons of all cores.

        Args:
            room: for so many neurons on each.
            free: axons of each block that do not count.
        """
        total = self.n_alike * self.per_channel * float(self._rates_apart(room, free).sum())
        for fewest, curve in zip(self.classes, self.curves, strict=True):
            total += max(
                len(kept)
                * self.per_channel
                * _ratio(*(curve if all_ else self._curve(kept)), room, free)
                for kept, all_ in _without_the_least(fewest)
            )
        if len(self.classes) == 1 and not len(self.apart):  # each core holds one neuron at least
            cores = ceil(len(self.classes[0]) * self.per_channel / room - EXACT)
            total = max(total, cores * max(0.0, float(self.classes[0][:, 0].min()) - free))
            size = len(self.classes[0]) * self.per_channel
            total = max(total, _whole(*self.curves[0], room, size, free))
        return total

    def needed(self, n: float) -> float:
        """The fewest axons of a core with so many neurons."""
        n -= self.free
        if n <= 0:
            return 0.0
        if len(self.curves) == 1 and not len(self.apart):
            axons, neurons = self.curves[0]
            found = np.searchsorted(neurons, n - EXACT)
            return float(axons[found]) if found < len(axons) else inf
        return self.at_best_rate(n)

    def beyond(self, n: float) -> float:
        """The fewest axons of blocks with so many neurons together, the first of each not counted.

        Blocks of one core may read the same source, which adds to the lists of each.
        """
        return self.at_best_rate(max(0.0, n - self.free), free=1)

    def at_best_rate(self, n: float, free: int = 0) -> float:
        """The fewest axons of so many neurons in blocks of at most so many."""
        if n < 1:
            return 0.0
        rates = [float(rate) for rate in self._rates_apart(n, free)]
        rates += [_ratio(*curve, n, free) for curve in self.curves]
        return n * min(rates, default=0.0)


def _without_the_least(fewest: Float) -> Iterator[tuple[Float, bool]]:
    """Channels with common sources, and those of them that need more than a share of the most.

    A few channels with hardly any weights would set the price for all.
    """
    yield fewest, True
    whole = fewest[:, -1]
    for share in (0.25, 0.5, 0.75, 0.9):
        kept = whole > share * whole.max()
        if not kept.all():
            yield fewest[kept], False


def _sizes(most: int) -> Int:
    """All numbers up to the most, or ``SIZES`` of them, close together where they are small."""
    if most <= SIZES:
        return np.arange(1, most + 1)
    spread = np.geomspace(1, most, SIZES)
    return np.unique(np.concatenate([spread.astype(np.int64), [most]]))


def _fewest(synapses: Synapses, counts: Counts, source: Shape, sizes: Int) -> tuple[Float, Int]:
    """(channels, sizes): the fewest sources of so many neurons of one channel; their classes."""
    channels, height, width = as_map(synapses.shape)
    if isinstance(counts, ConvCounts):
        halo = ConvHalo(counts.synapse_group, source, counts.used)
        return halo(sizes), classes(counts.used, counts.synapse_group.geometry.groups)
    per_neuron = counts.fan_in().reshape(channels, height * width)
    if isinstance(synapses, DenseSynapses):
        least = per_neuron.min(axis=1).astype(np.float64)
        return np.repeat(least[:, None], len(sizes), axis=1), np.zeros(channels, dtype=np.int64)
    shared = max(1, int(counts.fan_out().max(initial=0)))
    in_order = np.sort(per_neuron, axis=1).cumsum(axis=1)
    return np.asarray(in_order[:, sizes - 1] / shared, dtype=np.float64), np.arange(channels)


class _Layer:
    """The bounds of one population."""

    def __init__(
        self,
        program: QuantizedGraph,
        population: Population,
        incoming: Sequence[tuple[Synapses, Counts]],
        readers: Sequence[Counts],
        target: Target,
    ) -> None:
        self.size = prod(population.shape)
        soft = population.soft_reset
        self.compartments = target.neurons_per_soft_reset_neuron.value if soft else 1
        self.recurrent = target.synapses_per_soft_reset_neuron.value if soft else 0
        shape = as_map(population.shape)
        sources = [program.graph[s.inputs[0]] for s, _ in incoming]
        self.groups = [
            _Group(synapses, counts, source.shape)
            for (synapses, counts), source in zip(incoming, sources, strict=True)
        ]
        limits = [inf if n is None else float(n) for n in capacity(target)]
        memory = LeastMemory(shape, incoming, self.recurrent, target)
        neurons = limits[0] if limits[0] == inf else limits[0] // self.compartments
        rooms = neurons, memory.room(limits[1]), self._sending(readers, limits[3]), float(self.size)
        self.room = self._room(max(1.0, min(rooms)), limits[2], limits[1], memory)
        self.axons = [group.least(self.room) for group in self.groups]
        copies = max(1, ceil(shape[1] * shape[2] / self.room - EXACT))
        beyond = sum(
            group.least(self.room, free=1)
            for group, is_listed in zip(self.groups, memory.is_listed, strict=True)
            if is_listed
        )
        self.memory_bits = memory.total(copies, beyond)

    def _sending(self, readers: Sequence[Counts], limit: float) -> float:
        """The most neurons that a core has output axons for, one for each group that reads one."""
        axons = np.full(self.size, self.recurrent)
        if len(readers) * self.size > limit:
            axons += sum((counts.fan_out().ravel() > 0).astype(np.int64) for counts in readers)
        return float(np.searchsorted(np.sort(axons).cumsum(), limit, side="right"))

    def _room(self, most: float, axons: float, bits: float, memory: LeastMemory) -> float:
        """The most neurons that a core has input axons and memory for, by bisection."""
        listed = [
            g for g, is_listed in zip(self.groups, memory.is_listed, strict=True) if is_listed
        ]

        def fits(n: float) -> bool:
            needed = sum(group.needed(n) for group in self.groups)
            if needed + n * self.recurrent > axons + EXACT:
                return False
            beyond = sum(group.beyond(n) for group in listed)
            return not listed or memory.least_lists(n) + memory.per_axon * beyond <= bits + EXACT

        if fits(most):
            return most
        low, high = 1.0, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def least(self, sent: int) -> tuple[int, int, int, int]:
        """Of each limit, with what its readers need of its output axons."""
        own = self.size * self.recurrent
        axons = sum(map(_up, self.axons))
        return self.size * self.compartments, _up(self.memory_bits), axons + own, sent + own


def lower_bound(program: QuantizedGraph, target: Target, counts: Mapping[NodeId, Counts]) -> Least:
    """What any placement of a network needs."""
    layers: dict[NodeId, _Layer] = {}
    alike: dict[tuple[object, ...], _Layer] = {}
    form = format_of(target)
    sent: dict[NodeId, int] = {node.id: 0 for node in program.graph}
    readers = _readers(program, counts)
    for population in program.populations:
        incoming = [(s, counts[s.id]) for s in program.synapses_into(population)]
        read = tuple((counted, form.each(synapses)) for synapses, counted in incoming)
        reading = tuple(readers[population.id])
        key = as_map(population.shape), population.soft_reset, read, reading
        if key not in alike:
            alike[key] = _Layer(program, population, incoming, reading, target)
        layer = layers[population.id] = alike[key]
        for (synapses, _), axons in zip(incoming, layer.axons, strict=True):
            sent[synapses.inputs[0]] += ceil(axons - EXACT)
    alone = max((ceil(layer.size / layer.room - EXACT) for layer in layers.values()), default=0)
    least = Least(
        max(1, alone),
        {name: layer.least(sent[name]) for name, layer in layers.items()},
    )
    return replace(least, cores=max(least.cores, *map(_up, least.shares(target))))


def _readers(
    program: QuantizedGraph, counts: Mapping[NodeId, Counts]
) -> Mapping[NodeId, list[Counts]]:
    """Of each population, the groups that read it."""
    found: dict[NodeId, list[Counts]] = {node.id: [] for node in program.graph}
    for population in program.populations:
        for synapses in program.synapses_into(population):
            found[synapses.inputs[0]].append(counts[synapses.id])
    return found


def _up(number: float) -> int:
    return ceil(number - EXACT)
