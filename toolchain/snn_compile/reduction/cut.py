"""Cuts of a network: fewer outputs, layers, synapses; a later input, an earlier output.

Every function returns a network checked by its constructor, and raises ``StageError`` if nothing is
left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.files.documents import check_size
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    DenseSynapses,
    Input,
    Neurons,
    Population,
    QuantizedGraph,
    QuantizedNode,
    Readout,
)
from snn_compile.ir.schedule import integer_network, is_scheduled
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.stages import StageError
from snn_compile.reduction.case import Case
from snn_compile.sim import reference

PROBE = "probe"


def with_outputs(case: Case, kept: Collection[NodeId]) -> Case:
    """The network with some of its outputs only."""
    outputs = {node.id for node in case.program.readouts}
    return without(case, outputs - set(kept))


def without(case: Case, removed: Collection[NodeId]) -> Case:
    """The network without some nodes, as if they were silent."""
    return _grown(case, _left(case.program.graph, set(removed)))


def bypassing(case: Case, node_id: NodeId) -> Case:
    """The network with a population replaced by its source."""
    program = case.program
    population = program.graph[node_id]
    if not isinstance(population, Population) or len(population.inputs) != 1:
        raise StageError(f"'{node_id}' has no single source")
    (source,) = program.graph[population.inputs[0]].inputs
    if program.graph[source].shape != population.shape:
        raise StageError(f"'{source}' has another shape than '{node_id}'")
    readers = program.graph.consumers(node_id)
    moved = {reader.id: replace(reader, inputs=(source,)) for reader in readers}
    return _grown(case, [moved.get(node.id, node) for node in program.graph])


def ending_at(case: Case, node_id: NodeId) -> Case:
    """The network up to a population, whose messages are added up by an output of one neuron."""
    program = case.program
    population, readout = program.graph[node_id], program.readouts[0]
    if isinstance(population, Readout):
        raise StageError(f"'{node_id}' is an output")
    others = (node for node in program.graph if not isinstance(node, Readout))
    return _grown(case, [*others, *probe_of(readout, population)])


def probe_of(readout: Readout, population: QuantizedNode) -> tuple[DenseSynapses, Readout]:
    """An output of one neuron like another output, which adds up a population's messages."""
    ones = QTensor(np.ones((1, prod(population.shape)), np.int64), QFormat(2))
    shape = (1,) * len(readout.shape)
    synapses = DenseSynapses(
        id=NodeId(f"{population.id}/{PROBE}.synapses"),
        inputs=(population.id,),
        shape=shape,
        origin=population.origin,
        weight=ones,
        exponent=0,
    )
    probe = replace(
        readout,
        id=NodeId(f"{population.id}/{PROBE}"),
        inputs=(synapses.id,),
        shape=shape,
        bias=QTensor.of([0]),
    )
    return synapses, probe


def ending_in(case: Case, node_id: NodeId) -> Case:
    """The network up to a population, which is replaced by an output."""
    program = case.program
    population, readout = program.graph[node_id], program.readouts[0]
    if isinstance(population, Readout):
        raise StageError(f"'{node_id}' is an output")
    bias = QTensor.of(np.zeros(population.shape[0], np.int64))
    output = replace(
        readout, id=node_id, inputs=population.inputs, shape=population.shape, bias=bias
    )
    others = (n for n in program.graph if not isinstance(n, Readout) and n.id != node_id)
    return _grown(case, [*others, output])


def beginning_at(case: Case, node_id: NodeId) -> Case:
    """The network downstream of a population, whose messages become the stimuli."""
    program = case.program
    population = program.graph[node_id]
    if not isinstance(population, Population) or isinstance(population, Readout):
        raise StageError(f"'{node_id}' sends no messages")
    spread = is_scheduled(program)
    at_once = integer_network(program)
    sender = at_once.graph[node_id]
    sending = sum(prod(p.shape) for p in at_once.populations)
    kept = 8 * len(case.frames) * at_once.window.n_steps * sending
    check_size("the messages of all layers", kept)
    sent = reference.run(at_once, case.frames, record=True).messages[node_id].astype(np.int64)
    one_step = at_once.window.n_steps == 1
    coding = InputCoding.GRADED if one_step else InputCoding.EVENTS
    messages = sender.messages if isinstance(sender, Input | Neurons) else (0, 0)
    given = input_like(population, messages, program.input_coding if spread else coding)
    nodes = [given if node.id == node_id else node for node in program.graph]
    into = set(population.inputs) | {node.id for node in program.inputs}
    left = _left(Graph(nodes), into)
    return Case(_up_to_outputs(case, left), sent[:, 0] if one_step else sent)


def input_like(node: QuantizedNode, messages: tuple[int, int], coding: InputCoding) -> Input:
    """An input that sends what a population does, messages from the smallest to the largest."""
    low, high = messages
    return Input(
        id=node.id,
        inputs=(),
        shape=node.shape,
        origin=node.origin,
        format=QFormat.holding(low, high),
        low=low,
        high=high,
        coding=coding,
    )


def _left(graph: Graph[QuantizedNode], removed: set[NodeId]) -> list[QuantizedNode]:
    """The nodes with a remaining source, or without sources from the start."""
    left: dict[NodeId, QuantizedNode] = {}
    for node in graph:
        inputs = tuple(source for source in node.inputs if source in left)
        if node.id not in removed and (inputs or isinstance(node, Input)):
            left[node.id] = replace(node, inputs=inputs)
    return list(left.values())


def _grown(case: Case, nodes: Iterable[QuantizedNode]) -> Case:
    """The case with a network of these nodes, as far as an output depends on them."""
    return case.on(_up_to_outputs(case, nodes))


def _up_to_outputs(case: Case, nodes: Iterable[QuantizedNode]) -> QuantizedGraph:
    graph = Graph(nodes)
    outputs = [node.id for node in graph if isinstance(node, Readout)]
    if not outputs:
        raise StageError("no output is left")
    return QuantizedGraph(graph.prune(outputs), case.program.window)
