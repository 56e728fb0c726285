"""How much the messages of each population vary in time: assumed, or as random input makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from snn_compile.convert.expand import Affine, expand
from snn_compile.convert.linear import Float, apply_map, scale_sources
from snn_compile.convert.weight_norms import by_source, powered
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products
from snn_compile.numerics.functions import exp
from snn_compile.samples.rows import Rows
from snn_compile.sim.ann import traverse
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

NARROW, TERMS = 0.2, 3
"""Deviation below which counts take two values at most, and terms of the series above it."""


@dataclass(frozen=True, eq=False)
class Variances:
    """Variances of messages per time step, from moments of the activations.

    Where the input is random (``n_steps``), a spike of an input with rate r has the variance
    ``r (1 - r)``, independently in each step. Neurons that reset by subtraction keep what is left,
    so that their trains are more regular: a neuron's count over the window is its summed input over
    the threshold, rounded (``rounded_variance``), while the neuron is active at all. Elsewhere
    nothing is random, and ``r (1 - r)`` is taken for every population.

    Attributes:
        drives: what each rectifier computes of its sources.
        n_steps: steps of the window of a random input, else None.
        mean: mean magnitude of every neuron's activation.
        square: mean of its square.
        active: share of the samples for which it is above 0.
        peak: largest magnitude in each channel.
        owner: the rectifier whose scale each rectifier uses, possibly itself.
        found: the variances of rectifiers that were asked for.
    """

    drives: Mapping[NodeId, Affine]
    n_steps: int | None
    mean: dict[NodeId, Float] = field(default_factory=dict)
    square: dict[NodeId, Float] = field(default_factory=dict)
    active: dict[NodeId, Float] = field(default_factory=dict)
    peak: dict[NodeId, Float] = field(default_factory=dict)
    owner: dict[NodeId, NodeId] = field(default_factory=dict)
    found: dict[NodeId, Float] = field(default_factory=dict)

    @staticmethod
    def measure(network: ANNGraph, x: Rows | None, n_steps: int | None = None) -> Variances:
        """Run the network over calibration samples."""
        if x is None or not len(x):
            raise ValueError("the data mode needs calibration samples")
        moments = Variances(expand(network), n_steps)
        for node in network.graph:
            if isinstance(node, ann.Activation):
                moments.owner[node.id] = node.like or node.id

        def add(node: AnnNode, value: Array) -> Array:
            if isinstance(node, ann.Input | ann.Activation):
                size = np.abs(value).astype(np.float64)
                key, first, second = node.id, products.total(size, -1), products.total(size**2, -1)
                moments.mean[key] = moments.mean.get(key, 0) + first / len(x)
                moments.square[key] = moments.square.get(key, 0) + second / len(x)
                above = np.count_nonzero(size, axis=-1)
                moments.active[key] = moments.active.get(key, 0) + above / len(x)
                peak = size.reshape(size.shape[0], -1).max(axis=1)
                moments.peak[key] = np.maximum(moments.peak.get(key, peak), peak)
            return value

        traverse(network, x, lambda _: add, operators=Reproducible(network, x), threads=False)
        return moments

    def of(self, source: NodeId, factors: Mapping[NodeId, Float]) -> Float:
        """Variance of each neuron of a source, in squares of adjusted activations.

        A spike is worth the layer's common threshold, its largest adjusted activation. Comparators
        of a max pool inherit the threshold and the factors of their source.

        Args:
            source: whose messages.
            factors: of rectifiers that are adjusted; all before the source are final.
        """
        mean, square = self.mean[source], self.square[source]
        column = (-1, *[1] * (mean.ndim - 1))
        owner = self.owner.get(source, source)
        factor = factors.get(owner, np.ones(len(mean)))
        scale = float((self.peak[owner] / factor).max())
        if self.n_steps is not None and source in self.drives and scale > 0:
            if source not in self.found:
                variance = self.of_input(source, factors) / (factor**2).reshape(column)
                counts = rounded_variance(self.n_steps * variance / scale**2) / self.n_steps
                self.found[source] = self.active[source] * counts * scale**2
            return self.found[source]
        first, second = mean / factor.reshape(column), square / (factor**2).reshape(column)
        return first * scale - second

    def of_input(self, target: NodeId, factors: Mapping[NodeId, Float]) -> Float:
        """Variance of the summed input of each neuron, before its own adjustment."""
        parts = []
        for source, weights in by_source(self.drives[target]).items():
            factor = factors.get(self.owner.get(source, source))
            scaled = weights if factor is None else scale_sources(weights, factor)
            parts.append(apply_map(powered(scaled, 2), self.of(source, factors)))
        total: Float = np.sum(parts, axis=0).reshape(self.mean[target].shape)
        return total


def rounded_variance(variance: Float) -> Float:
    """Variance of the whole number below a Gaussian, averaged over where its mean lies.

    For D the difference of two draws, with fraction {D}, it is ``E[D**2 + {D} (1 - {D})] / 2``,
    since the whole numbers differ by D rounded down or up. The Fourier series of ``{D} (1 - {D})``
    gives ``v + 1/12 - sum_k exp(-4 pi**2 k**2 v) / (2 pi**2 k**2)``. For small v, where {D} is
    almost always the size of D or 1 less it, the series is slow and the value is ``sqrt(v / pi)``.
    """
    wide = np.maximum(variance, NARROW**2)
    rounded = wide + 1 / 12
    for k in range(1, TERMS + 1):
        rounded = rounded - exp(-4 * (np.pi * k) ** 2 * wide) / (2 * (np.pi * k) ** 2)
    narrow = np.sqrt(np.maximum(variance, 0) / np.pi)
    result: Float = np.where(variance < NARROW**2, narrow, rounded)
    return result
