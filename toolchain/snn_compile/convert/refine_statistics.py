"""Payload widths for normalizations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from snn_compile.convert.isolate_operands import WIRING
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import Expression, X, apply
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.models.product import OPERAND_BITS
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics.functions import ceil_log2
from snn_compile.passes import Finding, PassResult

FACTOR_BITS = OPERAND_BITS - 1
"""Payload bits of factors."""
SUMMED_BITS = 16
"""Payload bits of summands, as long as the sums fit in 30: a value with a tenth of the largest
deviation has a hundredth of its square."""
SUM_BITS = 30
SQUARES = (apply("mul", X, X), apply("power", X, 2.0))
MAGNITUDE = apply("abs", X)
SUMS = ann.AxisMatrix | ann.AveragePool


@dataclass(frozen=True)
class RefineStatistics:
    """Finds ``d * f(mean of squares of d)``, and sets the payload width of each part.

    Normalizations divide by a statistic of their input (``docs/decisions/0032``). A small statistic
    amplifies rounding. Squares become products, which are exact. A mean, and the value it is
    subtracted from, get neurons with 16-bit payloads of equal step size, so that the difference is
    exact; squares have 16 bits as well. The normalized value and the factor have 11 bits, the limit
    of product operands.
    """

    name: ClassVar[str] = "refine-statistics"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Refine; the function of the network is unchanged."""
        factors = dict(_statistics(network))
        squares = {
            leaf: _bits(network, leaf, name) for name, leaves in factors.items() for leaf in leaves
        }
        centred = {network.graph[square].inputs[0] for square in squares}
        means = {mean: whole for name in centred for mean, whole in _mean_of(network, name)}
        centred &= {name for name in centred if any(_mean_of(network, name))}
        uniform = {whole for mean, whole in means.items() if _mixes(network, mean, {whole})}
        nodes: list[AnnNode] = []
        findings: list[Finding] = []
        for node in network.graph:
            carried = {s for s in node.inputs if s in means.values()}
            carried |= {s for s in node.inputs if s in means and not isinstance(node, SUMS)}
            if isinstance(node, ann.Product) or node.id in squares:
                carried |= centred & set(node.inputs)
            inputs = tuple(_carrier_of(s) if s in carried else s for s in node.inputs)
            node = replace(node, inputs=inputs)
            if node.id in squares:
                node = _finer(node, squares[node.id])
            elif node.id in factors and isinstance(node, ann.Function):
                mixes = _mixes(network, node.inputs[0], factors[node.id])
                node = replace(node, payload_bits=FACTOR_BITS, uniform=mixes, exact=True)
                findings.append(Finding("normalizes by a statistic", node.origin, code="statistic"))
            nodes.append(node)
            if node.id in means.values():
                (mean,) = [mean for mean, whole in means.items() if whole == node.id][:1]
                bits = _bits(network, node.id, mean)
                nodes.append(_carrier(node, None, bits, node.id in uniform))
            if node.id in centred:
                carrier = _carrier(node, None, FACTOR_BITS, uniform=False)
                nodes.append(replace(carrier, exact=True))
            if node.id in means:
                whole = means[node.id]
                bits = _bits(network, whole, node.id)
                nodes.append(_carrier(node, whole, bits, whole in uniform))
        return PassResult(network.with_graph(Graph(nodes)), tuple(findings))


def _statistics(network: ANNGraph) -> Iterable[tuple[NodeId, set[NodeId]]]:
    """Factors of products that are functions of sums of squares (or magnitudes), and these."""
    for node in network.graph:
        if not isinstance(node, ann.Product):
            continue
        for operand in node.inputs:
            factor = network.graph[operand]
            while isinstance(factor, WIRING):
                factor = network.source(factor)
            if isinstance(factor, ann.Function):
                leaves = _leaves(network, factor.inputs[0])
                if leaves and all(_is_even(network.graph[leaf]) for leaf in leaves):
                    yield factor.id, leaves


def _between(network: ANNGraph, node_id: NodeId, ends: Iterable[NodeId]) -> list[AnnNode]:
    """Ancestors of a value, itself included, back to some ends, activations and inputs."""
    found: dict[NodeId, AnnNode] = {}
    ahead = [node_id]
    while ahead:
        node = network.graph[ahead.pop()]
        if node.id not in found:
            found[node.id] = node
            stops = isinstance(node, ann.Activation | ann.Input | ann.MaxPool) or node.id in ends
            ahead.extend(() if stops else node.inputs)
    return list(found.values())


def _leaves(network: ANNGraph, node_id: NodeId) -> set[NodeId]:
    """The activations, inputs and pools that a linear value depends on."""
    ends = ann.Activation | ann.Input | ann.MaxPool
    return {node.id for node in _between(network, node_id, ()) if isinstance(node, ends)}


def _mixes(network: ANNGraph, node_id: NodeId, ends: set[NodeId]) -> bool:
    """Whether a value sums or permutes channels of its ancestors."""
    return not all(
        node.id in ends
        or isinstance(node, ann.AveragePool | ann.Affine | ann.Add)
        or (isinstance(node, ann.AxisMatrix) and node.axis > 0)
        for node in _between(network, node_id, ends)
    )


def _bits(network: ANNGraph, whole: NodeId, total: NodeId) -> int:
    """Bits of the payloads that a value sums."""
    each = prod(network.graph[whole].shape) // prod(network.graph[total].shape)
    return max(FACTOR_BITS, min(SUMMED_BITS, SUM_BITS - int(ceil_log2(max(each, 1)))))


def _is_even(node: AnnNode) -> bool:
    return isinstance(node, ann.Function) and _kind(node.expression) is not None


def _kind(expression: Expression) -> str | None:
    if expression in SQUARES:
        return "square"
    return "magnitude" if expression == MAGNITUDE else None


def _finer(node: AnnNode, bits: int) -> AnnNode:
    """A square as a product, a magnitude unchanged; both with wider payloads."""
    if isinstance(node, ann.Function) and _kind(node.expression) == "square":
        place = {**node.common_fields, "inputs": (node.inputs[0], node.inputs[0])}
        return ann.Product(**place, payload_bits=bits)
    return replace(node, payload_bits=bits) if isinstance(node, ann.Activation) else node


def _mean_of(network: ANNGraph, centred_id: NodeId) -> Iterable[tuple[NodeId, NodeId]]:
    """The mean in ``x - mean(x)``, if a value has this form, and x."""
    centred = network.graph[centred_id]
    if not isinstance(centred, ann.Add) or len(centred.inputs) != 2:
        return
    for whole, minus in (centred.inputs, centred.inputs[::-1]):
        mean: AnnNode = network.graph[minus]
        while isinstance(mean, ann.Affine | WIRING):
            mean = network.source(mean)
        node: AnnNode = mean
        while isinstance(node, SUMS | WIRING):
            if whole in node.inputs:
                yield mean.id, whole
                return
            node = network.source(node)


def _carrier_of(node_id: NodeId) -> NodeId:
    return NodeId(f"{node_id}.carried")


def _carrier(node: AnnNode, like: NodeId | None, bits: int, uniform: bool) -> ann.Function:
    """The identity; for a mean, with the step size of its minuend."""
    place = {**node.common_fields, "id": _carrier_of(node.id), "inputs": (node.id,)}
    return ann.Function(
        **place,
        expression=X,
        payload_bits=bits,
        like=None if like is None else _carrier_of(like),
        uniform=uniform,
    )
