"""Cross-layer weight adjustment against input noise: the L4-norm pass and its relatives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.convert.expand import Affine, expand, maps_shape
from snn_compile.convert.linear import (
    Float,
    Kernel,
    LinearMap,
    Matrix,
    Sparse,
    Wiring,
    apply_map,
    sparse,
)
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import Finding, PassResult
from snn_compile.sim.ann import evaluate
from snn_compile.sim.kernels import Array


@dataclass(frozen=True, eq=False)
class Equalize:
    """Gives all neurons of a layer the same spread of their input current.

    Poisson inputs with rates r make the input current of neuron j fluctuate with the variance
    ``sum_i w_ji**2 r_i (1 - r_i)``, at most ``||w_j||_4**2 ||r||_2`` (Cauchy-Schwarz; Allred and
    Roy, arXiv 2111.09446). Against one threshold per layer, neurons with large weights are the
    noisier ones. With ``n_j`` the norm of a neuron (or channel), ``g_j = (n_j / mean n)**beta``::

        w_j /= g_j    b_j /= g_j    weights that read j *= g_j

    which leaves the function unchanged, because rectifiers are positively homogeneous. ``l4`` is
    the paper's norm, an envelope rather than a law; ``l2`` predicts the spread better where rates
    do not depend on the weights; ``data`` measures it on calibration samples.

    Attributes:
        mode: ``l4``, ``l2`` or ``data``.
        x: calibration samples, for ``data``.
        beta: 1 equalizes fully, 0 does nothing.
        limits: of ``g``, so that nearly dead neurons are not blown up.
    """

    name: ClassVar[str] = "equalize"
    mode: str
    x: npt.NDArray[np.generic] | None = None
    beta: float = 1.0
    limits: tuple[float, float] = (0.25, 4.0)

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Adjust layer by layer, each with the layers before it adjusted already."""
        moments = _Moments.measure(network, self.x) if self.mode == "data" else None
        factors: dict[NodeId, Float] = {}
        findings: list[Finding] = []
        for node in network.graph:
            if not isinstance(node, ann.Relu) or node.like is not None or node.cap is not None:
                continue
            drive = expand(rescaled(network, factors))[node.id]
            norm = self._norm(drive, factors, moments)
            factors[node.id] = self._factor(norm)
            spread = float(factors[node.id].max() / factors[node.id].min())
            findings.append(Finding(f"weights adjusted by up to {spread:.2f}", node.origin))
        return PassResult(rescaled(network, factors), tuple(findings))

    def _norm(self, drive: Affine, factors: dict[NodeId, Float], moments: _Moments | None) -> Float:
        """Norm of each channel's incoming weights; of a kernel's all taps count."""
        channels = maps_shape(drive.constant.shape)[0]
        if moments is not None:
            power = 2
            parts = [
                apply_map(_powered(weights, power), moments.variance(source, factors))
                for source, weights in _by_source(drive).items()
            ]
        else:
            power = 4 if self.mode == "l4" else 2
            parts = [_fan_in(_powered(weights, power)) for weights in _by_source(drive).values()]
        powers = np.sum(parts, axis=0).reshape(channels, -1).mean(axis=1)
        norm: Float = np.maximum(powers, 0) ** (1 / power)
        return norm

    def _factor(self, norm: Float) -> Float:
        alive = norm > 0
        if not alive.any():
            return np.ones_like(norm)
        relative = np.where(alive, norm / norm[alive].mean(), 1.0) ** self.beta
        return np.clip(relative, *self.limits)


def _by_source(drive: Affine) -> dict[NodeId, LinearMap]:
    """The weights of each source. One that is read twice sends the same spikes: weights add up."""
    found: dict[NodeId, LinearMap] = {}
    for term in drive.terms:
        weights = term.map
        if term.source in found:
            both = sparse(found[term.source]) + sparse(weights)
            weights = Sparse(weights.source, weights.target, both)
        found[term.source] = weights
    return found


def _powered(weights: LinearMap, power: int) -> LinearMap:
    """Every weight ``w`` replaced by ``abs(w)**power``, for an even power."""
    match weights:
        case Kernel() | Matrix():
            return replace(weights, weight=weights.weight**power)
        case Sparse():
            return replace(weights, matrix=weights.matrix.power(power))
        case Wiring():
            return weights  # ones


def _fan_in(weights: LinearMap) -> Float:
    """Sum of each neuron's incoming weights, or of each kernel's."""
    match weights:
        case Kernel():
            kernels = weights.weight.reshape(len(weights.weight), -1).sum(axis=1)
            return np.repeat(kernels, prod(weights.maps[1:]))
        case Matrix():
            rows: Float = weights.weight.sum(axis=1)
            return rows
        case Sparse() | Wiring():
            sums: Float = np.asarray(sparse(weights).sum(axis=1), np.float64)
            return sums


@dataclass(frozen=True, eq=False)
class _Moments:
    """First and second moments of every population's activations, and their peaks.

    Attributes:
        mean: mean magnitude of every neuron's activation.
        square: mean of its square.
        peak: largest magnitude in each channel.
        owner: whose scale a rectifier has, its own or that of the one it shares.
    """

    mean: dict[NodeId, Float]
    square: dict[NodeId, Float]
    peak: dict[NodeId, Float]
    owner: dict[NodeId, NodeId]

    @staticmethod
    def measure(network: ANNGraph, x: npt.NDArray[np.generic] | None) -> _Moments:
        if x is None or not len(x):
            raise ValueError("the data mode needs calibration samples")
        rectifiers = [node for node in network.graph if isinstance(node, ann.Relu)]
        moments = _Moments({}, {}, {}, {node.id: node.like or node.id for node in rectifiers})

        def add(node: AnnNode, value: Array) -> Array:
            if isinstance(node, ann.Input | ann.Relu):
                size = np.abs(value).astype(np.float64)
                key = node.id
                moments.mean[key] = moments.mean.get(key, 0) + size.sum(axis=-1) / len(x)
                moments.square[key] = moments.square.get(key, 0) + (size**2).sum(axis=-1) / len(x)
                peak = size.reshape(size.shape[0], -1).max(axis=1)
                moments.peak[key] = np.maximum(moments.peak.get(key, peak), peak)
            return value

        evaluate(network, x, hook=add, threads=False)
        return moments

    def variance(self, source: NodeId, factors: dict[NodeId, Float]) -> Float:
        """``E[r (1 - r)] * scale**2`` per neuron, for rates ``r = activation / scale`` of a layer.

        The scale is the layer's common threshold, its largest adjusted activation: a spike is worth
        that much. Comparators of a max pool have the threshold and the factors of what they pool.
        """
        mean, square = self.mean[source], self.square[source]
        column = (-1, *[1] * (mean.ndim - 1))
        owner = self.owner.get(source, source)
        factor = factors.get(owner, np.ones(len(mean)))
        scale = float((self.peak[owner] / factor).max())
        first, second = mean / factor.reshape(column), square / (factor**2).reshape(column)
        return first * scale - second


def rescaled(network: ANNGraph, factors: dict[NodeId, Float]) -> ANNGraph:
    """The same function with each rectifier's activations divided by a factor per channel.

    A scaling by ``1 / g`` goes in front of the rectifier and one by ``g`` behind it. Rectifiers
    that share another's scale (a max pool's comparators) work on the divided values.
    """
    inside = _interiors(network)
    nodes: list[AnnNode] = []
    for node in network.graph:
        inputs = []
        for source in node.inputs:
            owner = inside.get(source)
            leaves = owner is not None and owner in factors and inside.get(node.id) != owner
            inputs.append(NodeId(f"{source}.restored") if leaves else source)
        if isinstance(node, ann.Relu) and node.id in factors:
            divided = _scaled(node, f"{node.id}.divided", inputs[0], 1 / factors[node.id])
            nodes.append(divided)
            inputs = [divided.id]
        nodes.append(replace(node, inputs=tuple(inputs)))
        owner = inside.get(node.id)
        if owner is not None and owner in factors:
            nodes.append(_scaled(node, f"{node.id}.restored", node.id, factors[owner]))
    outputs = [n.id for n in nodes if isinstance(n, ann.Output)]
    return network.with_graph(Graph(nodes).pruned(outputs))


def _scaled(node: AnnNode, name: str, source: NodeId, factor: Float) -> ann.Affine:
    column = factor.reshape(-1, *[1] * (len(node.shape) - 1))
    return ann.Affine(
        id=NodeId(name),
        inputs=(source,),
        shape=node.shape,
        origin=node.origin,
        scale=column,
        shift=np.zeros_like(column),
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
            is_rectifier = isinstance(reader, ann.Relu)
            seen |= {owner[reader.id]} if is_rectifier else reached[reader.id]
        reached[node.id] = seen
    scales = {node.like for node in network.graph if isinstance(node, ann.Relu) and node.like}
    for node in network.graph:
        if isinstance(node, ann.Relu | ann.Input | ann.Output):
            continue
        sources = {owner.get(s) for s in node.inputs}
        if len(sources) == 1:
            (only,) = sources
            # Others may read it as well: they get it restored.
            if only is not None and only in scales & reached[node.id]:
                owner[node.id] = only
    return owner
