"""Max pooling as rectified differences: neurons and synapses available on every chip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.convert.signs import non_negative
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult


@dataclass(frozen=True)
class LowerMaxPool:
    """``max(a, b) = relu(a - b) + b`` for non-negative values, as a tournament.

    Every round halves the candidates of a window: for a pair (a, b) one rectifier takes ``a - b``
    and one carries ``b``; their sum is the winner and is formed in the synapses of the next round,
    so a window of n values costs ``ceil(log2 n)`` layers. Integers pass the rectifiers unrounded
    (they share the scale of the pool's input), so with graded payloads the result is the exact
    maximum. In rate coding the comparators see spike trains, not values, and the maximum is
    approximate.

    A value of both signs is ``relu(x) - relu(-x)``, and the maximum over its window is the maximum
    of the first minus the minimum of the second: if any value is positive, the minimum is 0, else
    the maximum is. ``min(a, b) = b - relu(b - a)`` is a tournament as well.
    """

    name: ClassVar[str] = "lower-max-pool"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Replace every max pool."""
        network = _rectify_first(network)
        positive = non_negative(network)
        nodes: list[AnnNode] = []
        renamed: dict[NodeId, NodeId] = {}
        shared: dict[NodeId, NodeId] = {}  # owner of the scale of a pool's value
        findings: list[Finding] = []
        for node in network.graph:
            if not isinstance(node, ann.MaxPool):
                nodes.append(replace(node, inputs=tuple(renamed.get(s, s) for s in node.inputs)))
            else:
                wanted = renamed.get(node.inputs[0], node.inputs[0])
                source = next(n for n in nodes if n.id == wanted)
                if positive[node.inputs[0]]:
                    added = _Tournament(node, source, shared.get(source.id)).run()
                else:
                    added = _of_both_signs(node, source)
                nodes.extend(added)
                renamed[node.id] = added[-1].id
                rectifiers = [n for n in added if isinstance(n, ann.Relu)]
                if positive[node.inputs[0]] and rectifiers[-1].like is not None:
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
        return PassResult(network.with_graph(Graph(nodes)), tuple(findings))


def _rectify_first(network: ANNGraph) -> ANNGraph:
    """Move rectifiers before pools: the result is equal, and neurons can pool it."""
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


def _of_both_signs(pool: ann.MaxPool, source: AnnNode) -> list[AnnNode]:
    """The nodes of a max pool over values of both signs."""
    origin, shape = pool.origin, source.shape

    def named(part: str, *inputs: NodeId) -> dict[str, Any]:
        return {"id": NodeId(f"{pool.id}.{part}"), "inputs": inputs, "origin": origin}

    def negated(part: str, of: AnnNode) -> ann.Affine:
        one = np.ones([1] * len(of.shape), np.float32)
        zero = np.zeros_like(one)
        return ann.Affine(**named(part, of.id), shape=of.shape, scale=-one, shift=zero)

    positive = ann.Relu(**named("positive", source.id), shape=shape)
    flipped = negated("flipped", source)
    negative = ann.Relu(**named("negative", flipped.id), shape=shape)
    largest = _Tournament(replace(pool, id=NodeId(f"{pool.id}.most")), positive, None).run()
    least = _Tournament(
        replace(pool, id=NodeId(f"{pool.id}.least")), negative, None, smallest=True
    ).run()
    restored = negated("restored", least[-1])
    total = ann.Add(**named("value", largest[-1].id, restored.id), shape=pool.shape)
    return [positive, flipped, negative, *largest, *least, restored, total]


@dataclass(frozen=True)
class Candidate:
    """A value as the sum of some rectifiers minus the sum of others."""

    plus: tuple[NodeId, ...]
    minus: tuple[NodeId, ...] = ()


NOTHING = Candidate(())


class _Tournament:
    """Builds the nodes of one pool.

    Args:
        pool: the pool.
        source: its input; never negative.
        shared: owner of the source's scale if the source is the value of another pool.
        smallest: whether it is a minimum instead of a maximum.
    """

    def __init__(
        self,
        pool: ann.MaxPool,
        source: AnnNode,
        shared: NodeId | None,
        *,
        smallest: bool = False,
    ) -> None:
        self.pool = pool
        self.smallest = smallest
        self.source_shape = source.shape
        self.nodes: list[AnnNode] = []
        self.source = source.id
        self.like = source.id  # owner of the comparators' scale
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
                winners.append(Candidate((self._rectifier(f"carry{part}", kept),)))
            candidates, level = winners, level + 1
        self._sum("max", candidates[0])
        return self.nodes

    def _first_round(self) -> list[Candidate]:
        """The taps of the window in pairs, read directly from the source."""
        n_taps = prod(self.pool.kernel)
        candidates: list[Candidate] = []
        for k in range(0, n_taps - 1, 2):
            part = f"0.{k // 2}"
            sign = -1.0 if self.smallest else 1.0
            difference = self._taps(f"difference{part}", {k: sign, k + 1: -sign})
            second = self._taps(f"second{part}", {k + 1: 1.0})
            candidates.append(self._pair(part, difference, second))
        if n_taps % 2:
            last = self._taps("second0.last", {n_taps - 1: 1.0})
            candidates.append(Candidate((self._rectifier("carry0.last", last),)))
        return candidates

    def _match(self, part: str, a: Candidate, b: Candidate) -> Candidate:
        """The winner of two candidates."""
        first, second = (b, a) if self.smallest else (a, b)
        difference = self._sum(f"difference{part}", first, second)
        return self._pair(part, difference, self._sum(f"second{part}", b))

    def _pair(self, part: str, difference: NodeId, second: NodeId) -> Candidate:
        excess = self._rectifier(f"excess{part}", difference)
        carry = self._rectifier(f"carry{part}", second)
        return Candidate((carry,), (excess,)) if self.smallest else Candidate((excess, carry))

    def _rectifier(self, part: str, value: NodeId) -> NodeId:
        return self._add(ann.Relu(**self._head(part, value), like=self.like))

    def _taps(self, part: str, signs: dict[int, float]) -> NodeId:
        """``sum of sign * x[tap]`` for every window, as a depthwise convolution."""
        if self.smallest and any(self.pool.geometry.padding):
            return self._inside(part, signs)
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

    def _inside(self, part: str, signs: dict[int, float]) -> NodeId:
        """As ``_taps``, but a tap outside the map repeats one inside, since 0 would win."""
        plus, minus = list[NodeId](), list[NodeId]()
        for tap, sign in signs.items():
            head = self._head(f"{part}.tap{tap}", self.source)
            index = _tap_inside(self.pool, self.source_shape, tap)
            (plus if sign > 0 else minus).append(self._add(ann.Gather(**head, index=index)))
        return self._sum(part, Candidate(tuple(plus), tuple(minus)))

    def _sum(self, part: str, a: Candidate, b: Candidate = NOTHING) -> NodeId:
        """``a - b``."""
        one, zero = np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
        negated = [
            self._add(ann.Affine(**self._head(f"{part}.minus{k}", n), scale=-one, shift=zero))
            for k, n in enumerate((*a.minus, *b.plus))
        ]
        return self._add(ann.Add(**self._head(part, *a.plus, *b.minus, *negated)))

    def _head(self, part: str, *inputs: NodeId) -> dict[str, Any]:
        """Fields common to every node of the tournament."""
        return {
            "id": NodeId(f"{self.pool.id}.{part}"),
            "inputs": inputs,
            "shape": self.pool.shape,
            "origin": self.pool.origin,
        }

    def _add(self, node: AnnNode) -> NodeId:
        self.nodes.append(node)
        return node.id


def _tap_inside(pool: ann.MaxPool, shape: Shape, tap: int) -> npt.NDArray[np.int64]:
    """Index read by a tap in each window; outside the map, that of the first tap inside."""
    lines = []
    steps = zip(
        pool.kernel,
        divmod(tap, pool.kernel[1]),
        pool.geometry.stride,
        pool.geometry.padding,
        pool.geometry.dilation,
        pool.shape[1:],
        shape[1:],
        strict=False,
    )
    for taps, own, stride, before, dilation, count, size in steps:
        first = np.arange(count) * stride - before
        at = first[:, None] + dilation * np.arange(taps)
        inside = (at >= 0) & (at < size)
        other = np.take_along_axis(at, inside.argmax(axis=1, keepdims=True), 1)[:, 0]
        lines.append(np.where(inside[:, own], at[:, own], other))
    channels = np.arange(shape[0])[:, None, None] * (shape[1] * shape[2])
    index: npt.NDArray[np.int64] = channels + lines[0][:, None] * shape[2] + lines[1]
    return index.ravel()
