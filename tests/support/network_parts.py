"""A deep network in graded coding, in parts that follow one another.

Each part begins with what the one before sends. If every message of every part is right for what
the reference sends into it, so is every message of the whole network, by induction over its layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    Input,
    Neurons,
    Population,
    QuantizedGraph,
    QuantizedNode,
    Readout,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.reduction.cut import input_like, probe_of
from snn_compile.sim import reference


def parts(program: QuantizedGraph, frames: Int, n: int) -> Iterator[tuple[QuantizedGraph, Int]]:
    """About ``n`` parts of equally many nodes, each with its stimuli.

    Every population is in one part, whose reference sends what that of the whole network does.
    """
    if program.window.coding != "graded":
        raise ValueError("only a network without time, in graded coding, begins anywhere")
    run = reference.run(program, frames, record=True)
    sent = {**program.inputs.split(frames), **{k: v[:, 0] for k, v in run.messages.items()}}
    done = 0
    for layers in _slabs(program, n):
        part = _part(program, layers)
        given = part.inputs.join({node.id: sent[node.id].astype(np.int64) for node in part.inputs})
        ours = reference.run(part, given, record=True).messages
        for name in layers:
            assert np.array_equal(ours[name], run.messages[name]), name
        done += len(layers)
        yield part, given
    assert done == len(program.populations)


def _slabs(program: QuantizedGraph, n: int) -> Iterator[list[NodeId]]:
    """Names of the populations of each part: those of consecutive depths."""
    of_depth: dict[int, list[Population]] = {}
    for node in program.populations:
        of_depth.setdefault(program.depth[node.id], []).append(node)
    most, held, size = len(program.graph) / n, list[NodeId](), 0
    for depth in sorted(of_depth):
        held += [node.id for node in of_depth[depth]]
        size += sum(1 + len(node.inputs) for node in of_depth[depth])
        if size >= most:
            yield held
            held, size = [], 0
    if held:
        yield held


def _part(program: QuantizedGraph, layers: list[NodeId]) -> QuantizedGraph:
    """The populations, their synapses, and inputs in place of who sends to them."""
    own = {program.graph[name].id: program.graph[name] for name in layers}
    into = {s.id: s for name in layers for s in program.synapses_into(_population(own[name]))}
    given = {s.inputs[0] for s in into.values()} - set(own)
    nodes: list[QuantizedNode] = [_input(program, name) for name in dict.fromkeys(given)]
    nodes += [node for node in program.graph if node.id in own or node.id in into]
    if not any(isinstance(node, Readout) for node in nodes):
        nodes += probe_of(program.readouts[0], own[layers[-1]])
    return QuantizedGraph(Graph(nodes), program.window)


def _population(node: QuantizedNode) -> Population:
    assert isinstance(node, Population)
    return node


def _input(program: QuantizedGraph, name: NodeId) -> Input:
    """An input that sends what a population does."""
    node = program.graph[name]
    if isinstance(node, Input):
        return replace(node, coding=InputCoding.GRADED)
    assert isinstance(node, Neurons)
    return input_like(node, node.messages, InputCoding.GRADED)
