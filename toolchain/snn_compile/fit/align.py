"""Relays in integers, for paths that have become shorter than others."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from itertools import count

from snn_compile.fit.passing import one_to_one, passing_on
from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import Input, Neurons, Population, QuantizedNode


def aligned(
    graph: Graph[QuantizedNode], late: Container[NodeId], bits: QFormat
) -> tuple[Graph[QuantizedNode], dict[NodeId, NodeId]]:
    """A network of which every synapse between populations spans one depth.

    A relay passes on what its source sends, one step later. All readers of a source share its
    relays; the input needs none, because the host can send it at any step.

    Args:
        graph: the network, some of whose paths are too short.
        late: populations that come as late as their readers allow, so that rather what they read
            is relayed, unless that is the input; the others come as early as they can.
        bits: format of the relays' weights.

    Returns:
        The network, and the source of each relay.
    """
    depth = _depths(graph, late)
    added: dict[NodeId, QuantizedNode] = {}
    changed: list[QuantizedNode] = []
    relays: dict[tuple[NodeId, int], NodeId] = {}
    sources: dict[NodeId, NodeId] = {}

    def at_depth(source: NodeId, wanted: int) -> NodeId:
        """The source, or its relay whose messages come from the wanted depth."""
        node = graph[source]
        if isinstance(node, Input) or depth[source] == wanted:
            return source
        if (source, wanted) not in relays:
            if not isinstance(node, Neurons):
                raise TypeError(f"'{source}' cannot be relayed")
            before = at_depth(source, wanted - 1)
            name = fresh(f"{source}+{wanted - depth[source]}", graph)
            place = {**node.common_fields, "id": NodeId(f"{name}/synapses"), "inputs": (before,)}
            synapses = one_to_one(place, bits)
            place = {**node.common_fields, "id": name, "inputs": (synapses.id,)}
            added[synapses.id] = synapses
            added[name] = passing_on(place, node.messages)
            relays[source, wanted], sources[name] = name, source
        return relays[source, wanted]

    for node in graph:
        if isinstance(node, Population):
            for group in (graph[name] for name in node.inputs):
                source = at_depth(group.inputs[0], depth[node.id] - 1)
                if source != group.inputs[0]:
                    changed.append(replace(group, inputs=(source,)))
    return graph.edit(replaced=changed, added=added.values()), sources


def _depths(graph: Graph[QuantizedNode], late: Container[NodeId]) -> dict[NodeId, int]:
    """The depth of the input and of each population."""
    depth: dict[NodeId, int] = {}
    populations = [node for node in graph if isinstance(node, Population)]
    for node in graph:
        if isinstance(node, Input):
            depth[node.id] = 0
        elif isinstance(node, Population):
            depth[node.id] = 1 + max(depth[graph[name].inputs[0]] for name in node.inputs)
    for node in reversed(populations):
        sources = {graph[name].inputs[0] for name in node.inputs}
        if node.id in late and not any(isinstance(graph[name], Input) for name in sources):
            groups = graph.consumers(node.id)
            readers = [reader for group in groups for reader in graph.consumers(group.id)]
            depth[node.id] = min(depth[reader.id] for reader in readers) - 1
    return depth


def fresh(name: str, taken: Container[object]) -> NodeId:
    """The name, or the name and a number, whichever is free, for a population and its synapses."""
    names = (name if k == 0 else f"{name}.{k}" for k in count())
    return NodeId(next(n for n in names if n not in taken and f"{n}/synapses" not in taken))
