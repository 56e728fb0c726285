"""Topological order and liveness of the nodes of a file."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import onnx

from snn_compile.errors import ModelError, Origin


def in_order(nodes: list[onnx.NodeProto], given: set[str], file: str) -> list[onnx.NodeProto]:
    """The nodes in topological order.

    Args:
        nodes: in the order of the file.
        given: names of values that no node computes.
        file: for complaints.

    Raises:
        ModelError: they form a cycle, or two define the same value.
    """
    producers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in producers or name in given:
                origin = Origin(file, node.name or name, node.op_type)
                raise ModelError(f"the value '{name}' is defined twice", origin=origin)
            producers[name] = index
    reads = {
        index: [producers[name] for name in node.input if name in producers]
        for index, node in enumerate(nodes)
    }
    if all(source < index for index, sources in reads.items() for source in sources):
        return nodes
    try:
        return [nodes[index] for index in TopologicalSorter(reads).static_order()]
    except CycleError as error:
        raise ModelError("the network has a cycle", code="cycle", origin=Origin(file)) from error


def live(nodes: list[onnx.NodeProto], outputs: list[str]) -> set[int]:
    """The identities of the nodes that an output depends on, of nodes in topological order."""
    needed, found = set(outputs), set[int]()
    for node in reversed(nodes):
        if needed.intersection(filter(None, node.output)):
            found.add(id(node))
            needed.update(reads_of(node))
    return found


def read_by(nodes: list[onnx.NodeProto], outputs: list[str]) -> set[str]:
    """The names that outputs depend on, of nodes in any order."""
    producers = {name: node for node in nodes for name in filter(None, node.output)}
    needed, waiting = set[str](), list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            if name in producers:
                waiting.extend(reads_of(producers[name]))
    return needed


def reads_of(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, including captures of graphs in its attributes."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads_of(inner)
