"""Grids of a quantized file in the imported network: of weights, and of activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from snn_compile.convert.signs import non_negative
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.expression import substitute
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_frontends.onnx.values import Constant

INTEGER = 1e-3
"""Largest distance of a weight from an integer, in steps: 16 bits of float32 rounding."""
MOVES = (ann.MaxPool, ann.Reshape, ann.Transpose, ann.Slice, ann.Gather, ann.Pad)
"""Operators whose result consists of values of their input, and zeros."""


def row_steps(weight: Float, given: Constant) -> npt.NDArray[np.float64] | None:
    """Steps of which the rows of weights (O, ...) are multiples, (O,); None if there are none.

    An operator may have moved the weights of the file; the rows of most have a single step.

    Args:
        weight: the weights of a layer.
        given: the step of each weight in the file, or of each row, in any order of axes.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    candidates = [np.full(len(rows), float(given.flat[0]))] if _alike(given) else _along(given)
    for candidate in candidates:
        if not candidate.size or len(rows) % len(candidate):
            continue
        each = len(rows) // len(candidate)
        for step in (np.repeat(candidate, each), np.tile(candidate, each)):
            levels = rows / step[:, None]
            if np.abs(levels - np.rint(levels)).max(initial=0) < INTEGER:
                return step
    return None


def _alike(given: Constant) -> bool:
    return bool((given == given.flat[0]).all()) if given.size else False


def _along(given: Constant) -> list[npt.NDArray[np.float64]]:
    """The steps along each axis that alone they depend on."""
    found = []
    for axis in range(given.ndim):
        first = np.moveaxis(given, axis, 0).reshape(given.shape[axis], -1)
        if (first == first[:, :1]).all():
            found.append(first[:, 0].astype(np.float64))
    return found


def settle(network: ANNGraph) -> ANNGraph:
    """Unite each population that rounds to a grid with the one before it, where there is one.

    A rectifier, another function, a product or the input rounds to the grid itself if nothing else
    reads its value. A value that is on the grid already, moved or pooled, needs no second rounding.
    """
    graph = _without_copies(network.graph)
    for name in [node.id for node in graph]:
        node = graph[name]
        if isinstance(node, ann.Relu | ann.Function) and node.full_scale is not None:
            graph = _settled(network.with_graph(graph), node)
    return network.with_graph(graph)


def _without_copies(graph: Graph[AnnNode]) -> Graph[AnnNode]:
    """Some exporters quantize a value once for each of its readers: one population serves all."""
    first: dict[tuple[object, ...], NodeId] = {}
    copies: dict[NodeId, NodeId] = {}
    for node in graph:
        if isinstance(node, ann.Relu | ann.Function) and node.full_scale is not None:
            expression = node.expression if isinstance(node, ann.Function) else None
            cap = node.cap if isinstance(node, ann.Relu) else None
            key = (node.inputs, node.levels, node.full_scale.tobytes(), expression, cap)
            if (kept := first.setdefault(key, node.id)) != node.id:
                copies[node.id] = kept
    return graph.edit(bypassed=copies)


def _settled(network: ANNGraph, node: ann.Relu | ann.Function) -> Graph[AnnNode]:
    graph = network.graph
    assert node.full_scale is not None
    uniform = bool((node.full_scale == node.full_scale[0]).all())
    source, alone = _behind_moves(graph, node, uniform)
    if isinstance(source, ann.Activation) and _contains(node, source):
        return graph.edit(bypassed={node.id: node.inputs[0]})
    if alone and (merged := _merged(source, node)) is not None:
        return graph.edit(replaced=[merged], bypassed={node.id: node.inputs[0]})
    if isinstance(node, ann.Function) and non_negative(network)[node.inputs[0]]:
        return graph.edit(replaced=[_rectifier(node)])
    return graph


def _behind_moves(graph: Graph[AnnNode], node: AnnNode, uniform: bool) -> tuple[AnnNode, bool]:
    """The node whose values another one reads, and whether nothing else reads them."""
    source, alone = graph[node.inputs[0]], len(graph.consumers(node.inputs[0])) == 1
    while uniform and isinstance(source, MOVES):
        source = graph[source.inputs[0]]
        alone = alone and len(graph.consumers(source.id)) == 1
    return source, alone


def _step(node: ann.Activation) -> Float:
    assert node.full_scale is not None and node.levels is not None
    return node.full_scale / node.levels


def _contains(node: ann.Relu | ann.Function, source: ann.Activation) -> bool:
    """Whether a value on the grid of a population is on another one as well."""
    if source.full_scale is None or source.levels is None or node.levels is None:
        return False
    own, others = _step(node), _step(source)
    if not np.allclose(own[:1], others[:1], rtol=1e-6, atol=0):
        return False
    if len(own) == len(others) and not np.allclose(own, others, rtol=1e-6, atol=0):
        return False
    low, high = _ends(node)
    lowest, highest = _ends(source)
    return low <= lowest and high >= highest


def _ends(node: ann.Activation) -> tuple[int, int]:
    """Smallest and largest value of a grid in steps."""
    from snn_compile.ir.expression import ends

    assert node.levels is not None
    if isinstance(node, ann.Function):
        low, high = (np.array(end) / _step(node).min() for end in ends(node.expression))
        return (
            int(max(np.rint(low), -node.levels)),
            int(min(np.rint(high), node.levels)),
        )
    return (0 if node.non_negative else -node.levels), node.levels


def _merged(source: AnnNode, node: ann.Relu | ann.Function) -> AnnNode | None:
    """A population, or the input, that rounds to the grid of the next itself."""
    assert node.full_scale is not None and node.levels is not None
    if isinstance(source, ann.Input):
        low, high = _ends(node)
        uniform = bool((node.full_scale == node.full_scale[0]).all())
        step = _step(node)[:1] if uniform else _step(node)
        return replace(source, step=step, low=low, high=max(high, 1))
    if not isinstance(source, ann.Activation) or source.levels is not None:
        return None
    channels = (source.shape or (1,))[0]
    scale = node.full_scale
    if len(scale) != channels:
        scale = np.full(channels, scale[0])
    match source:
        case ann.Relu():
            levels, step = _ends(node)[1], scale / node.levels
            if source.cap is not None:
                levels = max(min(levels, int(np.floor(source.cap / step.max() + 0.5))), 1)
            return replace(source, cap=None, levels=levels, full_scale=step * levels)
        case ann.Function():
            inner = source.expression
            expression = (
                substitute(node.expression, inner) if isinstance(node, ann.Function) else inner
            )
            if isinstance(node, ann.Relu) and not source.non_negative:
                return None
            place = {**source.common_fields, "expression": expression}
            return replace(source, **place, levels=node.levels, full_scale=scale)
        case ann.Product():
            if isinstance(node, ann.Relu) and not source.non_negative:
                return None
            return replace(source, levels=node.levels, full_scale=scale)
    return None


def _rectifier(node: ann.Function) -> ann.Relu:
    """The population of a grid for a value that is never negative."""
    levels, step = max(_ends(node)[1], 1), _step(node)
    return ann.Relu(**node.common_fields, levels=levels, full_scale=step * levels)
