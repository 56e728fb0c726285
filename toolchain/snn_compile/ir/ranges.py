"""Bounds of a network's values for any input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import INFINITE, Ends, X, apply, ends, substitute
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph

_MOVES = (ann.Output, ann.Reshape, ann.Transpose, ann.Slice, ann.MaxPool)
_MOVES_WITH_ZEROS = (ann.Pad, ann.Gather, ann.AveragePool)


def probabilities(network: ANNGraph) -> frozenset[str]:
    """Names of the outputs whose values lie within [0, 1], as those of a Sigmoid do."""
    known: dict[NodeId, Ends] = {}
    for node in network.graph:
        known[node.id] = bounds(node, [known[source] for source in read_for_bounds(node)])
    return frozenset(
        ann.output_name(output)
        for output in network.outputs
        if known[output.id][0] >= 0 and known[output.id][1] <= 1
    )


def read_for_bounds(node: AnnNode) -> tuple[NodeId, ...]:
    """The nodes whose bounds ``bounds`` wants: none for a function with bounds of its own."""
    own = isinstance(node, ann.Relu | ann.Function) and np.isfinite(_of_function(node)).all()
    return () if own or isinstance(node, ann.Relu) else node.inputs


def bounds(node: AnnNode, given: Sequence[Ends]) -> Ends:
    """Of an operator's values for any input; infinite where nothing is proven.

    Args:
        node: the operator.
        given: smallest and largest value of each of ``read_for_bounds``.
    """
    match node:
        case ann.Input(step=step, ends=(low, high)) if step is not None:
            return float(low * step.max()), float(high * step.max())
        case ann.Relu() | ann.Function():
            return _within(_of_function(node, given), node.full_scale)
        case ann.Concat():
            return min(low for low, _ in given), max(high for _, high in given)
    if not np.isfinite(given).all():
        return INFINITE
    match node:
        case ann.Affine(scale=scale, shift=shift):
            found = [scale * end + shift for end in given[0]]
            return float(np.min(found)), float(np.max(found))
        case ann.Conv(weight=weight, bias=bias) | ann.Dense(weight=weight, bias=bias):
            return _of_sums(weight.reshape(len(weight), -1), bias, _with_zero(given[0]))
        case ann.AxisMatrix(matrix=matrix):
            return _of_sums(matrix, np.zeros(1), _with_zero(given[0]))
        case ann.Add():
            return sum(low for low, _ in given), sum(high for _, high in given)
        case ann.Product():
            products = [a * b for a in given[0] for b in given[-1]]
            return _within((min(products), max(products)), node.full_scale)
    if isinstance(node, _MOVES):
        return given[0]
    if isinstance(node, _MOVES_WITH_ZEROS):
        return _with_zero(given[0])
    return INFINITE


def _of_function(node: ann.Relu | ann.Function, given: Sequence[Ends] = ()) -> Ends:
    """Of a rectifier, or of a function of any value or of one within bounds."""
    if isinstance(node, ann.Relu):
        return 0.0, np.inf if node.cap is None else node.cap
    expression = node.expression
    if given and np.isfinite(given).all():
        low, high = given[0]
        expression = substitute(expression, apply("min", apply("max", X, low), high))
    return ends(expression)


def _within(found: Ends, full_scale: ann.Float | None) -> Ends:
    """Bounds of a population that rounds to a grid."""
    if full_scale is None:
        return found
    most = float(full_scale.max())
    return max(found[0], -most), min(found[1], most)


def _with_zero(found: Ends) -> Ends:
    """Bounds of values among which there are zeros, as in padding."""
    return min(0.0, found[0]), max(0.0, found[1])


def _of_sums(rows: ann.Float, bias: ann.Float, found: Ends) -> Ends:
    """Of the products of each row with values within bounds that hold 0."""
    above = np.maximum(rows, 0).sum(axis=1, dtype=np.float64)
    below = np.minimum(rows, 0).sum(axis=1, dtype=np.float64)
    low, high = found
    return (
        float((above * low + below * high + bias).min()),
        float((above * high + below * low + bias).max()),
    )
