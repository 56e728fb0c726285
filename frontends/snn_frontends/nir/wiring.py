"""The nodes and edges of a NIR file as one flat graph without cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx
import nir

from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError, raise_all
from snn_compile.printable import printable


@dataclass(frozen=True, eq=False)
class Wiring:
    """A flat graph.

    Attributes:
        nodes: by name, in topological order; names of nested nodes are joined by dots.
        sources: the nodes that each node reads, in the order of the file.
    """

    nodes: Mapping[str, Any]
    sources: Mapping[str, tuple[str, ...]]


def flat(graph: nir.NIRGraph, file: str) -> Wiring:
    """Inline nested graphs, and drop nodes that lead to no output.

    Raises:
        UnsupportedError: the network is recurrent.
        ModelError: not exactly one input, no output, or an edge to an undefined node.
    """
    nodes, edges = _unnested(graph, "")
    origin = Origin(file)
    dangling = [end for edge in edges for end in edge if end not in nodes]
    if dangling:
        raise ModelError(f"an edge names '{dangling[0]}', which is not a node", origin=origin)
    topology: nx.DiGraph[str] = nx.DiGraph()
    topology.add_nodes_from(nodes)
    topology.add_edges_from(edges)
    inputs = [name for name, node in nodes.items() if _is_port(nir.Input, name, node)]
    outputs = [name for name, node in nodes.items() if _is_port(nir.Output, name, node)]
    if len(inputs) != 1:
        raise ModelError(
            f"the graph has {len(inputs)} inputs",
            code="several-inputs" if inputs else "no-input",
            origin=origin,
            hint="a spiking network is read with exactly one input",
        )
    if not outputs:
        raise ModelError("the graph has no output", code="empty-graph", origin=origin)
    raise_all(_cycles(topology, nodes, file))
    needed = set(outputs).union(*(nx.ancestors(topology, name) for name in outputs))
    if inputs[0] not in needed:
        raise ModelError("no output depends on the input", code="empty-graph", origin=origin)
    order = [name for name in nx.lexicographical_topological_sort(topology) if name in needed]
    return Wiring(
        {name: nodes[name] for name in order},
        {name: tuple(a for a, b in edges if b == name) for name in order},
    )


def _is_port(kind: type, name: str, node: Any) -> bool:
    return isinstance(node, kind) and "." not in name


def _cycles(topology: nx.DiGraph[str], nodes: Mapping[str, Any], file: str) -> list[CompileError]:
    return [
        UnsupportedError(
            f"the network is recurrent: {', '.join(sorted(part))} feed each other",
            code="recurrent",
            origin=Origin(file, first, type(nodes[first]).__name__),
            hint="only networks without cycles are compiled: train one without recurrent synapses",
        )
        for part in nx.strongly_connected_components(topology)
        if (first := min(part)) and (len(part) > 1 or topology.has_edge(first, first))
    ]


def _unnested(graph: nir.NIRGraph, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes and edges; the ports of a nested graph become identity nodes.

    Names become printable, so that they can be shown anywhere.
    """
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    ports: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        path = prefix + printable(name)
        if not isinstance(node, nir.NIRGraph):
            _add(nodes, {path: node})
            continue
        inner, wires = _unnested(node, f"{path}.")
        _add(nodes, inner)
        edges += wires
        ports[name] = _ports(node, f"{path}.")
    for a, b in graph.edges:
        source = ports[a][1] if a in ports else prefix + printable(a)
        target = ports[b][0] if b in ports else prefix + printable(b)
        edges.append((source, target))
    return nodes, edges


def _add(nodes: dict[str, Any], more: dict[str, Any]) -> None:
    for name, node in more.items():
        if name in nodes:
            raise ModelError(f"two nodes are called '{name}'")
        nodes[name] = node


def _ports(graph: nir.NIRGraph, prefix: str) -> tuple[str, str]:
    found = []
    for kind in (nir.Input, nir.Output):
        names = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
        if len(names) != 1:
            raise ModelError(f"the nested graph '{prefix[:-1]}' has {len(names)} {kind.__name__}s")
        found.append(prefix + printable(names[0]))
    return found[0], found[1]
