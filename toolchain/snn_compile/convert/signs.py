"""Which values of a network can be negative."""

from __future__ import annotations

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph

_CARRIERS = (
    ann.MaxPool,
    ann.AveragePool,
    ann.Add,
    ann.Concat,
    ann.Pad,
    ann.Reshape,
    ann.Transpose,
    ann.Slice,
    ann.Gather,
    ann.Output,
)


def carries_sign(node: AnnNode) -> bool:
    """Whether a value is non-negative if the inputs are."""
    match node:
        case ann.AxisMatrix():
            return bool(node.matrix.min(initial=0) >= 0)
        case ann.Conv():
            return bool(node.bias.min(initial=0) >= 0 and node.weight.min(initial=0) >= 0)
    return isinstance(node, (*_CARRIERS, ann.Product))


def non_negative(network: ANNGraph) -> dict[NodeId, bool]:
    """For every node, whether its value is provably non-negative."""
    known: dict[NodeId, bool] = {}
    for node in network.graph:
        if isinstance(node, ann.Activation) and not isinstance(node, ann.Product):
            known[node.id] = node.non_negative
        else:
            known[node.id] = all(known[s] for s in node.inputs) and carries_sign(node)
        if isinstance(node, ann.Product) and node.non_negative:
            known[node.id] = True
    return known
