"""The drive of each rectifier and output, as linear maps of other populations.

The populations of a spiking network are the rectifiers (and the input) of the trained one;
everything in between is linear. ``expand`` walks the graph once and keeps, for every node, the list
of maps that lead to it from populations, and a constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import singledispatch
from math import prod

import numpy as np

from snn_compile.convert import linear
from snn_compile.convert.fold_batch_norm import per_channel
from snn_compile.convert.fuse_convolutions import convolve
from snn_compile.convert.linear import Float, Index, LinearMap, Wiring
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape, maps_shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics.products import on_grid
from snn_compile.sim import kernels
from snn_compile.sim.ann import apply
from snn_compile.sim.reproducible import apply_layer


@dataclass(frozen=True, eq=False)
class Term:
    """One linear map from one population.

    Attributes:
        source: the population.
        map: the map.
        step: (O,) of the last layer of the map, where a quantized file gives its weights as
            integers in these steps; else None.
        gain: what the map of the last layer's input (a mean, a scale) multiplies these steps by.
    """

    source: NodeId
    map: LinearMap
    step: Float | None = None
    gain: float = 1.0


@dataclass(frozen=True, eq=False)
class Affine:
    """``sum of the terms + constant``; the constant has the node's shape."""

    terms: tuple[Term, ...]
    constant: Float


def expand(network: ANNGraph) -> dict[NodeId, Affine]:
    """The drive of every rectifier and output, before rectification.

    Raises:
        TypeError: an operator that is not linear (max pooling) is still in the graph.
    """
    return dict(drives_of(network))


def drives_of(network: ANNGraph) -> Iterator[tuple[NodeId, Affine]]:
    """``expand`` one by one, in the order of the graph: saves memory if each is used once.

    Raises:
        TypeError: an operator that is not linear (max pooling) is still in the graph.
    """
    graph = network.graph
    seen: dict[NodeId, Affine] = {}
    waiting = {node.id: len(graph.consumers(node.id)) for node in graph}
    for node in graph:
        sources = [seen[s] for s in node.inputs]
        if isinstance(node, ann.Activation | ann.Output):
            yield node.id, _drive(node, sources)
        if isinstance(node, ann.Input | ann.Activation):
            own = Wiring(maps_shape(node.shape), node.shape, np.arange(prod(node.shape)))
            seen[node.id] = Affine((Term(node.id, own),), _everywhere(np.zeros(1), node.shape))
        else:
            read = [graph[s] for s in node.inputs]
            terms = tuple(
                Term(term.source, _after(node, term.map, place, read), *_step_after(node, term))
                for place, source in enumerate(sources)
                for term in source.terms
            )
            seen[node.id] = Affine(terms, _constant(node, [s.constant for s in sources]))
        for source in {node.id, *node.inputs}:
            waiting[source] -= source != node.id
            if not waiting[source]:
                del seen[source]


def _drive(node: AnnNode, sources: list[Affine]) -> Affine:
    """The drive of a population; of a product, the concatenated terms of its operands."""
    if isinstance(node, ann.Product):
        left, right = sources
        return Affine((*left.terms, *right.terms), _everywhere(np.zeros(1), node.shape))
    return sources[0]


def _step_after(node: AnnNode, term: Term) -> tuple[Float | None, float]:
    """The steps of the weights of a map with a node behind it, and the gain, if they are evident.

    Whether weights are integers in these steps is for who uses them to see.
    """
    if isinstance(node, ann.Conv | ann.Dense):
        if node.step is None:
            return None, 1.0
        return node.step.astype(np.float64) * term.gain, 1.0
    if isinstance(node, ann.AveragePool):
        return term.step, term.gain / prod(node.kernel)
    if isinstance(node, ann.Affine | ann.BatchNorm):
        parameters = per_channel(node)
        if parameters is None:
            return None, term.gain
        scale = np.abs(parameters[0])
        if term.step is None:  # of an input in integers, less its zero point
            return None, term.gain * float(scale[0]) if (scale == scale[0]).all() else term.gain
        return (term.step * scale if len(scale) == len(term.step) else None), term.gain
    if term.step is None or node.shape[0] != len(term.step):
        return None, term.gain
    return term.step, term.gain


def _constant(node: AnnNode, sources: list[Float]) -> Float:
    """The value of a node for constants, the same bits on every machine.

    Most are 0, or uniform over a map; these are computed for one point.
    """
    points = [_point(source) for source in sources]
    if not any(point.any() for point in points):
        if isinstance(node, ann.Conv | ann.Dense):
            bias = node.bias.astype(np.float64).reshape(-1, *[1] * (len(node.shape) - 1))
            return _everywhere(bias, node.shape)
        if isinstance(node, ann.Add | ann.Concat | ann.Reshape | ann.Slice | ann.AveragePool):
            return _everywhere(np.zeros(1), node.shape)
    if isinstance(node, ann.Conv | ann.Dense):
        parts = on_grid(node.weight, 2)
        return apply_layer(node, parts, sources[0][..., None], np.float64)[..., 0].astype(
            np.float64
        )
    parameters = (node.scale, node.shift) if isinstance(node, ann.Affine) else ()
    uniform = all(np.size(v) == np.shape(v)[0] for v in (*points, *parameters))
    if uniform and isinstance(node, ann.Add | ann.Output | ann.BatchNorm | ann.Affine):
        first = (node.shape[0], *[1] * (len(node.shape) - 1), 1)
        value = apply(node, [np.broadcast_to(point[..., None], first) for point in points])
        return _everywhere(value[..., 0].astype(np.float64), node.shape)
    return apply(node, [source[..., None] for source in sources])[..., 0].astype(np.float64)


def _everywhere(value: Float, shape: Shape) -> Float:
    """A value broadcast over the maps of a shape, without a copy."""
    return np.broadcast_to(value, shape)


def _point(constant: Float) -> Float:
    """One point of each map for a broadcast constant; else all of it."""
    return constant[tuple(slice(0, None if stride else 1) for stride in constant.strides)]


def _after(node: AnnNode, inner: LinearMap, place: int, sources: list[AnnNode]) -> LinearMap:
    """The linear part of an operator after a map into its input number ``place``."""
    if isinstance(node, ann.Gather):
        return linear.wire(node.index, node.shape, inner)
    if isinstance(node, ann.Reshape | ann.Transpose | ann.Slice | ann.Pad | ann.Concat):
        return linear.wire(_gathered(node, place, sources), node.shape, inner)
    return _applied(node, inner)


def _gathered(node: AnnNode, place: int, sources: list[AnnNode]) -> Index:
    """Flat index into one input for each flat output of a wiring operator; -1 for none."""
    shape = sources[place].shape
    if isinstance(node, ann.Concat):  # one of many: the others may be missing
        index = np.full(node.shape, -1)
        start = sum(source.shape[node.axis] for source in sources[:place])
        part = slice(start, start + shape[node.axis])
        index[(slice(None),) * node.axis + (part,)] = np.arange(prod(shape)).reshape(shape)
        return index.ravel()
    places: list[kernels.Array] = [np.zeros((*source.shape, 1)) for source in sources]
    places[place] = np.arange(1, prod(shape) + 1, dtype=np.float64).reshape(*shape, 1)
    found: Index = apply(node, places).astype(np.int64).ravel() - 1
    return found


@singledispatch
def _applied(node: AnnNode, inner: LinearMap) -> LinearMap:
    raise TypeError(f"{type(node).__name__} is not linear")


@_applied.register(ann.Add)
@_applied.register(ann.Output)
def _(node: AnnNode, inner: LinearMap) -> LinearMap:
    del node
    return inner


@_applied.register
def _(node: ann.Conv, inner: LinearMap) -> LinearMap:
    return convolve(node.weight, node.geometry, node.shape, inner)


@_applied.register
def _(node: ann.Dense, inner: LinearMap) -> LinearMap:
    return linear.multiply(node.weight, node.shape, inner)


@_applied.register
def _(node: ann.BatchNorm, inner: LinearMap) -> LinearMap:
    factor = node.gamma.astype(np.float64) / np.sqrt(node.var.astype(np.float64) + node.epsilon)
    return linear.scale(factor.reshape(-1, *[1] * (len(node.shape) - 1)), inner)


@_applied.register
def _(node: ann.Affine, inner: LinearMap) -> LinearMap:
    return linear.scale(node.scale.astype(np.float64), inner)


@_applied.register
def _(node: ann.AxisMatrix, inner: LinearMap) -> LinearMap:
    if node.axis == 0 and len(node.shape) == 3:  # channels: the same at every position
        kernel = node.matrix.astype(np.float64)[..., None, None]
        return convolve(kernel, Geometry(), node.shape, inner)
    return linear.along_axis(node.matrix.astype(np.float64), node.axis, node.shape, inner)


@_applied.register
def _(node: ann.AveragePool, inner: LinearMap) -> LinearMap:
    top, left, bottom, right = node.geometry.padding
    padding = (top, left, bottom + node.overhang[0], right + node.overhang[1])
    geometry = replace(node.geometry, padding=padding, groups=node.shape[0])
    ones = np.ones((node.shape[0], 1, *node.kernel))
    total = convolve(ones, geometry, node.shape, inner)
    # The mean is the total over a divisor that padding may make vary. For an input of ones the
    # total is the number of taps inside, so the divisor is that over the mean of ones.
    flat = np.ones((*inner.target, 1))
    inside = np.maximum(kernels.conv2d(flat, ones, geometry), 1)
    return linear.scale((apply(node, [flat]) / inside)[..., 0], total)
