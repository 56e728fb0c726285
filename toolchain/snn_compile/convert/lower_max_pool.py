"""Max pooling as rectified differences: neurons and synapses that every chip has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

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
                added = _tournament(
                    replace(node, inputs=(source.id,)), source, shared.get(source.id)
                )
                nodes.extend(added)
                renamed[node.id] = added[-1].id
                rectifiers = [n for n in added if isinstance(n, ann.Relu)]
                if rectifiers[-1].like is not None:
                    shared[added[-1].id] = rectifiers[-1].like
                neurons = sum(prod(n.shape) for n in rectifiers)
                rounds = int(np.ceil(np.log2(prod(node.kernel))))
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


def _tournament(pool: ann.MaxPool, source: AnnNode, shared: NodeId | None) -> list[AnnNode]:
    """The nodes that stand for a max pool; the last one is its value.

    Args:
        pool: the pool.
        source: what it reads.
        shared: whose scale the source has if it is a pool's value.
    """
    nodes: list[AnnNode] = []

    def add(node: AnnNode) -> NodeId:
        nodes.append(node)
        return node.id

    def named(part: str) -> NodeId:
        return NodeId(f"{pool.id}.{part}")

    like = source.id
    if not isinstance(source, ann.Relu):  # the comparators need a scale to share
        first = ann.Relu(
            id=named("in"),
            inputs=(source.id,),
            shape=source.shape,
            origin=pool.origin,
            like=shared,
        )
        added = add(first)
        like = shared or added
    elif source.like is not None:
        like = source.like

    def rectifier(part: str, value: NodeId) -> NodeId:
        return add(
            ann.Relu(
                id=named(part), inputs=(value,), shape=pool.shape, origin=pool.origin, like=like
            )
        )

    def taps(part: str, signs: dict[int, float]) -> NodeId:
        """``sum of sign * x[tap]`` for every window, as a depthwise convolution."""
        weight = np.zeros((pool.shape[0], 1, *pool.kernel), np.float32)
        for tap, sign in signs.items():
            weight[:, 0, tap // pool.kernel[1], tap % pool.kernel[1]] = sign
        return add(
            ann.Conv(
                id=named(part),
                inputs=(nodes[0].id if nodes and nodes[0].id == named("in") else source.id,),
                shape=pool.shape,
                origin=pool.origin,
                weight=weight,
                bias=np.zeros(pool.shape[0], np.float32),
                geometry=replace(pool.geometry, groups=pool.shape[0]),
            )
        )

    def total(part: str, plus: tuple[NodeId, ...], minus: tuple[NodeId, ...] = ()) -> NodeId:
        one, zero = np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
        negated = tuple(
            add(
                ann.Affine(
                    id=NodeId(f"{n}.negated.{part}"),
                    inputs=(n,),
                    shape=pool.shape,
                    origin=pool.origin,
                    scale=-one,
                    shift=zero,
                )
            )
            for n in minus
        )
        return add(
            ann.Add(id=named(part), inputs=(*plus, *negated), shape=pool.shape, origin=pool.origin)
        )

    # A candidate is a tuple of rectifiers whose sum is the value.
    candidates: list[tuple[NodeId, ...]] = []
    n_taps = prod(pool.kernel)
    for k in range(0, n_taps - 1, 2):
        difference = taps(f"difference0.{k // 2}", {k: 1.0, k + 1: -1.0})
        second = taps(f"second0.{k // 2}", {k + 1: 1.0})
        candidates.append(
            (rectifier(f"excess0.{k // 2}", difference), rectifier(f"carry0.{k // 2}", second))
        )
    if n_taps % 2:
        last = taps("second0.last", {n_taps - 1: 1.0})
        candidates.append((rectifier("carry0.last", last),))
    level = 1
    while len(candidates) > 1:
        winners: list[tuple[NodeId, ...]] = []
        for k in range(0, len(candidates) - 1, 2):
            part = f"{level}.{k // 2}"
            a, b = candidates[k], candidates[k + 1]
            difference = total(f"difference{part}", a, b)
            second = total(f"second{part}", b)
            winners.append(
                (rectifier(f"excess{part}", difference), rectifier(f"carry{part}", second))
            )
        if len(candidates) % 2:
            kept = total(f"second{level}.last", candidates[-1])
            winners.append((rectifier(f"carry{level}.last", kept),))
        candidates, level = winners, level + 1
    total("max", candidates[0])
    return nodes
