"""Alignment of paths by integer relays, where passes have lengthened some of them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from snn_compile.fit.additions import unused_name
from snn_compile.fit.relays import one_to_one, relay_neurons
from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import Input, Neurons, Population, QuantizedNode


def align(
    graph: Graph[QuantizedNode], late: Container[NodeId], bits: QFormat
) -> tuple[Graph[QuantizedNode], dict[NodeId, NodeId]]:
    """The network with relays, so that every synapse between populations spans one depth.

    A relay repeats the messages of its source one step later. All readers of a source share its
    relays. The input needs none, because the host can send it at any step.

    Args:
        graph: the network, some of whose paths are too short.
        late: populations placed at the largest depth that their readers allow, so that their
            sources are relayed instead, unless a source is the input. All others have the smallest
            depth possible.
        bits: format of the relays' weights.

    Returns:
        The network, and the source of each relay.

    Raises:
        TypeError: a population that sends no messages would need a relay.
    """
    depth = _depths(graph, late)
    taken = {node.id for node in graph}
    added: dict[NodeId, QuantizedNode] = {}
    changed: list[QuantizedNode] = []
    relays: dict[tuple[NodeId, int], NodeId] = {}
    sources: dict[NodeId, NodeId] = {}

    def at_depth(source: NodeId, wanted: int) -> NodeId:
        """The source, or its relay at the given depth."""
        node = graph[source]
        if isinstance(node, Input) or depth[source] == wanted:
            return source
        if (source, wanted) not in relays:
            if not isinstance(node, Neurons):
                raise TypeError(f"'{source}' cannot be relayed")
            before = at_depth(source, wanted - 1)
            name = unused_name(f"{source}+{wanted - depth[source]}", taken)
            fields = {**node.common_fields, "id": NodeId(f"{name}/synapses"), "inputs": (before,)}
            synapses = one_to_one(fields, bits)
            fields = {**node.common_fields, "id": name, "inputs": (synapses.id,)}
            added[synapses.id] = synapses
            added[name] = relay_neurons(fields, node.messages)
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
