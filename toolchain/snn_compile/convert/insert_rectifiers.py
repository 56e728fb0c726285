"""Neurons between directly adjacent layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from snn_compile.convert.fuse_convolutions import pool_composes
from snn_compile.convert.linear import Wiring, as_tap
from snn_compile.convert.pool_composition import composes_better
from snn_compile.convert.signs import non_negative
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.expression import X
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult
from snn_compile.targets.target import Target

FUSED_WEIGHTS = 1 << 20
"""Maximal number of weights of a pool fused into the following dense layer."""
UNROLLED = 1 << 20
"""Maximal number of synapses of a convolution composed with wiring, without a kernel."""
REPEATED_WEIGHTS = 1 << 16
"""Maximal number of weights of a layer duplicated in populations, beyond the two copies that
neurons between them would need, because they all read it, or it reads their sum."""


@dataclass(frozen=True)
class InsertRectifiers:
    """Inserts a population of neurons between any two adjacent layers.

    A value that is never negative passes one rectifier unchanged; any other is the difference of
    two, ``x = relu(x) - relu(-x)``: linear bottlenecks, pools after a linear layer, residual
    streams that are never rectified, large layers that many populations read (dense blocks), or
    that read the sum of many. Average pooling needs no neurons where the next layer's synapses can
    do it, and that costs no more on the target.

    Attributes:
        signed: whether neurons send payloads of either sign, so that one carries a sum of many.
        target: the chip that decides which pools are kept; None where only the function counts.
    """

    name: ClassVar[str] = "insert-rectifiers"
    signed: bool = False
    target: Target | None = None

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Insert rectifiers; the function of the network is unchanged."""
        positive, readers = non_negative(network), _populations_behind(network)
        split: dict[NodeId, NodeId] = {}
        layered: dict[NodeId, AnnNode | None] = {}
        summed: dict[NodeId, int] = {}
        nodes: list[AnnNode] = []
        findings: list[Finding] = []
        moved: set[NodeId] = set()
        for node in network.graph:
            if isinstance(node, _LAYERS):
                for source in node.inputs:
                    before = layered[source]
                    unrolls = source in moved and _fan_in(node) * prod(node.shape) > UNROLLED
                    many = (summed[source] - 2) * _weights(node) > REPEATED_WEIGHTS
                    layers_meet = before is not None and not _fuses(network, before, node)
                    kept = not layers_meet and self._keeps(network, before, node)
                    if unrolls or many or layers_meet or kept:
                        # Neurons stand where the maps are, before any flattening.
                        pooled = before.id if isinstance(before, _POOLS) else source
                        code = "kept-pool" if kept else "rectifiers-inserted"
                        self._split(
                            network, pooled, positive, split, layered, nodes, findings, code
                        )
                        layered[source], summed[source] = None, 1
                        moved.discard(source)
            if isinstance(node, ann.Gather):
                (source,) = node.inputs
                layer = layered[source]
                if layer is not None and _fan_in(layer) * prod(node.shape) > UNROLLED:
                    self._split(network, source, positive, split, layered, nodes, findings)
            if _moves(network, node, moved):
                moved.add(node.id)
            nodes.append(node)
            layered[node.id] = _layer_in(node, layered)
            summed[node.id] = _summed(node, summed)
            # Neurons cost two readers: a positive and a negative part.
            repeated = (len(readers[node.id]) - 2) * _weights(node) > REPEATED_WEIGHTS
            if repeated or (layered[node.id] is not None and _branches(network, node)):
                self._split(network, node.id, positive, split, layered, nodes, findings)
                summed[node.id] = 1
        own = set(split.values()) | {NodeId(f"{s}.{part}") for s in split for part in _PARTS}
        rewired = [
            node
            if node.id in own
            else replace(node, inputs=tuple(split.get(s, s) for s in node.inputs))
            for node in nodes
        ]
        return PassResult(network.with_graph(Graph(rewired)), tuple(findings))

    def _split(
        self,
        network: ANNGraph,
        source: NodeId,
        positive: dict[NodeId, bool],
        split: dict[NodeId, NodeId],
        layered: dict[NodeId, AnnNode | None],
        nodes: list[AnnNode],
        findings: list[Finding],
        code: str = "rectifiers-inserted",
    ) -> None:
        if source in split:
            return
        node = network.graph[source]
        added = self._carriers(node, positive[source])
        nodes.extend(added)
        split[source] = added[-1].id
        layered[source] = None
        count = prod(node.shape) * sum(isinstance(part, ann.Activation) for part in added)
        message = f"{count} neurons carry its value to the next layer"
        if code == "kept-pool":
            message = (
                f"pool '{source}' is kept as {count:,} neurons: composition with the next layer"
                " exceeds the target"
            )
        findings.append(Finding(message, node.origin, code=code))

    def _keeps(self, network: ANNGraph, before: AnnNode | None, node: AnnNode) -> bool:
        """Whether to keep as neurons a pool that could be composed with the next layer."""
        if not isinstance(before, _POOLS) or not isinstance(node, ann.Conv | ann.Dense):
            return False
        return not composes_better(network, before, node, self.target)

    def _carriers(self, node: AnnNode, is_positive: bool) -> list[AnnNode]:
        """Neurons that send a value, and the nodes that restore it; the last node is the value."""
        if is_positive:
            return [_relu(node, "carry", node.id)]
        if self.signed:
            place = {**node.common_fields, "id": NodeId(f"{node.id}.carry"), "inputs": (node.id,)}
            return [ann.Function(**place, expression=X)]
        return _difference(node)


_POOLS = (ann.AveragePool, ann.AxisMatrix)
_LAYERS = (ann.Conv, ann.Dense, *_POOLS)
_PARTS = ("carry", "positive", "flipped", "negative", "restored", "value")


def _layer_in(node: AnnNode, layered: dict[NodeId, AnnNode | None]) -> AnnNode | None:
    """The layer that a value comes from without neurons in between, if any."""
    if isinstance(node, ann.Input | ann.Activation):
        return None
    if isinstance(node, _LAYERS):
        return node
    found = [layered[s] for s in node.inputs if layered[s] is not None]
    if not found:
        return None
    # A pool keeps its identity only if nothing but wiring lies between; anything else is opaque.
    if isinstance(found[0], _POOLS) and isinstance(node, ann.Reshape | ann.Output):
        return found[0]
    return node


def _summed(node: AnnNode, summed: dict[NodeId, int]) -> int:
    """Number of populations that a value sums; each would duplicate the weights of a layer."""
    if isinstance(node, ann.Input | ann.Activation):
        return 1
    found = [summed[source] for source in node.inputs]
    return sum(found) if isinstance(node, ann.Add) else max(found)


def _moves(network: ANNGraph, node: AnnNode, moved: set[NodeId]) -> bool:
    """Whether the wiring from populations to a value cannot be expressed as a kernel."""
    if isinstance(node, (ann.Input, ann.Activation, *_LAYERS)):
        return False
    if not isinstance(node, ann.Gather):
        return any(source in moved for source in node.inputs)
    source = network.source(node)
    return source.id in moved or as_tap(Wiring(source.shape, node.shape, node.index)) is None


def _fan_in(layer: AnnNode) -> int:
    """Fan-in of a value of a layer with kernels; 0 for other layers."""
    match layer:
        case ann.Conv():
            return prod(layer.weight.shape[1:])
        case ann.AveragePool():
            return prod(layer.kernel)
    return 0


def _fuses(network: ANNGraph, before: AnnNode, node: AnnNode) -> bool:
    """Whether the synapses of a layer can absorb the average pool before it."""
    source = network.graph[before.inputs[0]] if before.inputs else before
    if isinstance(before, ann.AxisMatrix):
        if isinstance(node, ann.Dense):
            return bool(node.weight.shape[0] * prod(source.shape) <= FUSED_WEIGHTS)
        return isinstance(node, ann.AxisMatrix)
    if not isinstance(before, ann.AveragePool) or before.overhang != (0, 0):
        return False
    if isinstance(node, ann.Dense):
        return bool(node.weight.shape[0] * prod(source.shape) <= FUSED_WEIGHTS)
    uniform = before.count_padding or before.geometry.padding == (0, 0, 0, 0)
    if not isinstance(node, ann.Conv) or not uniform or node.inputs[0] != before.id:
        return False
    size = (source.shape[1], source.shape[2])
    return pool_composes(node.geometry, before.geometry, before.kernel, size)


def _weights(node: AnnNode) -> int:
    """Number of weights of a layer; of a pool, as a convolution."""
    match node:
        case ann.Conv() | ann.Dense():
            return int(node.weight.size)
        case ann.AveragePool():
            return node.shape[0] ** 2 * prod(node.kernel)
    return 0


def _populations_behind(network: ANNGraph) -> dict[NodeId, frozenset[NodeId]]:
    """For every node, the populations that read it without a layer or population in between."""
    behind: dict[NodeId, frozenset[NodeId]] = {}
    for node in reversed(list(network.graph)):
        found: frozenset[NodeId] = frozenset()
        for reader in network.graph.consumers(node.id):
            if isinstance(reader, ann.Activation | ann.Output):
                found |= {reader.id}
            elif not isinstance(reader, ann.Conv | ann.Dense | ann.AveragePool):
                found |= behind[reader.id]
        behind[node.id] = found
    return behind


def _branches(network: ANNGraph, node: AnnNode) -> bool:
    """Whether a residual stream continues from here without rectification."""
    readers = network.graph.consumers(node.id)
    return len(readers) > 1 and any(isinstance(reader, ann.Add) for reader in readers)


def _relu(node: AnnNode, part: str, source: NodeId) -> ann.Relu:
    name = NodeId(f"{node.id}.{part}")
    return ann.Relu(id=name, inputs=(source,), shape=node.shape, origin=node.origin)


def _difference(node: AnnNode) -> list[AnnNode]:
    minus = np.full([1] * len(node.shape), -1.0, np.float32)

    def negated(part: str, source: NodeId) -> ann.Affine:
        return ann.Affine(
            id=NodeId(f"{node.id}.{part}"),
            inputs=(source,),
            shape=node.shape,
            origin=node.origin,
            scale=minus,
            shift=np.zeros_like(minus),
        )

    positive = _relu(node, "positive", node.id)
    flipped = negated("flipped", node.id)
    negative = _relu(node, "negative", flipped.id)
    restored = negated("restored", negative.id)
    value = ann.Add(
        id=NodeId(f"{node.id}.value"),
        inputs=(positive.id, restored.id),
        shape=node.shape,
        origin=node.origin,
    )
    return [positive, flipped, negative, restored, value]
