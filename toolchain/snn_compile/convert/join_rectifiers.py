"""Sums of rectifiers of one value as one function, where neurons send payloads of either sign."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np

from snn_compile.convert.linear import Float
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import Expression, X, apply
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import PassResult


@dataclass(frozen=True)
class JoinRectifiers:
    """``relu(x) - slope * relu(-x)`` becomes a function of x: one population instead of two.

    A leaky rectifier is such a sum, and so is the absolute value. Two populations would each have
    the weights of the layer before them, and be read by the layer behind them twice.
    """

    name: ClassVar[str] = "join-rectifiers"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Join the sums whose rectifiers nothing else reads."""
        joined = {node.id: node for node in sums_of_rectifiers(network)}
        nodes = [joined.get(node.id, node) for node in network.graph]
        needed = {node.id for node in nodes if isinstance(node, ann.Output)}
        for node in reversed(nodes):
            if node.id in needed:
                needed.update(node.inputs)
        kept = [node for node in nodes if node.id in needed or isinstance(node, ann.Input)]
        return PassResult(network.with_graph(Graph(kept)))


def sums_of_rectifiers(network: ANNGraph) -> Iterator[ann.Function]:
    """The functions that sums of rectifiers of one value are, under the names of the sums."""
    return (found for node in network.graph if (found := _joined(network, node)))


def _joined(network: ANNGraph, node: AnnNode) -> ann.Function | None:
    """The function that a sum of rectifiers is; None for all else."""
    if not isinstance(node, ann.Add):
        return None
    found = [_rectified(network, source) for source in node.inputs]
    roots = {part[0] for part in found if part is not None}
    if len(roots) != 1 or None in found:
        return None
    expression = reduce(
        lambda total, part: apply("add", total, part), [part[1] for part in found if part]
    )
    return ann.Function(**{**node.common_fields, "inputs": tuple(roots)}, expression=expression)


def _rectified(network: ANNGraph, name: NodeId) -> tuple[NodeId, Expression] | None:
    """The argument of a rectifier behind a node, and the node as a function of it; or None."""
    node = network.graph[name]
    if len(network.graph.consumers(name)) != 1:
        return None
    if isinstance(node, ann.Affine):
        inner, line = _rectified(network, node.inputs[0]), _line(node)
        return None if inner is None or line is None else (inner[0], _on(line, inner[1]))
    if not isinstance(node, ann.Relu) or node.levels is not None or node.like is not None:
        return None
    (source,) = node.inputs
    expression: Expression = X
    line = _line(network.graph[source])
    if line is not None:
        (source,), expression = network.graph[source].inputs, _on(line, X)
    limited = apply("max", expression, 0.0)
    return source, limited if node.cap is None else apply("min", limited, node.cap)


def _line(node: AnnNode) -> tuple[Float, Float] | None:
    """Scale and shift of each channel, or one for all; None if they differ inside a channel."""
    if not isinstance(node, ann.Affine):
        return None
    flat = [part.reshape(len(part), -1) for part in (node.scale, node.shift)]
    if any((part != part[:, :1]).any() for part in flat):
        return None
    scale, shift = (part[:, 0].astype(np.float64) for part in flat)
    return scale, shift


def _on(line: tuple[Float, Float], inner: Expression) -> Expression:
    scale, shift = line
    scaled = inner if (scale == 1).all() else apply("mul", inner, scale)
    return scaled if not shift.any() else apply("add", scaled, shift)
