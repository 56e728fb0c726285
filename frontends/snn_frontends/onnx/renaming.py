"""Names of values in copies of nodes, the graphs in their attributes included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node with other names of its values; names that are missing stay.

    Inside the graphs of its attributes, only what they take from outside is renamed.
    """
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for attribute in copy.attribute:
        for graph in (attribute.g, *attribute.graphs):
            _rename_captured(graph, names)
    return copy


def _rename_captured(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    own = set(defined_in(graph))
    outside = {name: new for name, new in names.items() if name not in own}
    for node in graph.node:
        node.input[:] = [outside.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename_captured(inner, outside)
    for output in graph.output:
        output.name = outside.get(output.name, output.name)


def defined_in(graph: onnx.GraphProto) -> Iterator[str]:
    """The names that a graph gives to values itself, without those of graphs inside it."""
    for entry in graph.input:
        yield entry.name
    for tensor in graph.initializer:
        yield tensor.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    for node in graph.node:
        yield from filter(None, node.output)


def names_in(graph: onnx.GraphProto) -> Iterator[str]:
    """All names of values in a graph, those of graphs inside it included."""
    yield from defined_in(graph)
    for output in graph.output:
        yield output.name
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from names_in(inner)
