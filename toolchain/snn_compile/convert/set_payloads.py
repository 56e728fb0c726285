"""Payload widths of single layers, as the options state them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import PassResult


@dataclass(frozen=True)
class SetPayloads:
    """Gives the activations whose names match a pattern payloads of a width of their own.

    What carries another population's values unrounded (relays, comparators of a max pool) has the
    width of that population. Normalizations keep the widths that ``RefineStatistics`` set.

    Attributes:
        layers: patterns of layer names with their widths in bits, without sign; the last match
            applies.
    """

    name: ClassVar[str] = "set-payloads"
    layers: tuple[tuple[str, int], ...]

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """The same function; only widths are set."""
        return PassResult(network.with_graph(Graph(map(self._set, network.graph))))

    def _set(self, node: AnnNode) -> AnnNode:
        if not isinstance(node, ann.Activation) or node.payload_bits:
            return node
        bits = self._bits(node.id if node.like is None else node.like)
        return node if bits is None else replace(node, own_bits=bits)

    def _bits(self, layer: NodeId) -> int | None:
        bits = [bits for pattern, bits in self.layers if fnmatchcase(layer, pattern)]
        return bits[-1] if bits else None
