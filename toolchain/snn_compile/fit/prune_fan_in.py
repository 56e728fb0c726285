"""Neurons with more sources than a core has input axons lose the synapses that matter least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.fit.additions import with_program
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
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

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PruneFanIn:
    """Drops, of each neuron with too many sources, those of least weight.

    What a source can add at most, its weight times its largest message, ranks it. What is dropped
    is lost: the network computes something else, and a finding says how much.

    Attributes:
        target: the chip, whose cores have so many input axons.
    """

    name: ClassVar[str] = "prune-fan-in"
    target: Target

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Prune every population over the limit."""
        found = self.of_program(quantization.program)
        if not found.findings:
            return PassResult(quantization)
        return PassResult(with_program(quantization, found.graph), found.findings)

    def of_program(self, program: QuantizedGraph) -> PassResult[QuantizedGraph]:
        """The network alone."""
        replaced: list[QuantizedNode] = []
        findings: list[Finding] = []
        for population in program.populations:
            limit = fan_in_limit(self.target, population)
            groups = program.synapses_into(population)
            before = [_unrolled(program, group) for group in groups]
            if limit is None or np.sum([counts for counts, _ in before], axis=0).max() <= limit:
                continue
            pruned = _pruned(program, groups, limit)
            after = [_unrolled(program, group) for group in pruned]
            replaced += pruned
            findings.append(_finding(population, limit, _totals(before), _totals(after)))
        if not findings:
            return PassResult(program)
        graph: Graph[QuantizedNode] = program.graph.edit(replaced=replaced)
        return PassResult(QuantizedGraph(graph, program.window), tuple(findings))


def fan_in_limit(target: Target, population: Population) -> int | None:
    """The most sources that a neuron of a population may have; None without a limit."""
    axons = target.input_axons_per_core.value
    if axons is None:
        return None
    own = target.synapses_per_soft_reset_neuron.value if population.soft_reset else 0
    return max(axons - own, 0)


def fan_in(program: QuantizedGraph, group: Synapses) -> Int:
    """Sources of each neuron by one synapse group, (N,)."""
    return _unrolled(program, group)[0]


def _unrolled(program: QuantizedGraph, group: Synapses) -> tuple[Int, Float]:
    """For each neuron the number of its synapses, and the sum of ``|weight| * 2**exponent``."""
    weight, n = np.abs(group.weight.values), prod(group.shape)
    number: npt.NDArray[Any]
    total: npt.NDArray[Any]
    if isinstance(group, SparseSynapses):
        row = np.repeat(np.arange(n), np.diff(group.indptr))
        number, total = np.bincount(row, weight != 0, n), np.bincount(row, weight, n)
    elif isinstance(group, DenseSynapses):
        number, total = np.count_nonzero(weight, axis=1), weight.sum(axis=1)
    else:
        ones = np.ones((*program.graph[group.inputs[0]].shape, 1))
        number, total = (
            kernels.conv2d(ones, part.astype(np.float64), group.geometry).ravel()
            for part in (weight != 0, weight)
        )
    return np.rint(number).astype(np.int64), np.ldexp(np.asarray(total, float), group.exponent)


def _totals(unrolled: Sequence[tuple[Int, Float]]) -> tuple[int, float]:
    return sum(int(n.sum()) for n, _ in unrolled), sum(float(w.sum()) for _, w in unrolled)


def _pruned(program: QuantizedGraph, groups: Sequence[Synapses], limit: int) -> list[Synapses]:
    """The groups into a population with no more synapses a neuron than the limit.

    A kernel is the same for all neurons of a map; where other synapses reach the same neurons,
    kernels and lists get their shares of the limit.
    """
    kernel = [group for group in groups if isinstance(group, ConvSynapses)]
    listed = [group for group in groups if not isinstance(group, ConvSynapses)]
    most = [
        int(sum((fan_in(program, group) for group in some), np.zeros(1, np.int64)).max())
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
