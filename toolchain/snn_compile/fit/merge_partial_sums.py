"""Merging of partial sums: the inverse of splitting, for training."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from snn_compile.fit.align import align
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Neurons,
    QuantizedGraph,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.schedule import integer_network, is_scheduled, schedule

ONE = QFormat(2)


def merge_partial_sums(program: QuantizedGraph) -> QuantizedGraph:
    """The network with every split synapse group merged; the same object if none is split.

    Neurons that only forward sums are removed, relays among them. Relays that the merged network
    still needs are inserted again.

    Raises:
        TypeError: the partial sums do not have the form in which ``SplitFanIn`` makes them.
    """
    at_once = integer_network(program)
    sending = (p for p in at_once.populations if isinstance(p, Neurons) and p.relay)
    passing = [neurons for neurons in sending if neurons.sends_sums]
    if not passing:
        return program
    graph = at_once.graph
    for neurons in reversed(passing):
        graph = _without(graph, neurons)
    graph, _ = align(graph, (), ONE)
    whole = QuantizedGraph(graph, at_once.window)
    return schedule(whole, program.window) if is_scheduled(program) else whole


def _without(graph: Graph[QuantizedNode], neurons: Neurons) -> Graph[QuantizedNode]:
    """The network without some neurons that forward sums; their readers read their sources."""
    (name,) = neurons.inputs
    synapses = graph[name]
    if not isinstance(synapses, Synapses):
        raise TypeError(f"'{neurons.id}' reads no synapses")
    readers = [group for group in graph.consumers(neurons.id) if isinstance(group, Synapses)]
    source = graph[synapses.inputs[0]].shape
    if _is_identity(synapses, source):
        read = [replace(group, inputs=synapses.inputs) for group in readers]
    else:
        read = [_merge(group, synapses, source) for group in readers]
    changed = {group.id: group for group in read}
    gone = (name, neurons.id)
    return Graph(changed.get(node.id, node) for node in graph if node.id not in gone)


def _is_identity(synapses: Synapses, source: Shape) -> bool:
    """Whether each neuron has one synapse of weight 1, from the neuron of the same index."""
    if synapses.shape != source or (synapses.weight.values != 1).any() or synapses.exponent:
        return False
    if isinstance(synapses, ConvSynapses):
        form = Geometry(groups=source[0])
        return synapses.geometry == form and synapses.weight.shape == (source[0], 1, 1, 1)
    n = prod(source)
    return (
        isinstance(synapses, SparseSynapses)
        and np.array_equal(synapses.indptr, np.arange(n + 1))
        and np.array_equal(synapses.indices, np.arange(n))
    )


def _merge(group: Synapses, parts: Synapses, source: Shape) -> Synapses:
    """The synapses of all parts as one group, which replaces the group that adds them up."""
    fields = {**group.common_fields, "inputs": parts.inputs}
    n_parts = prod(parts.shape) // prod(group.shape)
    if n_parts == 1:
        return replace(parts, **fields, exponent=group.exponent)
    if isinstance(parts, ConvSynapses):
        return _merge_kernels(fields, group, parts, n_parts, source)
    if not isinstance(parts, SparseSynapses):
        raise TypeError(f"'{parts.id}' does not feed partial sums")
    row = np.repeat(np.arange(len(parts.indptr) - 1), np.diff(parts.indptr))
    part, neuron = np.divmod(row, prod(group.shape))
    order = np.lexsort((parts.indices, part, neuron))
    indices, weight = parts.indices[order], parts.weight.values[order]
    n_rows, n_sources = prod(group.shape), prod(source)
    if len(indices) == n_rows * n_sources:
        values = QTensor(weight.reshape(n_rows, n_sources), parts.weight.format)
        return DenseSynapses(**fields, weight=values, exponent=group.exponent)
    return SparseSynapses(
        **fields,
        indptr=np.append(0, np.cumsum(np.bincount(neuron, minlength=n_rows))),
        indices=indices,
        weight=QTensor(weight, parts.weight.format),
        exponent=group.exponent,
    )


def _merge_kernels(
    fields: dict[str, Any], group: Synapses, parts: ConvSynapses, n_parts: int, source: Shape
) -> Synapses:
    """The merged kernels of convolutions; a kernel of the whole map becomes a dense layer."""
    weight, form = parts.weight.values, parts.weight.format
    geometry, n_groups = replace(parts.geometry, groups=1), _groups_of(group, n_parts)
    whole_map = weight.shape[2:] == source[1:] and geometry == Geometry()
    if whole_map and n_groups == 1 and parts.geometry.groups == n_parts:
        rows = weight.reshape(n_parts, prod(group.shape), -1).swapaxes(0, 1)
        values = QTensor(rows.reshape(len(rows), -1), form)
        return DenseSynapses(**fields, weight=values, exponent=group.exponent)
    n_out = group.shape[0] // n_groups
    by_part = weight.reshape(n_groups, n_parts, n_out, *weight.shape[1:])
    if parts.geometry.groups == n_groups:  # each part has all kernels, zero outside a range
        kernels: Int = by_part.sum(axis=1)
        kernels = kernels.reshape(-1, *weight.shape[1:])
    else:
        kernels = by_part.swapaxes(1, 2).reshape(n_groups * n_out, -1, *weight.shape[2:])
    return ConvSynapses(
        **fields,
        weight=QTensor(kernels, form),
        exponent=group.exponent,
        geometry=replace(geometry, groups=n_groups),
    )


def _groups_of(group: Synapses, n_parts: int) -> int:
    """Groups of channels in the partial sums that the synapses add up."""
    if isinstance(group, ConvSynapses):
        return group.geometry.groups
    if not isinstance(group, SparseSynapses):
        raise TypeError(f"'{group.id}' does not add up partial sums")
    size = int(group.indices[1] - group.indices[0])
    return prod(group.shape) // size
