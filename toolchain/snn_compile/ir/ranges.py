"""Bounds of a network's values for any input."""

from __future__ import annotations

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import INFINITE, Ends, ends
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph

_MOVES = (ann.Output, ann.Reshape, ann.Transpose, ann.Slice, ann.MaxPool)
_MOVES_WITH_ZEROS = (ann.Pad, ann.Gather, ann.AveragePool)


def probabilities(network: ANNGraph) -> frozenset[str]:
    """Names of the outputs whose values lie within [0, 1], as those of a Sigmoid do."""
    known: dict[NodeId, Ends] = {}
    for node in network.graph:
        known[node.id] = _bounds(node, [known[source] for source in node.inputs])
    return frozenset(
        ann.output_name(output)
        for output in network.outputs
        if known[output.id][0] >= 0 and known[output.id][1] <= 1
    )


def _bounds(node: AnnNode, given: list[Ends]) -> Ends:
    """Of an operator's values, from those of its inputs; infinite where nothing is proven."""
    match node:
        case ann.Relu(cap=cap):
            return 0.0, np.inf if cap is None else cap
        case ann.Function(expression=expression):
            return ends(expression)
        case ann.Affine(scale=scale, shift=shift) if np.isfinite(given[0]).all():
            found = [scale * end + shift for end in given[0]]
            return float(np.min(found)), float(np.max(found))
        case ann.Concat():
            return min(low for low, _ in given), max(high for _, high in given)
    if isinstance(node, _MOVES):
        return given[0]
    if isinstance(node, _MOVES_WITH_ZEROS):
        return min(0.0, given[0][0]), max(0.0, given[0][1])
    return INFINITE
