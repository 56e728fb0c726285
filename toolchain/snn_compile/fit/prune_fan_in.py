"""Pruning of fan-in that exceeds a core and cannot be split, for ``--allow-approximate``."""

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
    """Prunes the least synapses of each neuron that exceeds a core and cannot be split.

    Synapses are ranked by ``|weight| * 2**exponent * max |message|``, the most that each can add to
    a sum. The network computes different sums afterwards; a finding states the pruned share.

    Attributes:
        target: the chip.
        stock: whether only Lava's stock neurons are allowed, which precludes splitting.
    """

    name: ClassVar[str] = "prune-fan-in"
    target: Target
    stock: bool = False

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Prune the layers for which no exact remedy exists."""
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
            limit, pruned = self._prune(program, population, first)
            replaced += pruned
            before, after = (_total(program, some) for some in (groups, pruned))
            findings.append(_finding(population, limit, before, after))
        if not findings:
            return PassResult(program)
        graph: Graph[QuantizedNode] = program.graph.edit(replaced=replaced)
        return PassResult(QuantizedGraph(graph, program.window), tuple(findings))

    def _prune(
        self, program: QuantizedGraph, population: Population, first: Need
    ) -> tuple[int, list[Synapses]]:
        """A fan-in with which every neuron fits a core, and the groups pruned to it."""
        limit = first.sources if first.most_sources is None else first.most_sources
        groups = program.synapses_into(population)
        while True:
            pruned = _limit_fan_in(program, groups, limit)
            incoming = [(group, program.graph[group.inputs[0]].shape) for group in pruned]
            left = need(population, incoming, self.target)
            if left.fits or not limit:
                return limit, pruned
            most = left.most_memory or left.memory
            limit = min(limit - 1, left.sources * most // max(left.memory, 1))


def _total(program: QuantizedGraph, groups: Sequence[Synapses]) -> tuple[int, float]:
    """The number of nonzero synapses, and the sum of ``|weight| * 2**exponent`` over them."""
    number, total = 0, 0.0
    for group in groups:
        shape = program.graph[group.inputs[0]].shape
        number += int(fan_in(group, shape).sum())
        weight: npt.NDArray[Any] = np.abs(group.weight.values).astype(np.float64)
        if isinstance(group, ConvSynapses):  # each tap as often as it falls inside the map
            weight = kernels.conv2d(np.ones((*shape, 1)), weight, group.geometry)
        total += float(np.ldexp(weight.sum(), group.exponent))
    return number, total


def _limit_fan_in(
    program: QuantizedGraph, groups: Sequence[Synapses], limit: int
) -> list[Synapses]:
    """The groups into a population, pruned to a fan-in of at most the limit.

    All neurons of a map share a kernel. If a population has kernels and other synapses, the limit
    is divided between the two in proportion to their fan-in.
    """
    kernel = [group for group in groups if isinstance(group, ConvSynapses)]
    listed = [group for group in groups if not isinstance(group, ConvSynapses)]
    most = [
        sum(int(fan_in(group, program.graph[group.inputs[0]].shape).max()) for group in some)
        for some in (kernel, listed)
    ]
    share = limit * most[0] // max(sum(most), 1)
    return [
        *_keep_largest(program, kernel, share),
        *_keep_largest(program, listed, limit - share),
    ]


def _keep_largest(
    program: QuantizedGraph, groups: Sequence[Synapses], limit: int
) -> Iterator[Synapses]:
    """Groups of one form with the highest-ranked synapses of each row, up to the limit."""
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
        yield _select(group, keeps[start : start + len(own)])
        start += len(own)


def _rows(group: Synapses) -> Int:
    """(weights,), int64: the kernel or the neuron of each weight."""
    if isinstance(group, SparseSynapses):
        return np.repeat(np.arange(prod(group.shape)), np.diff(group.indptr))
    weight = group.weight.values
    return np.repeat(np.arange(len(weight)), weight[0].size)


def _select(group: Synapses, keeps: npt.NDArray[np.bool_]) -> Synapses:
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
        f"{n_before - n_after:,} of {n_before:,} synapses of '{population.id}' are pruned to limit"
        f" the fan-in to {limit:,}; they carry {share:.1f} % of the sum of |weight|"
    )
    return Finding(message, population.origin, code=APPROXIMATION, warning=True)
