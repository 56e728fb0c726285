"""Grids of a quantized file in the imported network: of weights, and of activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from snn_compile.convert.signs import non_negative
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode, Float
from snn_compile.ir.expression import ends, is_uniform, substitute
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.stages import ANNGraph
from snn_frontends.onnx.values import Constant

INTEGER = 1e-3
"""Largest distance of a weight from an integer, in steps: 16 bits of float32 rounding."""
MOVES = (ann.MaxPool, ann.Reshape, ann.Transpose, ann.Slice, ann.Gather, ann.Pad)
"""Operators whose result consists of values of their input, and zeros."""
LINEAR = (ann.Add, ann.AveragePool, ann.Concat)
"""Operators that a layer's weights are composed with."""


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
    return network.with_graph(_with_uniform_sources(graph))


def _with_uniform_sources(graph: Graph[AnnNode]) -> Graph[AnnNode]:
    """One scale for all channels of a population whose values integer weights multiply.

    Scales of its own for each channel would multiply the columns of the weights.
    """
    wanted: set[NodeId] = set()
    for node in reversed(list(graph)):
        given = isinstance(node, ann.Conv | ann.Dense) and node.step is not None
        passes_on = node.id in wanted and isinstance(node, (*MOVES, *LINEAR))
        if given or passes_on:
            wanted.update(node.inputs)
    return graph.edit(
        replaced=[
            replace(node, uniform=True)
            for node in graph
            if node.id in wanted and isinstance(node, ann.Activation)
        ]
    )


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
    source, alone = _behind_moves(graph, node, _alike(node.step))
    if isinstance(source, ann.Activation) and _contains(node, source):
        return graph.edit(bypassed={node.id: node.inputs[0]})
    if alone and (merged := _merged(source, node)) is not None:
        return graph.edit(replaced=[merged], bypassed={node.id: node.inputs[0]})
    if isinstance(node, ann.Function) and _is_one(node) and _ends(node)[1] > 0:
        if non_negative(network)[node.inputs[0]]:
            return graph.edit(replaced=[_rectifier(node)])
    return graph


def _behind_moves(graph: Graph[AnnNode], node: AnnNode, uniform: bool) -> tuple[AnnNode, bool]:
    """The node whose values another one reads, and whether nothing else reads them."""
    source, alone = graph[node.inputs[0]], len(graph.consumers(node.inputs[0])) == 1
    while uniform and isinstance(source, MOVES):
        source = graph[source.inputs[0]]
        alone = alone and len(graph.consumers(source.id)) == 1
    return source, alone


def _contains(node: ann.Relu | ann.Function, source: ann.Activation) -> bool:
    """Whether a value on the grid of a population is on another one as well."""
    if source.full_scale is None or source.levels is None or node.levels is None:
        return False
    own, others = node.step, source.step
    if len(own) != len(others):
        if not (_alike(own) and _alike(others)):
            return False
        own, others = own[:1], others[:1]
    if not (_is_one(node) and np.allclose(own, others, rtol=1e-6, atol=0)):
        return False
    low, high = _ends(node)
    lowest, highest = _ends(source)
    return low <= lowest and high >= highest


def _is_one(node: ann.Relu | ann.Function) -> bool:
    """Whether the ends of its grid, in steps, are the same for all channels."""
    return isinstance(node, ann.Relu) or (_alike(node.step) and is_uniform(node.expression))


def _ends(node: ann.Activation) -> tuple[int, int]:
    """Smallest and largest value of a grid in steps."""
    levels = node.levels or 0
    if isinstance(node, ann.Function):
        low, high = (np.rint(end / node.step.min()) for end in ends(node.expression))
        return int(max(low, -levels)), int(min(high, levels))
    return (0 if node.non_negative else -levels), levels


def _merged(source: AnnNode, node: ann.Relu | ann.Function) -> AnnNode | None:
    """A population, or the input, that rounds to the grid of the next itself."""
    step = node.step
    low, high = _ends(node)
    if isinstance(source, ann.Input):
        if source.step is not None or high < 1 or not _is_one(node):
            return None
        return replace(source, step=step[:1] if _alike(step) else step, ends=(low, high))
    if not isinstance(source, ann.Activation) or source.levels is not None:
        return None
    channels = (source.shape or (1,))[0]
    step = step if len(step) == channels else np.full(channels, step[0])
    if isinstance(source, ann.Relu):
        levels = high
        if source.cap is not None:
            if not _alike(step):
                return None  # the cap is another number of steps in each channel
            levels = min(levels, int(np.rint(source.cap / step[0])))
        if levels < 1 or not _is_one(node):
            return None
        return replace(source, cap=None, levels=levels, full_scale=step * levels)
    if isinstance(node, ann.Relu) and not source.non_negative:
        return None
    levels = node.levels or 1
    if isinstance(node, ann.Function):
        if isinstance(source, ann.Function):
            expression = substitute(node.expression, source.expression)
            source = replace(source, expression=expression)
        elif not _is_one(node) or (low, high) != (-levels, levels):
            return None  # only an expression has ends of its own
    return replace(source, levels=levels, full_scale=step * levels)


def _rectifier(node: ann.Function) -> ann.Relu:
    """The population of a grid for a value that is never negative."""
    levels, step = _ends(node)[1], node.step
    return ann.Relu(**node.common_fields, levels=levels, full_scale=step * levels)
