"""Payloads as fine as normalizations need them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from snn_compile.convert.insert_rectifiers import UNROLLED
from snn_compile.convert.isolate_operands import WIRING, is_payload, wired
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import Expression, X, apply
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.models.product import OPERAND_BITS
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult

FACTOR_BITS = OPERAND_BITS - 1
"""Of what is normalized, its mean and its factor: what an operand can have."""
SQUARE_BITS = 16
"""Of squares: a place with a tenth of the largest deviation has a hundredth of its square."""
SQUARES = (apply("mul", X, X), apply("power", X, 2.0))
MAGNITUDE = apply("abs", X)


@dataclass(frozen=True)
class RefineStatistics:
    """Finds ``d * f(mean of squares of d)``, and gives each part of it the payload that it needs.

    Normalizations divide by a statistic of what they normalize (``docs/decisions/0032``). Where it
    is small, rounding is magnified. Squares become products, which are exact, with payloads of 16
    bits; what is normalized, its mean and the factor get those of 11 bits that operands of products
    can have. A mean that is subtracted at many places gets neurons of its own.
    """

    name: ClassVar[str] = "refine-statistics"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Refine; the function of the network is unchanged."""
        squares, factors = _statistics(network)
        carried = _carried(network, squares)
        nodes: list[AnnNode] = []
        findings: list[Finding] = []
        for node in network.graph:
            inputs = tuple(
                _carrier_of(s) if s in carried and _reads(node, carried[s]) else s
                for s in node.inputs
            )
            node = replace(node, inputs=inputs)
            if node.id in squares:
                node = _finer(node)
            if node.id in factors and isinstance(node, ann.Function):
                node = replace(node, payload_bits=FACTOR_BITS)
                findings.append(Finding("normalizes by a statistic", node.origin, code="statistic"))
            nodes.append(node)
            if node.id in carried:
                nodes.append(_carrier(node))
        return PassResult(network.with_graph(Graph(nodes)), tuple(findings))


def _statistics(network: ANNGraph) -> tuple[set[NodeId], set[NodeId]]:
    """Squares (or magnitudes) whose sums are normalized by, and the functions of these sums."""
    squares, factors = set[NodeId](), set[NodeId]()
    for node in network.graph:
        if not isinstance(node, ann.Product):
            continue
        for operand in node.inputs:
            factor, _ = wired(network, operand)
            if isinstance(factor, ann.Function):
                leaves = _leaves(network, factor.inputs[0])
                if leaves and all(_is_even(network.graph[leaf]) for leaf in leaves):
                    factors.add(factor.id)
                    squares |= leaves
    return squares, factors


def _leaves(network: ANNGraph, node_id: NodeId) -> set[NodeId]:
    """The activations (or inputs, or pools) that a linear value is made of."""
    found, seen, ahead = set[NodeId](), set[NodeId](), [node_id]
    while ahead:
        node = network.graph[ahead.pop()]
        if node.id in seen:
            continue
        seen.add(node.id)
        if isinstance(node, ann.Activation | ann.Input | ann.MaxPool):
            found.add(node.id)
        ahead.extend(() if node.id in found else node.inputs)
    return found


def _is_even(node: AnnNode) -> bool:
    return isinstance(node, ann.Function) and _kind(node.expression) is not None


def _kind(expression: Expression) -> str | None:
    if expression in SQUARES:
        return "square"
    return "magnitude" if expression == MAGNITUDE else None


def _finer(node: AnnNode) -> AnnNode:
    """A square as a product, a magnitude as it is; both with payloads of more bits."""
    if isinstance(node, ann.Function) and _kind(node.expression) == "square":
        inputs = (node.inputs[0], node.inputs[0])
        return ann.Product(**{**node.place, "inputs": inputs}, payload_bits=SQUARE_BITS)
    return replace(node, payload_bits=SQUARE_BITS) if isinstance(node, ann.Activation) else node


def _carried(network: ANNGraph, squares: set[NodeId]) -> dict[NodeId, type[AnnNode] | None]:
    """Values that get neurons of their own, and the class of the readers that read these.

    Args:
        network: the network.
        squares: of deviations from a mean, among others.

    Returns:
        What has a mean subtracted from it (for all its readers), and means that are repeated at
        many places (for what repeats them).
    """
    found: dict[NodeId, type[AnnNode] | None] = {}
    for name in squares:
        centred = network.source(network.graph[name])
        if not isinstance(centred, ann.Add) or len(centred.inputs) != 2:
            continue
        for whole, minus in (centred.inputs, centred.inputs[::-1]):
            mean = _mean(network, minus)
            if mean is None or not _reaches(network, mean, whole):
                continue
            if not is_payload(network, whole) and not isinstance(network.graph[whole], ann.Input):
                found[whole] = None
            n = prod(centred.shape) // prod(mean.shape)
            if prod(centred.shape) * n > UNROLLED:
                found[mean.id] = ann.Gather
    return found


def _mean(network: ANNGraph, node_id: NodeId) -> AnnNode | None:
    """The sum or mean that a value repeats with another sign, if it is that."""
    node = network.graph[node_id]
    while isinstance(node, ann.Affine | WIRING):
        node = network.graph[node.inputs[0]]
    return node if isinstance(node, ann.AxisMatrix | ann.AveragePool) else None


def _reaches(network: ANNGraph, mean: AnnNode, whole: NodeId) -> bool:
    """Whether a mean is one of a value."""
    node = mean
    while isinstance(node, ann.AxisMatrix | ann.AveragePool | WIRING):
        if node.inputs[0] == whole:
            return True
        node = network.graph[node.inputs[0]]
    return False


def _reads(node: AnnNode, kind: type[AnnNode] | None) -> bool:
    return kind is None or isinstance(node, kind)


def _carrier_of(node_id: NodeId) -> NodeId:
    return NodeId(f"{node_id}.carried")


def _carrier(node: AnnNode) -> AnnNode:
    place = {**node.place, "id": _carrier_of(node.id), "inputs": (node.id,)}
    return ann.Function(**place, expression=X, payload_bits=FACTOR_BITS)
