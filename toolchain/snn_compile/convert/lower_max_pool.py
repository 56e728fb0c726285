"""Max pooling as rectified differences: neurons and synapses that every chip has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from snn_compile.convert.signs import non_negative
from snn_compile.errors import CompileError, UnsupportedError, raise_all
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult


@dataclass(frozen=True)
class LowerMaxPool:
    """``max(a, b) = relu(a - b) + b`` for values that are not negative, as a tournament.

    Every round halves the candidates of a window: for a pair (a, b) one rectifier takes ``a - b``
    and one carries ``b``; their sum is the winner and is formed in the synapses of the next round,
    so a window of n values costs ``ceil(log2 n)`` layers. Integers pass the rectifiers unrounded
    (they share the scale of the pool's input), so with graded payloads the result is the exact
    maximum. In rate coding the comparators see spike trains, not values, and the maximum is
    approximate.
    """

    name: ClassVar[str] = "lower-max-pool"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Replace every max pool.

        Raises:
            UnsupportedError: a pool whose input can be negative and is not rectified afterwards.
        """
        network = _rectify_first(network)
        positive = non_negative(network)
        nodes: list[AnnNode] = []
        renamed: dict[NodeId, NodeId] = {}
        shared: dict[NodeId, NodeId] = {}  # whose scale the value of a pool has
        findings: list[Finding] = []
        refused: list[CompileError] = []
        for node in network.graph:
            if not isinstance(node, ann.MaxPool):
                nodes.append(replace(node, inputs=tuple(renamed.get(s, s) for s in node.inputs)))
            elif not positive[node.inputs[0]]:
                refused.append(
                    UnsupportedError(
                        "max pooling of values that may be negative has no spiking form",
                        origin=node.origin,
                        hint="pool after the activation, or use average pooling",
                    )
                )
            else:
                wanted = renamed.get(node.inputs[0], node.inputs[0])
                source = next(n for n in nodes if n.id == wanted)
                added = _Tournament(node, source, shared.get(source.id)).run()
                nodes.extend(added)
                renamed[node.id] = added[-1].id
                rectifiers = [n for n in added if isinstance(n, ann.Relu)]
                if rectifiers[-1].like is not None:
                    shared[added[-1].id] = rectifiers[-1].like
                neurons = sum(prod(n.shape) for n in rectifiers)
                rounds = (prod(node.kernel) - 1).bit_length()
                findings.append(
                    Finding(
                        f"max over {node.kernel[0]}x{node.kernel[1]} becomes {neurons} comparator"
                        f" neurons in {rounds} layers",
                        node.origin,
                        code="max-pool-lowered",
                    )
                )
        raise_all(refused)
        return PassResult(network.with_graph(Graph(nodes)), tuple(findings))


def _rectify_first(network: ANNGraph) -> ANNGraph:
    """Pool then rectify equals rectify then pool: put the rectifier where neurons can pool."""
    graph = network.graph
    for node in reversed(list(network.graph)):  # the last pool of a chain first
        if not isinstance(node, ann.MaxPool):
            continue
        readers = graph.consumers(node.id)
        if len(readers) != 1 or not isinstance(readers[0], ann.Relu):
            continue
        relu, source = readers[0], graph[graph[node.id].inputs[0]]
        first = replace(relu, inputs=(source.id,), shape=source.shape)
        pool = replace(node, inputs=(first.id,))
        rest = [
            replace(n, inputs=tuple(node.id if s == relu.id else s for s in n.inputs))
            for n in graph
            if n.id not in (node.id, relu.id)
        ]
        graph = Graph([*rest, first, pool])
    return network.with_graph(graph)


Candidate = tuple[NodeId, ...]
"""Rectifiers whose sum is a value."""


class _Tournament:
    """Builds the nodes that stand for one max pool.

    Args:
        pool: the pool.
        source: what it reads.
        shared: whose scale the source has if it is the value of another pool.
    """

    def __init__(self, pool: ann.MaxPool, source: AnnNode, shared: NodeId | None) -> None:
        self.pool = pool
        self.nodes: list[AnnNode] = []
        self.source = source.id
        self.like = source.id  # whose scale the comparators share
        if isinstance(source, ann.Relu):
            self.like = source.like or source.id
        else:
            named = NodeId(f"{pool.id}.in")
            first = ann.Relu(
                id=named, inputs=(source.id,), shape=source.shape, origin=pool.origin, like=shared
            )
            self.source = self._add(first)
            self.like = shared or named

    def run(self) -> list[AnnNode]:
        """All rounds; the last node is the pool's value."""
        candidates, level = self._first_round(), 1
        while len(candidates) > 1:
            pairs = list(zip(candidates[::2], candidates[1::2], strict=False))
            winners = [self._match(f"{level}.{k}", a, b) for k, (a, b) in enumerate(pairs)]
            if len(candidates) % 2:
                part = f"{level}.last"
                kept = self._sum(f"second{part}", candidates[-1])
                winners.append((self._rectifier(f"carry{part}", kept),))
            candidates, level = winners, level + 1
        self._sum("max", candidates[0])
        return self.nodes

    def _first_round(self) -> list[Candidate]:
        """The taps of the window, two by two, read straight from the source."""
        n_taps = prod(self.pool.kernel)
        candidates: list[Candidate] = []
        for k in range(0, n_taps - 1, 2):
            part = f"0.{k // 2}"
            difference = self._taps(f"difference{part}", {k: 1.0, k + 1: -1.0})
            second = self._taps(f"second{part}", {k + 1: 1.0})
            candidates.append(self._pair(part, difference, second))
        if n_taps % 2:
            last = self._taps("second0.last", {n_taps - 1: 1.0})
            candidates.append((self._rectifier("carry0.last", last),))
        return candidates

    def _match(self, part: str, a: Candidate, b: Candidate) -> Candidate:
        """The larger of two candidates."""
        difference = self._sum(f"difference{part}", a, b)
        return self._pair(part, difference, self._sum(f"second{part}", b))

    def _pair(self, part: str, difference: NodeId, second: NodeId) -> Candidate:
        excess = self._rectifier(f"excess{part}", difference)
        return excess, self._rectifier(f"carry{part}", second)

    def _rectifier(self, part: str, value: NodeId) -> NodeId:
        return self._add(ann.Relu(**self._head(part, value), like=self.like))

    def _taps(self, part: str, signs: dict[int, float]) -> NodeId:
        """``sum of sign * x[tap]`` for every window, as a depthwise convolution."""
        channels, (_, width) = self.pool.shape[0], self.pool.kernel
        weight = np.zeros((channels, 1, *self.pool.kernel), np.float32)
        for tap, sign in signs.items():
            weight[:, 0, tap // width, tap % width] = sign
        return self._add(
            ann.Conv(
                **self._head(part, self.source),
                weight=weight,
                bias=np.zeros(channels, np.float32),
                geometry=replace(self.pool.geometry, groups=channels),
            )
        )

    def _sum(self, part: str, plus: Candidate, minus: Candidate = ()) -> NodeId:
        one, zero = np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
        negated = [
            self._add(ann.Affine(**self._head(f"{part}.minus{k}", n), scale=-one, shift=zero))
            for k, n in enumerate(minus)
        ]
        return self._add(ann.Add(**self._head(part, *plus, *negated)))

    def _head(self, part: str, *inputs: NodeId) -> dict[str, Any]:
        """What every node of the tournament has."""
        return {
            "id": NodeId(f"{self.pool.id}.{part}"),
            "inputs": inputs,
            "shape": self.pool.shape,
            "origin": self.pool.origin,
        }

    def _add(self, node: AnnNode) -> NodeId:
        self.nodes.append(node)
        return node.id
