"""Carrier neurons for operands of products that are not payloads themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from snn_compile.convert.linear import Index
from snn_compile.convert.signs import non_negative
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import X
from snn_compile.ir.graph import Graph, NodeId, maps_shape
from snn_compile.ir.models.product import OPERAND_BITS
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult
from snn_compile.sim.ann import apply

WIRING = ann.Reshape | ann.Transpose | ann.Slice | ann.Pad | ann.Gather
"""Operators that leave payloads unchanged."""


@dataclass(frozen=True)
class IsolateOperands:
    """Inserts a population for each operand of a product that is not one already.

    A product neuron multiplies payloads. An operand that is a sum, a layer's output or the input
    has none, and needs neurons that round it: rectifiers for non-negative values,
    else the identity with a signed payload. So does wiring that merges channels of different scales
    into one channel. Activations behind other wiring are operands directly.
    """

    name: ClassVar[str] = "isolate-operands"

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Insert carriers; the function of the network is unchanged."""
        positive = non_negative(network)
        carriers: dict[NodeId, NodeId] = {}
        nodes: list[AnnNode] = []
        findings: list[Finding] = []
        for node in network.graph:
            if isinstance(node, ann.Product):
                for source in node.inputs:
                    if source in carriers or is_payload(network, source):
                        continue
                    carrier = _carrier(network.graph[source], positive[source])
                    nodes.append(carrier)
                    carriers[source] = carrier.id
                    text = f"{prod(carrier.shape)} neurons carry a factor to the product"
                    findings.append(Finding(text, node.origin, code="carriers-inserted"))
                inputs = tuple(carriers.get(source, source) for source in node.inputs)
                node = replace(node, inputs=inputs)
            nodes.append(node)
        return PassResult(network.with_graph(Graph(nodes)), tuple(findings))


def operand_sources(network: ANNGraph) -> frozenset[NodeId]:
    """Activations whose payloads are direct operands: their scales enter a product."""
    operands = {s for node in network.graph if isinstance(node, ann.Product) for s in node.inputs}
    return frozenset(through_wiring(network, operand)[0].id for operand in operands)


def channels_read(source: AnnNode, wiring: list[AnnNode]) -> Index:
    """Channel of a source that each value behind wiring reads, flat; -1 for padding."""
    channels, *rest = maps_shape(source.shape)
    number = np.repeat(np.arange(1.0, channels + 1), prod(rest)).reshape(*source.shape, 1)
    for node in wiring:
        number = apply(node, [number])
    read: Index = number.astype(np.int64).ravel() - 1
    return read


def of_channels(read: Index, n_channels: int) -> Index | None:
    """The one channel that each of the channels reads, 0 if none; None where several are mixed."""
    by_channel = read.reshape(n_channels, -1)
    largest = by_channel.max(axis=1)
    mixed = (by_channel != largest[:, None]) & (by_channel >= 0)
    return None if mixed.any() else np.maximum(largest, 0)


def through_wiring(network: ANNGraph, operand: NodeId) -> tuple[AnnNode, list[AnnNode]]:
    """The source of an operand behind its wiring, and that wiring in order."""
    node, wiring = network.graph[operand], list[AnnNode]()
    while isinstance(node, WIRING):
        wiring.append(node)
        node = network.graph[node.inputs[0]]
    return node, wiring[::-1]


def is_payload(network: ANNGraph, operand: NodeId) -> bool:
    """Whether a value consists of one population's payloads, with one scale per channel.

    Payloads too wide for a product, as the statistics of a normalization sum them, do not count.
    """
    node, wiring = through_wiring(network, operand)
    if not isinstance(node, ann.Activation) or (node.payload_bits or 0) >= OPERAND_BITS:
        return False
    if node.uniform:
        return True
    n_channels = maps_shape(network.graph[operand].shape)[0]
    return of_channels(channels_read(node, wiring), n_channels) is not None


def _carrier(node: AnnNode, is_positive: bool) -> ann.Relu | ann.Function:
    place = {**node.common_fields, "id": NodeId(f"{node.id}.factor"), "inputs": (node.id,)}
    if is_positive:
        return ann.Relu(**place, payload_bits=OPERAND_BITS - 1)
    return ann.Function(**place, expression=X, payload_bits=OPERAND_BITS - 1)
