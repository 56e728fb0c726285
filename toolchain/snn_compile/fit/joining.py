"""A network without its partial sums: what training works on."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from snn_compile.fit.align import aligned
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


def joined(program: QuantizedGraph) -> QuantizedGraph:
    """The network with each group of synapses whole again; the program itself if they all are.

    Neurons that only pass sums on disappear, relays of the same kind among them; those that are
    still needed come back.
    """
    at_once = integer_network(program)
    sending = (p for p in at_once.populations if isinstance(p, Neurons) and p.relay)
    passing = [neurons for neurons in sending if neurons.sends_sums]
    if not passing:
        return program
    graph = at_once.graph
    for neurons in reversed(passing):
        graph = _without(graph, neurons)
    graph, _ = aligned(graph, (), ONE)
    whole = QuantizedGraph(graph, at_once.window)
    return schedule(whole, program.window) if is_scheduled(program) else whole


def _without(graph: Graph[QuantizedNode], neurons: Neurons) -> Graph[QuantizedNode]:
    """The network in which the readers of neurons that pass sums on read what these read."""
    (name,) = neurons.inputs
    synapses = graph[name]
    if not isinstance(synapses, Synapses):
        raise TypeError(f"'{neurons.id}' reads no synapses")
    readers = [group for group in graph.consumers(neurons.id) if isinstance(group, Synapses)]
    source = graph[synapses.inputs[0]].shape
    if _is_identity(synapses, source):
        read = [replace(group, inputs=synapses.inputs) for group in readers]
    else:
        read = [_whole(group, synapses, source) for group in readers]
    changed = {group.id: group for group in read}
    gone = (name, neurons.id)
    return Graph(changed.get(node.id, node) for node in graph if node.id not in gone)


def _is_identity(synapses: Synapses, source: Shape) -> bool:
    """Whether each neuron receives what the one in its place sends."""
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


def _whole(group: Synapses, parts: Synapses, source: Shape) -> Synapses:
    """The synapses of all parts, in the place of those that add them up."""
    place = {**group.common_fields, "inputs": parts.inputs}
    n_parts = prod(parts.shape) // prod(group.shape)
    if n_parts == 1:
        return replace(parts, **place, exponent=group.exponent)
    if isinstance(parts, ConvSynapses):
        return _of_kernels(place, group, parts, n_parts, source)
    if not isinstance(parts, SparseSynapses):
        raise TypeError(f"'{parts.id}' are no parts")
    row = np.repeat(np.arange(len(parts.indptr) - 1), np.diff(parts.indptr))
    part, neuron = np.divmod(row, prod(group.shape))
    order = np.lexsort((parts.indices, part, neuron))
    indices, weight = parts.indices[order], parts.weight.values[order]
    n_rows, n_sources = prod(group.shape), prod(source)
    if len(indices) == n_rows * n_sources:
        values = QTensor(weight.reshape(n_rows, n_sources), parts.weight.format)
        return DenseSynapses(**place, weight=values, exponent=group.exponent)
    return SparseSynapses(
        **place,
        indptr=np.append(0, np.cumsum(np.bincount(neuron, minlength=n_rows))),
        indices=indices,
        weight=QTensor(weight, parts.weight.format),
        exponent=group.exponent,
    )


def _of_kernels(
    place: dict[str, Any], group: Synapses, parts: ConvSynapses, n_parts: int, source: Shape
) -> Synapses:
    """Of parts that are convolutions; a kernel of the whole map is a dense layer's."""
    weight, form = parts.weight.values, parts.weight.format
    geometry, n_groups = replace(parts.geometry, groups=1), _groups_of(group, n_parts)
    whole_map = weight.shape[2:] == source[1:] and geometry == Geometry()
    if whole_map and n_groups == 1 and parts.geometry.groups == n_parts:
        rows = weight.reshape(n_parts, prod(group.shape), -1).swapaxes(0, 1)
        values = QTensor(rows.reshape(len(rows), -1), form)
        return DenseSynapses(**place, weight=values, exponent=group.exponent)
    n_out = group.shape[0] // n_groups
    by_part = weight.reshape(n_groups, n_parts, n_out, *weight.shape[1:])
    if parts.geometry.groups == n_groups:  # each part has all kernels, zero outside a range
        kernels: Int = by_part.sum(axis=1)
        kernels = kernels.reshape(-1, *weight.shape[1:])
    else:
        kernels = by_part.swapaxes(1, 2).reshape(n_groups * n_out, -1, *weight.shape[2:])
    return ConvSynapses(
        **place,
        weight=QTensor(kernels, form),
        exponent=group.exponent,
        geometry=replace(geometry, groups=n_groups),
    )


def _groups_of(group: Synapses, n_parts: int) -> int:
    """In how many groups of channels the partial sums lie that synapses add up."""
    if isinstance(group, ConvSynapses):
        return group.geometry.groups
    if not isinstance(group, SparseSynapses):
        raise TypeError(f"'{group.id}' adds up no parts")
    size = int(group.indices[1] - group.indices[0])
    return prod(group.shape) // size
