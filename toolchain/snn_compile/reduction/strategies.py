"""Strategies for programs: the most effective first, single numbers last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    ConvSynapses,
    Input,
    Population,
    QuantizedGraph,
    QuantizedNode,
    Readout,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.schedule import integer_network, is_scheduled, schedule
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.ir.stages import StageError
from snn_compile.ir.text import STRUCTURE
from snn_compile.reduction import cut, restrict
from snn_compile.reduction.case import Case
from snn_compile.reduction.search import Choice, Strategy, Thinning

Candidate = Callable[[], Case]
MAX_SINGLE = 4096
"""Most numbers of an array that are reduced individually."""
_FIXED = (*STRUCTURE, "origin", "low", "high")
_LEAST = {"threshold": 1, "multiplier": 1 << 11, "levels": 1, "burst": 1}
"""Least values of parameters; all others have 0."""


def strategies(case: Case) -> Iterator[Strategy[Case]]:
    """All strategies for a case, including those of its single nodes."""
    yield Thinning("stimuli", lambda c: range(len(c.frames)), _with_stimuli)
    yield Thinning("outputs", lambda c: [r.id for r in c.program.readouts], cut.with_outputs)
    yield Choice("ends", _ends)
    yield Choice("beginnings", _beginnings)
    yield Thinning("layers", _neurons, _with(_neurons))
    yield Choice("bypasses", lambda c: (partial(cut.bypassing, c, n) for n in _neurons(c)))
    yield Thinning("synapses", _synapses, _with(_synapses))
    yield Thinning("steps", lambda c: range(c.program.window.n_steps), _with_steps)
    yield Choice("maps", _maps)
    for node in case.program.graph:
        if not isinstance(node, Synapses):
            yield Thinning(
                "channels", partial(_channels, node.id), partial(_with_channels, node.id)
            )
        if isinstance(node, ConvSynapses):
            yield Thinning("groups", partial(_groups, node.id), partial(_with_groups, node.id))
    yield Choice("kernels", _kernels)
    for node in case.program.graph:
        if isinstance(node, Synapses):
            yield Thinning("weights", partial(_weights, node.id), partial(_with_weights, node.id))
    for node in case.program.graph:
        for name in [field.name for field in fields(node) if field.name not in _FIXED]:
            yield Choice("parameters", partial(_parameters, node.id, name))
    yield Thinning("values", _values, _with_values)
    yield Choice("input", _inputs)


def _with_stimuli(case: Case, kept: list[int]) -> Case:
    if not kept:
        raise StageError("no stimulus is left")
    return Case(case.program, case.frames[kept])


def _with_steps(case: Case, kept: list[int]) -> Case:
    program, frames = case.program, case.frames
    if program.input_coding is InputCoding.EVENTS:
        frames = frames[:, kept]
    window = Window(program.window.coding, len(kept))
    if not is_scheduled(program):
        return Case(QuantizedGraph(program.graph, window), frames)
    at_once = integer_network(program)  # whose counts go as far as a window can say
    nodes = [
        replace(node, levels=window.levels) if isinstance(node, ClipFloorNeurons) else node
        for node in at_once.graph
    ]
    return Case(schedule(QuantizedGraph(Graph(nodes), at_once.window), window), frames)


def _neurons(case: Case) -> list[NodeId]:
    return [n.id for n in case.program.populations if not isinstance(n, Readout)]


def _synapses(case: Case) -> list[NodeId]:
    return [node.id for node in case.program.graph if isinstance(node, Synapses)]


def _with(parts: Callable[[Case], list[NodeId]]) -> Callable[[Case, list[NodeId]], Case]:
    """Cases without the dropped nodes."""
    return lambda case, kept: cut.without(case, set(parts(case)) - set(kept))


def _ends(case: Case) -> Iterator[Candidate]:
    for node_id in _neurons(case):
        yield partial(cut.ending_in, case, node_id)
        yield partial(cut.ending_at, case, node_id)


def _beginnings(case: Case) -> Iterator[Candidate]:
    for node_id in reversed(_neurons(case)):
        yield partial(cut.beginning_at, case, node_id)


def _maps(case: Case) -> Iterator[Candidate]:
    images = [node for node in case.program.inputs if len(node.shape) == 3]
    together = [images] if len({node.shape[1:] for node in images}) == 1 else []
    alone = [[node] for node in images] if len(images) > 1 else []
    for chosen in [*together, *alone]:
        yield from _smaller_maps(case, chosen)


def _smaller_maps(case: Case, images: Sequence[Input]) -> Iterator[Candidate]:
    """Inputs of one size, cropped alike."""
    _, height, width = images[0].shape
    cropped = [node.id for node in images]
    for h, w in [(1, 1), (height // 2, width // 2), (height - 1, width - 1)]:
        for size in [(h, w), (h, width), (height, w)]:
            if min(size) >= 1 and size != (height, width):
                yield partial(restrict.of_maps, case, size, cropped)


def _channels(node_id: NodeId, case: Case) -> Sequence[int]:
    graph = case.program.graph
    return range(graph[node_id].shape[0]) if node_id in graph else ()


def _with_channels(node_id: NodeId, case: Case, kept: list[int]) -> Case:
    if not kept:
        raise StageError("no channel is left")
    return restrict.of_channels(case, node_id, kept)


def _groups(node_id: NodeId, case: Case) -> Sequence[int]:
    node = case.program.graph[node_id] if node_id in case.program.graph else None
    return range(node.geometry.groups) if isinstance(node, ConvSynapses) else ()


def _with_groups(node_id: NodeId, case: Case, kept: list[int]) -> Case:
    return restrict.of_groups(case, node_id, kept)


def _kernels(case: Case) -> Iterator[Candidate]:
    """Convolutions without a border of their kernels, and without the padding that it needs."""
    for node in case.program.graph:
        if isinstance(node, ConvSynapses):
            for side in range(4):
                yield partial(_smaller_kernel, case, node, side)


def _smaller_kernel(case: Case, node: ConvSynapses, side: int) -> Case:
    axis, first = 2 + side % 2, side < 2  # as padding is ordered: top, left, bottom, right
    geometry, values = node.geometry, node.weight.values
    padding = list(geometry.padding)
    padding[side] -= geometry.dilation[axis - 2]
    size = values.shape[axis]
    if padding[side] < 0 or size < 2:
        raise StageError(f"the kernels of '{node.id}' have no such border")
    values = values.take(range(1, size) if first else range(size - 1), axis)
    top, left, bottom, right = padding
    smaller = replace(
        node,
        weight=QTensor(values, node.weight.format),
        geometry=replace(geometry, padding=(top, left, bottom, right)),
    )
    return _replacing(case, smaller)


def _weights(node_id: NodeId, case: Case) -> Sequence[int]:
    node = case.program.graph[node_id] if node_id in case.program.graph else None
    if not isinstance(node, Synapses):
        return ()
    if isinstance(node, SparseSynapses):
        return _few(np.arange(node.weight.values.size))
    return _few(np.flatnonzero(node.weight.values))


def _with_weights(node_id: NodeId, case: Case, kept: list[int]) -> Case:
    node = case.program.graph[node_id]
    if isinstance(node, SparseSynapses):
        rows = np.repeat(np.arange(len(node.indptr) - 1), np.diff(node.indptr))
        columns, weights = node.indices[kept], node.weight.values[kept]
        return _replacing(case, restrict.with_entries(node, rows[kept], columns, weights))
    if not isinstance(node, Synapses):
        raise StageError(f"'{node_id}' has no weights")
    values = _only(node.weight.values, kept)
    return _replacing(case, replace(node, weight=QTensor(values, node.weight.format)))


def _values(case: Case) -> Sequence[int]:
    return _few(np.flatnonzero(case.frames))


def _with_values(case: Case, kept: list[int]) -> Case:
    return case.clipped(_only(case.frames, kept))


def _only(values: Int, kept: list[int]) -> Int:
    """The array with zeros in all places but those."""
    thinned = np.zeros_like(values)
    thinned.flat[kept] = values.ravel()[kept]
    return thinned


def _few(places: Int) -> Sequence[int]:
    """The places, or none if there are too many."""
    return places.tolist() if len(places) <= MAX_SINGLE else ()


def _inputs(case: Case) -> Iterator[Candidate]:
    """Smaller stimuli, and the narrowest range of each input that contains the rest."""
    frames, inputs = case.frames, case.program.inputs
    for most in (1, int(np.abs(frames).max()) // 2):
        if all(given.low <= 0 for given in inputs) and 0 < most <= max(g.high for g in inputs):
            yield partial(case.clipped, np.clip(frames, -most, most))
    for given in inputs:
        values = case.values[given.id]
        low, high = min(int(values.min()), 0), max(int(values.max()), 1)
        if (low, high) != (given.low, given.high):
            narrow = replace(given, low=low, high=high, format=QFormat.holding(low, high))
            yield partial(_replacing, case, narrow)


def _parameters(node_id: NodeId, name: str, case: Case) -> Iterator[Candidate]:
    """A simpler value of a node's parameter."""
    if node_id in case.program.graph and hasattr(case.program.graph[node_id], name):
        node = case.program.graph[node_id]
        for simpler in _simpler(node, name):
            yield partial(_with_parameter, case, node, name, simpler)


def _with_parameter(case: Case, node: QuantizedNode, name: str, value: Any) -> Case:
    return _replacing(case, replace(node, **{name: value}))


def _simpler(node: QuantizedNode, name: str) -> Iterator[Any]:
    value, least = getattr(node, name), _LEAST.get(name, 0)
    if isinstance(value, QTensor):
        yield from _simpler_tensors(node, value, least)
    elif isinstance(value, Geometry):
        usual: dict[str, Any] = {f.name: f.default for f in fields(value)}
        yield from (replace(value, **{name: usual[name]}) for name in usual)
    elif isinstance(value, bool):
        if value:
            yield False
    elif isinstance(value, int):
        yield from (
            n for n in (least, value // 2) if abs(n) < abs(value) and n >= min(least, value)
        )


def _simpler_tensors(node: QuantizedNode, tensor: QTensor, least: int) -> Iterator[QTensor]:
    values = tensor.values
    weights = isinstance(node, Synapses)
    if not weights and values.size > 1 and isinstance(node, Population):
        for one in (np.full(1, least), values.ravel()[:1]):
            yield QTensor.of(one)
    bounds = [(least, least)] if not weights else []
    most = int(np.abs(values).max(initial=0))
    bounds += [
        (-n if values.min(initial=0) < 0 else least, n) for n in (1, most // 2) if n >= least
    ]
    for low, high in bounds:
        clipped = np.clip(values, low, high)
        if not np.array_equal(clipped, values):
            yield QTensor(clipped, tensor.format) if weights else QTensor.of(clipped)


def _replacing(case: Case, node: QuantizedNode) -> Case:
    nodes = [node if other.id == node.id else other for other in case.program.graph]
    return Case(QuantizedGraph(Graph(nodes), case.program.window), case.frames)
