"""The graph of a network: immutable nodes, immutable and acyclic edges.

``Node.inputs`` is the only record of edges. An edit returns a new graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from math import prod
from typing import Any, Generic, NewType, Self, TypeVar

import numpy as np

from snn_compile.errors import Origin

NodeId = NewType("NodeId", str)
Shape = tuple[int, ...]


def maps_shape(shape: Shape) -> Shape:
    """The shape of a population: always (C, H, W), with vectors as C maps of one point."""
    if len(shape) == 1:
        return (shape[0], 1, 1)
    if len(shape) == 2:
        return (shape[0], 1, shape[1])
    if len(shape) == 3:
        return shape
    return (shape[0], 1, prod(shape[1:]))


def freeze(value: Any) -> None:
    """Make every array inside a value read-only: graphs are shared."""
    if isinstance(value, np.ndarray):
        value.setflags(write=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """One operator.

    Attributes:
        id: unique in its graph, and printable.
        inputs: the nodes it reads, in order.
        shape: shape of its output for one sample, without the batch axis, channels first.
        origin: its operator in the user's file.
    """

    id: NodeId
    inputs: tuple[NodeId, ...]
    shape: Shape
    origin: Origin

    def __post_init__(self) -> None:
        for value in vars(self).values():
            freeze(value)

    def changed(self, **parameters: Any) -> Self:
        """The node with other parameters."""
        return replace(self, **parameters)

    @property
    def common_fields(self) -> dict[str, Any]:
        """Id, inputs, shape and origin: the fields that a replacement inherits."""
        return {
            "id": self.id,
            "inputs": self.inputs,
            "shape": self.shape,
            "origin": self.origin,
        }


N = TypeVar("N", bound=Node)


class Graph(Generic[N]):
    """An immutable directed acyclic graph of nodes, iterated in topological order."""

    def __init__(self, nodes: Iterable[N]) -> None:
        listed = list(nodes)
        by_id = {node.id: node for node in listed}
        if len(by_id) != len(listed):
            counts = Counter(node.id for node in listed)
            twice = sorted(node_id for node_id, count in counts.items() if count > 1)
            raise ValueError(f"node ids used twice: {twice}")
        for node in listed:
            if not (isinstance(node.id, str) and node.id.isprintable()):
                raise ValueError(f"{node.id!r} is not an id: not printable text")
            for source in node.inputs:
                if source not in by_id:
                    raise ValueError(f"node '{node.id}' reads '{source}', which does not exist")
        consumers: dict[NodeId, list[N]] = {node_id: [] for node_id in by_id}
        for node in listed:
            for source in dict.fromkeys(node.inputs):
                consumers[source].append(node)
        self._consumers = {node_id: tuple(readers) for node_id, readers in consumers.items()}
        self._nodes: dict[NodeId, N] = {node.id: node for node in self._sorted(listed)}

    def _sorted(self, listed: list[N]) -> Iterator[N]:
        """Nodes after all that they read; of those that are ready, the one listed first."""
        position = {node.id: index for index, node in enumerate(listed)}
        order = TopologicalSorter({node.id: node.inputs for node in listed})
        try:
            order.prepare()
        except CycleError as error:
            raise ValueError("the graph has a cycle") from error
        ready: list[int] = []
        while order.is_active():
            for node_id in order.get_ready():
                heappush(ready, position[node_id])
            node = listed[heappop(ready)]
            yield node
            order.done(node.id)

    def __iter__(self) -> Iterator[N]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def __getitem__(self, node_id: NodeId) -> N:
        return self._nodes[node_id]

    def consumers(self, node_id: NodeId) -> tuple[N, ...]:
        """The nodes that read a node, each once, in the order of construction."""
        return self._consumers[node_id]

    def edit(
        self,
        *,
        replaced: Iterable[N] = (),
        bypassed: Mapping[NodeId, NodeId] | None = None,
        added: Iterable[N] = (),
    ) -> Graph[N]:
        """A new graph with some nodes replaced, added, or removed with their readers rewired.

        Args:
            replaced: replacements of nodes with the same id.
            bypassed: for each removed node, the node its readers read instead.
            added: further nodes.
        """
        bypass = dict(bypassed or {})

        def resolve(node_id: NodeId) -> NodeId:
            while node_id in bypass:
                node_id = bypass[node_id]
            return node_id

        new = {node.id: node for node in replaced}
        kept = [new.get(node.id, node) for node in self if node.id not in bypass]
        return Graph(
            replace(node, inputs=tuple(resolve(s) for s in node.inputs)) for node in [*kept, *added]
        )

    def prune(self, outputs: Iterable[NodeId]) -> Graph[N]:
        """The part of the graph that the given nodes depend on."""
        needed: set[NodeId] = set()
        stack = list(outputs)
        while stack:
            node_id = stack.pop()
            if node_id not in needed:
                needed.add(node_id)
                stack.extend(self[node_id].inputs)
        return Graph(node for node in self if node.id in needed)
