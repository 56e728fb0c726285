"""Neurons with more sources than a core has input axons lose the synapses that matter least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.fit.additions import with_program
from snn_compile.fit.fan_in import Need, fan_in, need
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    ConvSynapses,
    Population,
    QuantizedGraph,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_compile.passes import APPROXIMATION, Finding, PassResult
from snn_compile.quantize.quantize import Quantization
from snn_compile.sim import bounds, kernels
from snn_compile.targets.target import Target


@dataclass(frozen=True)
class PruneFanIn:
    """Drops, of each neuron that no core holds and nothing splits, the sources of least weight.

    What a source can add at most, its weight times its largest message, ranks it. What is dropped
    is lost: the network computes something else, and a finding says how much.

    Attributes:
        target: the chip.
        stock: whether only Lava's stock neurons may be used, so that nothing is split.
    """

    name: ClassVar[str] = "prune-fan-in"
    target: Target
    stock: bool = False

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Prune what nothing exact makes fit."""
        found = self.of_program(quantization.program)
        if not found.findings:
            return PassResult(quantization)
        return PassResult(with_program(quantization, found.graph), found.findings)

    def of_program(self, program: QuantizedGraph) -> PassResult[QuantizedGraph]:
        """The network alone."""
        replaced: list[QuantizedNode] = []
        findings: list[Finding] = []
        for name, first in SplitFanIn(self.target, self.stock).without_remedy(program).items():
            population = program.graph[name]
            if not isinstance(population, Population):
                raise TypeError(f"'{name}' is no population")
            groups = program.synapses_into(population)
            limit, pruned = self._pruned(program, population, first)
            replaced += pruned
            before, after = (_total(program, some) for some in (groups, pruned))
            findings.append(_finding(population, limit, before, after))
        if not findings:
            return PassResult(program)
        graph: Graph[QuantizedNode] = program.graph.edit(replaced=replaced)
        return PassResult(QuantizedGraph(graph, program.window), tuple(findings))

    def _pruned(
        self, program: QuantizedGraph, population: Population, first: Need
    ) -> tuple[int, list[Synapses]]:
        """The most sources with which every neuron fits a core, and the groups with so many."""
        limit = first.sources if first.most_sources is None else first.most_sources
        groups = program.synapses_into(population)
        while True:
            pruned = _within(program, groups, limit)
            incoming = [(group, program.graph[group.inputs[0]].shape) for group in pruned]
            left = need(population, incoming, self.target)
            if left.fits or not limit:
                return limit, pruned
            most = left.most_memory or left.memory
            limit = min(limit - 1, left.sources * most // max(left.memory, 1))


def _total(program: QuantizedGraph, groups: Sequence[Synapses]) -> tuple[int, float]:
    """Synapses, and the sum of their ``|weight| * 2**exponent``."""
    number, total = 0, 0.0
    for group in groups:
        shape = program.graph[group.inputs[0]].shape
        number += int(fan_in(group, shape).sum())
        weight: npt.NDArray[Any] = np.abs(group.weight.values).astype(np.float64)
        if isinstance(group, ConvSynapses):  # each tap as often as it meets the map
            weight = kernels.conv2d(np.ones((*shape, 1)), weight, group.geometry)
        total += float(np.ldexp(weight.sum(), group.exponent))
    return number, total


def _within(program: QuantizedGraph, groups: Sequence[Synapses], limit: int) -> list[Synapses]:
    """The groups into a population with no more synapses a neuron than the limit.

    A kernel is the same for all neurons of a map; where other synapses reach the same neurons,
    kernels and lists get their shares of the limit.
    """
    kernel = [group for group in groups if isinstance(group, ConvSynapses)]
    listed = [group for group in groups if not isinstance(group, ConvSynapses)]
    most = [
        sum(int(fan_in(group, program.graph[group.inputs[0]].shape).max()) for group in some)
        for some in (kernel, listed)
    ]
    share = limit * most[0] // max(sum(most), 1)
    return [
        *_of_least_weight(program, kernel, share),
        *_of_least_weight(program, listed, limit - share),
    ]


def _of_least_weight(
    program: QuantizedGraph, groups: Sequence[Synapses], limit: int
) -> Iterator[Synapses]:
    """Groups of one form without the synapses of each row that rank behind the limit."""
    if not groups:
        return
    rows, ranks = [], []
    for group in groups:
        low, high = bounds.message_range(program.graph, group)
        size = np.abs(group.weight.values).astype(np.float64) * max(abs(low), abs(high))
        rows.append(_rows(group))
        ranks.append(np.ldexp(size.ravel(), group.exponent))
    row, rank = np.concatenate(rows), np.concatenate(ranks)
    order = np.lexsort((-rank, row))
    first = np.searchsorted(row[order], np.arange(row.max(initial=0) + 1))
    keeps = np.empty(len(row), bool)
    keeps[order] = np.arange(len(row)) - first[row[order]] < limit
    start = 0
    for group, own in zip(groups, rows, strict=True):
        yield _kept(group, keeps[start : start + len(own)])
        start += len(own)


def _rows(group: Synapses) -> Int:
    """The kernel, or the neuron, that each weight belongs to."""
    if isinstance(group, SparseSynapses):
        return np.repeat(np.arange(prod(group.shape)), np.diff(group.indptr))
    weight = group.weight.values
    return np.repeat(np.arange(len(weight)), weight[0].size)


def _kept(group: Synapses, keeps: npt.NDArray[np.bool_]) -> Synapses:
    values = group.weight.values
    if not isinstance(group, SparseSynapses):
        kept = np.where(keeps.reshape(values.shape), values, 0)
        return replace(group, weight=QTensor(kept, group.weight.format))
    indptr = np.concatenate([[0], np.cumsum(keeps)])[group.indptr].astype(np.int64)
    weight = QTensor(values[keeps], group.weight.format)
    return replace(group, indptr=indptr, indices=group.indices[keeps], weight=weight)


def _finding(
    population: Population, limit: int, before: tuple[int, float], after: tuple[int, float]
) -> Finding:
    (n_before, sum_before), (n_after, sum_after) = before, after
    share = 100 * (1 - sum_after / sum_before)
    message = (
        f"{n_before - n_after:,} of {n_before:,} synapses of '{population.id}' were dropped, so"
        f" that no neuron has more than {limit:,} sources: {share:.1f} % of the sum of |weight|"
    )
    return Finding(message, population.origin, code=APPROXIMATION, warning=True)
