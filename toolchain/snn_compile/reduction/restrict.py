"""Restriction of a network to fewer neurons: fewer channels, smaller maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Input,
    QuantizedGraph,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.stages import StageError
from snn_compile.reduction.case import Case

Indices = npt.NDArray[np.intp]
Kept = tuple[Indices, ...]
"""The indices that are kept of each axis of a population."""


def of_channels(case: Case, node_id: NodeId, kept: list[int]) -> Case:
    """The network with some channels of a population, or of the input, only.

    Raises:
        StageError: grouped convolutions do not allow it.
    """
    program = case.program
    chosen = _everything(program)
    for tied in _tied(program, node_id):
        chosen[tied] = (np.array(kept, np.intp), *chosen[tied][1:])
    return _restrict(case, chosen)


def of_groups(case: Case, node_id: NodeId, kept: list[int]) -> Case:
    """The network with some groups of a convolution only, in its source and in its target.

    Raises:
        StageError: no group is left, or other synapses do not allow it.
    """
    graph, node = case.program.graph, case.program.graph[node_id]
    if not isinstance(node, ConvSynapses) or not kept:
        raise StageError(f"'{node_id}' is left without a group")
    (reader,) = graph.consumers(node_id)
    chosen = _everything(case.program)
    for population in (node.inputs[0], reader.id):
        size = graph[population].shape[0] // node.geometry.groups
        channels = np.concatenate([np.arange(k * size, (k + 1) * size) for k in kept])
        chosen[population] = (channels, *chosen[population][1:])
    return _restrict(case, chosen)


def of_maps(case: Case, size: tuple[int, int], cropped: Collection[NodeId]) -> Case:
    """The network on the upper left corner of some of its inputs and of every later map.

    Raises:
        StageError: nothing is left of a map, or maps that are added differ in size.
    """
    program = case.program
    sizes: dict[NodeId, tuple[int, ...]] = {
        node.id: size if node.id in cropped else node.shape[1:] for node in program.inputs
    }
    for population in program.populations:
        groups = program.synapses_into(population)
        after = [found for group in groups if (found := _size_after(program, group, sizes))]
        sizes[population.id] = after[0] if after else population.shape[1:]
    chosen = {
        node_id: (
            np.arange(program.graph[node_id].shape[0]),
            *(np.arange(n) for n in own),
        )
        for node_id, own in sizes.items()
    }
    return _restrict(case, chosen)


def _size_after(
    program: QuantizedGraph, group: Synapses, sizes: Mapping[NodeId, tuple[int, ...]]
) -> tuple[int, ...] | None:
    """Height and width behind a synapse group; None where its target may have any."""
    (source,) = group.inputs
    before = sizes[source]
    if isinstance(group, ConvSynapses):
        ky, kx = group.weight.shape[2:]
        size = group.geometry.output_size((before[0], before[1]), (ky, kx))
        if min(size) < 1:
            raise StageError(f"nothing is left of '{group.id}'")
        return size
    if group.shape[1:] == program.graph[source].shape[1:]:  # one to one, as relays are
        return before
    return None


def _everything(program: QuantizedGraph) -> dict[NodeId, Kept]:
    return {
        node.id: tuple(np.arange(n) for n in node.shape)
        for node in program.graph
        if not isinstance(node, Synapses)
    }


def _tied(program: QuantizedGraph, node_id: NodeId) -> set[NodeId]:
    """The populations with identical channels, through depthwise convolutions."""
    tied, waiting = set(), [node_id]
    pairs = [
        (group.inputs[0], reader.id)
        for group in program.graph
        if isinstance(group, ConvSynapses) and _is_depthwise(group)
        for reader in program.graph.consumers(group.id)
    ]
    while waiting:
        one = waiting.pop()
        if one not in tied:
            tied.add(one)
            waiting += [b for a, b in pairs if a == one] + [a for a, b in pairs if b == one]
    return tied


def _is_depthwise(group: ConvSynapses) -> bool:
    return 1 < group.geometry.groups == len(group.weight.values) and group.weight.shape[1] == 1


def _restrict(case: Case, chosen: Mapping[NodeId, Kept]) -> Case:
    graph = case.program.graph
    nodes: list[QuantizedNode] = []
    for node in graph:
        if isinstance(node, Synapses):
            (reader,) = graph.consumers(node.id)
            nodes.append(_synapses(node, graph, chosen[node.inputs[0]], chosen[reader.id]))
        else:
            shape = tuple(len(axis) for axis in chosen[node.id])
            nodes.append(replace(node, shape=shape, **_parameters(node, chosen[node.id])))
    program = QuantizedGraph(Graph(nodes), case.program.window)
    return Case(program, _frames(case, chosen, program))


def _frames(case: Case, chosen: Mapping[NodeId, Kept], program: QuantizedGraph) -> Int:
    """The stimuli for the remaining values of each input."""
    values = case.values
    for node in case.program.inputs:
        part = values[node.id]
        for axis, kept in enumerate(chosen[node.id], part.ndim - len(node.shape)):
            part = part.take(kept, axis)
        values[node.id] = part
    return program.inputs.join(values, case.axes)


def _parameters(node: QuantizedNode, kept: Kept) -> dict[str, Any]:
    """A population's parameters, which broadcast to it, for the remaining neurons."""
    if isinstance(node, Input):
        return {}
    changed: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, QTensor):
            values = value.values
            is_table = field.name in getattr(node, "tables", ())  # of which each channel has a row
            by_channel = is_table or (values.ndim == 1 and len(kept) > 1)
            axes = kept[:1] if by_channel else kept[len(kept) - values.ndim :]
            for axis, indices in enumerate(axes):
                if values.shape[axis] > 1:
                    values = values.take(indices, axis)
            changed[field.name] = QTensor(values, value.format)
    return changed


def _synapses(node: Synapses, graph: Graph[QuantizedNode], source: Kept, target: Kept) -> Synapses:
    shape = tuple(len(axis) for axis in target)
    before = graph[node.inputs[0]].shape
    match node:
        case ConvSynapses():
            return _convolution(node, source[0], target[0], shape, before[0])
        case DenseSynapses():
            rows, columns = _flat(target, node.shape), _flat(source, before)
            weight = QTensor(node.weight.values[np.ix_(rows, columns)], node.weight.format)
            return replace(node, shape=shape, weight=weight)
        case SparseSynapses():
            return _sparse(node, _flat(source, before), _flat(target, node.shape), shape, before)


def _convolution(
    node: ConvSynapses, source: Indices, target: Indices, shape: Shape, n_before: int
) -> ConvSynapses:
    values, groups = node.weight.values[target], node.geometry.groups
    if groups == 1:
        values = values[:, source]
    else:
        per_source, per_target = n_before // groups, len(node.weight.values) // groups
        kept, counts = np.unique(target // per_target, return_counts=True)
        needed = (kept[:, None] * per_source + np.arange(per_source)).ravel()
        if len(set(counts.tolist())) != 1 or not np.array_equal(source, needed):
            raise StageError(f"'{node.id}' joins groups of channels")
        groups = len(kept)
    geometry = replace(node.geometry, groups=groups)
    weight = QTensor(values, node.weight.format)
    return replace(node, shape=shape, weight=weight, geometry=geometry)


def _flat(kept: Kept, shape: Shape) -> Indices:
    flat: Indices = np.arange(prod(shape)).reshape(shape)[np.ix_(*kept)].ravel()
    return flat


def _sparse(
    node: SparseSynapses, source: Indices, target: Indices, shape: Shape, before: Shape
) -> SparseSynapses:
    rows = np.repeat(np.arange(len(node.indptr) - 1), np.diff(node.indptr))
    new_rows, new_columns = _positions(target, prod(node.shape)), _positions(source, prod(before))
    kept = (new_rows[rows] >= 0) & (new_columns[node.indices] >= 0)
    return with_entries(
        replace(node, shape=shape),
        new_rows[rows[kept]],
        new_columns[node.indices[kept]],
        node.weight.values[kept],
    )


def with_entries(node: SparseSynapses, rows: Int, columns: Int, weights: Int) -> SparseSynapses:
    """Sparse synapses with other entries, whose rows do not decrease."""
    counts = np.bincount(rows, minlength=prod(node.shape))
    return replace(
        node,
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        indices=columns.astype(np.int64),
        weight=QTensor(weights, node.weight.format),
    )


def _positions(kept: Indices, n: int) -> Int:
    positions = np.full(n, -1)
    positions[kept] = np.arange(len(kept))
    return positions
