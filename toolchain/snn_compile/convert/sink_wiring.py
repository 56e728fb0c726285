"""Element-wise operators moved before the wiring between them and a layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.graph import Graph, Shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult


@dataclass(frozen=True)
class SinkWiring:
    """``Conv``, ``Gather``, then a scaling or a rectifier, becomes ``Conv``, the same, ``Gather``.

    A transposed convolution is a convolution whose channels are interleaved afterwards. With the
    rectifier before that, the convolution keeps its kernel, and the scaling can be folded into it.
    """

    name: ClassVar[str] = "sink-wiring"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Move every gather of a layer behind its reader, where that is exact."""
        graph, findings = network.graph, list[Finding]()
        for node in network.graph:
            while isinstance(gather := graph[node.id], ann.Gather):
                readers = graph.consumers(gather.id)
                source = graph[gather.inputs[0]]
                before = _of_layer(graph, source)
                if not before or len(readers) != 1 or len(graph.consumers(source.id)) != 1:
                    break
                moved = _before(readers[0], gather, source)
                if moved is None:
                    break
                findings.append(Finding(f"moved behind '{moved.id}'", gather.origin))
                graph = _swapped(graph, gather, moved)
        return PassResult(network.with_graph(graph), tuple(findings))


def _of_layer(graph: Graph[AnnNode], node: AnnNode) -> bool:
    """Whether a value is a convolution, possibly scaled and rectified."""
    while isinstance(node, ann.BatchNorm | ann.Affine | ann.Relu):
        node = graph[node.inputs[0]]
    return isinstance(node, ann.Conv)


def _swapped(graph: Graph[AnnNode], gather: ann.Gather, moved: AnnNode) -> Graph[AnnNode]:
    """The graph with the gather between the moved node and its readers."""
    later = replace(gather, inputs=(moved.id,))
    rest = [
        replace(n, inputs=tuple(gather.id if s == moved.id else s for s in n.inputs))
        for n in graph
        if n.id not in (gather.id, moved.id)
    ]
    return Graph([*rest, moved, later])


def _before(node: AnnNode, gather: ann.Gather, source: AnnNode) -> AnnNode | None:
    """A node applied to the gather's input; None if the result would differ."""
    if prod(source.shape) > prod(gather.shape):
        return None
    zeros = bool((gather.index < 0).any())
    match node:
        case ann.Relu() if node.movable:
            return replace(node.over(source.shape), inputs=(source.id,))
        case ann.Affine() | ann.BatchNorm():
            scale, shift = _parameters(node)
            if zeros and np.broadcast_to(shift, node.shape).ravel()[gather.index < 0].any():
                return None
            before = [_there(p, gather, source.shape, node.shape) for p in (scale, shift)]
            if before[0] is None or before[1] is None:
                return None
            return ann.Affine(
                id=node.id,
                inputs=(source.id,),
                shape=source.shape,
                origin=node.origin,
                scale=before[0],
                shift=before[1],
            )
    return None


def _parameters(node: ann.Affine | ann.BatchNorm) -> tuple[Float, Float]:
    if isinstance(node, ann.Affine):
        return node.scale, node.shift
    scale = node.gamma.astype(np.float64) / np.sqrt(node.var.astype(np.float64) + node.epsilon)
    column = (-1, *[1] * (len(node.shape) - 1))
    return scale.reshape(column), (node.beta - node.mean * scale).reshape(column)


def _there(value: Float, gather: ann.Gather, source: Shape, shape: Shape) -> Float | None:
    """A parameter for the gather's input from one for its output; None if a value needs two.

    Unread values get their channel's parameter, so that channels stay uniform.
    """
    wired = np.broadcast_to(value, shape).ravel().astype(np.float64)
    read = gather.index >= 0
    found = np.full(prod(source), np.nan)
    found[gather.index[read]] = wired[read]
    if not np.array_equal(found[gather.index[read]], wired[read]):
        return None
    by_channel = found.reshape(source[0], -1)
    known = np.nanmax(by_channel, axis=1, initial=-np.inf, keepdims=True)
    filled = np.where(np.isnan(by_channel), np.where(np.isfinite(known), known, 0), by_channel)
    if (filled == filled[:, :1]).all():
        return filled[:, :1].reshape(-1, *[1] * (len(source) - 1))
    return filled.reshape(source)
