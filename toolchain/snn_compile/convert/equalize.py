"""Cross-layer weight adjustment: equal noise (the L4-norm pass and its relatives), equal ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import ClassVar

import numpy as np

from snn_compile.convert.expand import expand
from snn_compile.convert.isolate_operands import operand_sources
from snn_compile.convert.linear import Float, scale_sources
from snn_compile.convert.variances import Variances
from snn_compile.convert.weight_norms import by_source, norm_of
from snn_compile.errors import Origin
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId, Shape, maps_shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products
from snn_compile.numerics.functions import power
from snn_compile.passes import Finding, PassResult
from snn_compile.samples.rows import Rows
from snn_compile.sim.ann import apply
from snn_compile.sim.kernels import Array


@dataclass(frozen=True, eq=False)
class Equalize:
    """Gives all channels of a layer the same spread of their input current, or the same range.

    Poisson inputs with rates r make the input current of neuron j fluctuate with the variance
    ``sum_i w_ji**2 r_i (1 - r_i)``, at most ``||w_j||_4**2 ||r||_2`` (Cauchy-Schwarz; Allred and
    Roy, arXiv 2111.09446). Against one threshold per layer, neurons with large weights are the
    noisier ones. With ``n_j`` the norm of a neuron (or channel), ``g_j = (n_j / mean n)**beta``::

        w_j /= g_j    b_j /= g_j    weights that read j *= g_j

    This leaves the function unchanged, because rectifiers are positively homogeneous. ``l4`` is
    the paper's norm, an envelope rather than a law; ``l2`` predicts the spread better where rates
    do not depend on the weights; ``data`` measures it on calibration samples.

    ``range`` takes the range of a channel's activations as its norm (equalization across layers
    after Nagel et al. 2019, arXiv 1906.04721, who balance the ranges of a layer's weights with
    those of the next layer; here every row of weights has a unit of its own, so that only the
    activations and the columns that read them are left to balance). With one threshold for a layer,
    a channel of range ``a`` needs ``g >= a / threshold`` not to be clipped. The rounding error of
    its activation grows with ``g``, and so do the column of weights that reads it and with that the
    unit of whole rows: ``g`` proportional to ``a`` is best for both.

    Attributes:
        method: ``l4``, ``l2``, ``data`` or ``range``.
        x: calibration samples, for ``data``.
        beta: 1 equalizes fully, 0 does nothing.
        limits: bounds of ``g``, so that nearly dead neurons are not amplified. Ranges need none:
            they are positive for every channel.
        ranges: largest activation of each channel of each rectifier, for ``range``.
        n_steps: steps of the window if the input is random spikes, for ``data``.
    """

    name: ClassVar[str] = "equalize"
    method: str
    x: Rows | None = None
    beta: float = 1.0
    limits: tuple[float, float] = (0.25, 4.0)
    ranges: Mapping[NodeId, Float] | None = None
    n_steps: int | None = None

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Adjust layer by layer, each after the layers before it."""
        if any(isinstance(n, ann.Conv | ann.Dense) and n.step is not None for n in network.graph):
            text = "not equalized: the weights are the integers of a quantized file"
            return PassResult(network, (Finding(text, network.input.origin),))
        if self.method == "range" and self.ranges is None:
            raise ValueError("the range mode needs ranges")
        variances = None
        if self.method == "data":
            variances = Variances.measure(network, self.x, self.n_steps)
        owner = {n.id: n.like or n.id for n in network.graph if isinstance(n, ann.Relu)}
        drives, multiplied = expand(network), operand_sources(network)
        factors: dict[NodeId, Float] = {}
        findings: list[Finding] = []
        for node in network.graph:
            if not isinstance(node, ann.Relu) or node.like is not None or node.cap is not None:
                continue
            if node.id in multiplied:  # a factor of a channel would be one of the product
                continue
            if node.peers is not None:  # a factor for each step would part their scales
                continue
            if self.method == "range" and self.ranges is not None:
                norm, limits = self.ranges[node.id], (0.0, np.inf)
            else:
                incoming = {
                    source: scale_sources(weights, factors[owner[source]])
                    if owner.get(source) in factors
                    else weights
                    for source, weights in by_source(drives[node.id]).items()
                }
                channels = maps_shape(node.shape)[0]
                variance = None if variances is None else partial(variances.of, factors=factors)
                norm = norm_of(self.method, incoming, channels, variance)
                limits = self.limits
            factors[node.id] = self._factor(norm, limits)
            spread = float(factors[node.id].max() / factors[node.id].min())
            findings.append(Finding(f"weights adjusted by up to {spread:.2f}", node.origin))
        return PassResult(rescale(network, factors), tuple(findings))

    def _factor(self, norm: Float, limits: tuple[float, float]) -> Float:
        alive = norm > 0
        if not alive.any():
            return np.ones_like(norm)
        relative = np.where(alive, norm / products.mean(norm[alive], axis=0), 1.0)
        relative = power(relative, self.beta)
        return np.clip(relative, *limits)


def rescale(network: ANNGraph, factors: dict[NodeId, Float]) -> ANNGraph:
    """The same function with each rectifier's activations divided by a factor per channel.

    A scaling by ``1 / g`` precedes the rectifier; the inverse factor is propagated along pools and
    wiring until weights can absorb it, so that convolutions keep their form. Rectifiers that share
    another's scale (a max pool's comparators) work on the divided values.
    """
    inside = _interiors(network)
    debts = _Debts()
    for node in network.graph:
        owner = inside.get(node.id)
        if owner is not None and owner in factors:
            if owner == node.id:
                node = debts.divide(node, factors[owner])
            debts.add(node, _column(factors[owner], node))
        else:
            debts.add(*debts.paid(node))
    outputs = [n.id for n in debts.nodes if isinstance(n, ann.Output)]
    return network.with_graph(Graph(debts.nodes).prune(outputs))


def _column(factor: Float, node: AnnNode) -> Float:
    return factor.reshape(-1, *[1] * (len(node.shape) - 1))


@dataclass(frozen=True, eq=False)
class _Debts:
    """A network under construction, and the pending factor of each of its values.

    Attributes:
        nodes: so far.
        owed: by node, broadcasts to its shape.
        shapes: by node.
    """

    nodes: list[AnnNode] = field(default_factory=list)
    owed: dict[NodeId, Float] = field(default_factory=dict)
    shapes: dict[NodeId, Shape] = field(default_factory=dict)

    def add(self, node: AnnNode, owed: Float | None = None) -> None:
        """Add a node with the pending factor of its value (None: 1)."""
        self.nodes.append(node)
        self.shapes[node.id] = node.shape
        self.owed[node.id] = np.ones([1] * len(node.shape)) if owed is None else owed

    def divide(self, node: AnnNode, factor: Float) -> AnnNode:
        """A rectifier of its input divided by a factor; pending factors are included."""
        (source,) = node.inputs
        scale = self.owed[source] / _column(factor, node)
        added = _scaled(f"{node.id}.divided", node.origin, source, node.shape, scale)
        self.add(added)
        return replace(node, inputs=(added.id,))

    def paid(self, node: AnnNode) -> tuple[AnnNode, Float | None]:
        """A node that absorbs the pending factors of its inputs, and its own pending factor."""
        owed = [self.owed[source] for source in node.inputs]
        if all((factor == 1).all() for factor in owed):
            return node, None
        by_channel = all(prod(factor.shape[1:]) == 1 for factor in owed)
        match node:
            case ann.Conv() if by_channel:
                n_out, per_group = node.weight.shape[:2]
                factor = np.broadcast_to(owed[0].ravel(), self.shapes[node.inputs[0]][0])
                by_tap = factor[node.geometry.channels_read(n_out, per_group)]
                return replace(node, weight=node.weight * by_tap[:, :, None, None]), None
            case ann.Dense():
                return replace(node, weight=node.weight * owed[0]), None
            case ann.Affine():
                return replace(node, scale=node.scale * owed[0]), None
            case ann.AveragePool() if by_channel:
                return node, owed[0]
            case ann.Add() if all(np.array_equal(factor, owed[0]) for factor in owed):
                return node, owed[0]
            case (
                ann.Reshape()
                | ann.Transpose()
                | ann.Slice()
                | ann.Pad()
                | ann.Concat()
                | ann.Gather()
            ):
                return node, self._wired(node, owed)
            case _:
                return replace(node, inputs=tuple(map(self._restored, node.inputs))), None

    def _wired(self, node: AnnNode, owed: list[Float]) -> Float:
        """The pending factor of a value wired from others; per channel where that suffices."""
        full: list[Array] = [
            np.broadcast_to(factor, self.shapes[source])[..., None]
            for source, factor in zip(node.inputs, owed, strict=True)
        ]
        wired = apply(node, full)[..., 0].astype(np.float64).reshape(node.shape[0], -1)
        largest = wired.max(axis=1, keepdims=True)
        wired = np.where(wired > 0, wired, largest)  # padding is 0: any factor will do
        wired = np.where(wired > 0, wired, 1.0)
        if (wired == wired[:, :1]).all():
            return _column(wired[:, 0], node)
        return wired.reshape(node.shape)

    def _restored(self, source: NodeId) -> NodeId:
        """A value without a pending factor."""
        if (self.owed[source] == 1).all():
            return source
        name = NodeId(f"{source}.restored")
        if name not in self.owed:
            origin = next(node.origin for node in self.nodes if node.id == source)
            self.add(_scaled(name, origin, source, self.shapes[source], self.owed[source]))
        return name


def _scaled(name: str, origin: Origin, source: NodeId, shape: Shape, scale: Float) -> ann.Affine:
    return ann.Affine(
        id=NodeId(name),
        inputs=(source,),
        shape=shape,
        origin=origin,
        scale=scale,
        shift=np.zeros([1] * len(shape)),
    )


def _interiors(network: ANNGraph) -> dict[NodeId, NodeId]:
    """For rectifiers, and for what lies between rectifiers of one scale: that scale's owner."""
    owner: dict[NodeId, NodeId] = {}
    reached: dict[NodeId, set[NodeId | None]] = {}
    for node in reversed(list(network.graph)):
        if isinstance(node, ann.Relu):
            owner[node.id] = node.like or node.id
        if isinstance(node, ann.Output):
            reached[node.id] = {None}
            continue
        seen: set[NodeId | None] = set()
        for reader in network.graph.consumers(node.id):
            if isinstance(reader, ann.Relu):
                seen.add(owner[reader.id])
            else:
                seen |= {None} if isinstance(reader, ann.Activation) else reached[reader.id]
        reached[node.id] = seen
    scales = {node.like for node in network.graph if isinstance(node, ann.Relu) and node.like}
    for node in network.graph:
        if isinstance(node, ann.Activation | ann.Input | ann.Output):
            continue
        sources = {owner.get(s) for s in node.inputs}
        if len(sources) == 1:
            (only,) = sources
            # Other readers get the restored value.
            if only is not None and only in scales & reached[node.id]:
                owner[node.id] = only
    return owner
