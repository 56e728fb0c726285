"""Float networks made smaller: fewer nodes and simpler parameters, for the checks of passes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from snn_compile.ir import ann, spiking
from snn_compile.ir.graph import Graph, Node, NodeId
from snn_compile.ir.stages import ANNGraph, SpikingGraph, StageError
from snn_compile.ir.text import STRUCTURE, dump_text
from snn_compile.reduction.case import Size
from snn_compile.reduction.cut import PROBE
from snn_compile.reduction.search import Choice, Strategy, Thinning

_INPUTS = (ann.Input, spiking.Input)
_OUTPUTS = (ann.Output, spiking.Readout)
_SUMS = (ann.Add, spiking.Population)
"""Nodes that remain valid after losing a source."""
_POSITIVE = ("threshold", "unit", "var", "drop")


@dataclass(frozen=True, eq=False)
class FloatCase:
    """A network without an executor; only commands can check it.

    Attributes:
        stage: the network.
    """

    stage: ANNGraph | SpikingGraph

    @property
    def size(self) -> Size:
        """Its size; a number that is neither 0 nor 1 counts as two bits."""
        nodes: list[Node] = list(self.stage.graph)
        arrays = [value for node in nodes for value in vars(node).values() if _is_array(value)]
        numbers = sum(int((a != 0).sum() + ((a != 0) & (a != 1)).sum()) for a in arrays)
        window = getattr(self.stage, "window", None)
        return Size(
            len(nodes),
            sum(prod(node.shape) for node in nodes),
            sum(array.size for array in arrays),
            window.n_steps if window else 1,
            0,
            numbers,
        )

    @property
    def digest(self) -> str:
        """A hash of the network."""
        return hashlib.sha256(dump_text(self.stage, {}).encode()).hexdigest()

    def check(self) -> None:
        """No check beyond the stage's constructor."""


def strategies(case: FloatCase) -> Iterator[Strategy[FloatCase]]:
    """The strategies, large parts first."""
    yield Thinning("outputs", partial(_ids, _OUTPUTS), _with_outputs)
    yield Choice("ends", _ends)
    yield Choice("beginnings", _beginnings)
    yield Thinning("layers", _inner, _with_layers)
    yield Choice("bypasses", lambda c: (partial(_bypassing, c, n) for n in _inner(c)))
    for node in _nodes(case):
        for name in [f.name for f in fields(node) if f.name not in (*STRUCTURE, "origin")]:
            yield Choice("parameters", partial(_parameters, node.id, name))


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _nodes(case: FloatCase) -> list[Node]:
    return list(case.stage.graph)


def _ids(kinds: tuple[type[Node], ...], case: FloatCase) -> list[NodeId]:
    return [node.id for node in _nodes(case) if isinstance(node, kinds)]


def _inner(case: FloatCase) -> list[NodeId]:
    return [node.id for node in _nodes(case) if not isinstance(node, (*_INPUTS, *_OUTPUTS))]


def _with_outputs(case: FloatCase, kept: Collection[NodeId]) -> FloatCase:
    return _without(case, set(_ids(_OUTPUTS, case)) - set(kept))


def _with_layers(case: FloatCase, kept: Collection[NodeId]) -> FloatCase:
    return _without(case, set(_inner(case)) - set(kept))


def _without(case: FloatCase, removed: set[NodeId]) -> FloatCase:
    """The network without some nodes and their dependents."""
    return _left(case, (node for node in _nodes(case) if node.id not in removed))


def _left(case: FloatCase, nodes: Iterable[Node]) -> FloatCase:
    """The nodes whose sources are kept; sums need only one."""
    left: dict[NodeId, Node] = {}
    for node in nodes:
        inputs = tuple(source for source in node.inputs if source in left)
        if inputs == node.inputs or (isinstance(node, _SUMS) and inputs):
            left[node.id] = replace(node, inputs=inputs)
    return _grown(case, left.values())


def _grown(case: FloatCase, nodes: Iterable[Node]) -> FloatCase:
    graph: Graph[Any] = Graph(nodes)
    outputs = [node.id for node in graph if isinstance(node, _OUTPUTS)]
    if not outputs:
        raise StageError("no output is left")
    stage: Any = case.stage
    return FloatCase(replace(stage, graph=graph.prune(outputs)))


def _ends(case: FloatCase) -> Iterator[Callable[[], FloatCase]]:
    if isinstance(case.stage, ANNGraph):
        yield from (partial(_ending_at, case, node_id) for node_id in _inner(case))


def _ending_at(case: FloatCase, node_id: NodeId) -> FloatCase:
    others = [node for node in _nodes(case) if not isinstance(node, _OUTPUTS)]
    (node,) = (node for node in others if node.id == node_id)
    place = {**node.common_fields, "id": NodeId(f"{node_id}/{PROBE}"), "inputs": (node_id,)}
    return _grown(case, [*others, ann.Output(**place)])


def _beginnings(case: FloatCase) -> Iterator[Callable[[], FloatCase]]:
    if isinstance(case.stage, ANNGraph):
        yield from (partial(_beginning_at, case, n) for n in reversed(_inner(case)))


def _beginning_at(case: FloatCase, node_id: NodeId) -> FloatCase:
    """The network downstream of a node, which becomes the input."""
    begun = (
        ann.Input(**{**node.common_fields, "inputs": ()}) if node.id == node_id else node
        for node in _nodes(case)
        if not isinstance(node, _INPUTS)
    )
    return _left(case, begun)


def _bypassing(case: FloatCase, node_id: NodeId) -> FloatCase:
    """The network with a node replaced by its source."""
    by_id = {node.id: node for node in _nodes(case)}
    node = by_id[node_id]
    if len(node.inputs) != 1:
        raise StageError(f"'{node_id}' has no single source")
    source = by_id[node.inputs[0]]
    if isinstance(node, spiking.Population):
        source = by_id[source.inputs[0]]
    if source.shape != node.shape:
        raise StageError(f"'{source.id}' has another shape than '{node_id}'")
    moved = [
        replace(n, inputs=tuple(source.id if s == node_id else s for s in n.inputs))
        for n in by_id.values()
        if n.id != node_id
    ]
    return _grown(case, moved)


def _parameters(node_id: NodeId, name: str, case: FloatCase) -> Iterator[Callable[[], FloatCase]]:
    """An array set to zeros or ones."""
    found = [node for node in _nodes(case) if node.id == node_id and hasattr(node, name)]
    for node in found:
        value = getattr(node, name)
        if _is_array(value):
            yield from (
                partial(_replacing, case, replace(node, **{name: np.full_like(value, constant)}))
                for constant in ((1,) if name in _POSITIVE else (0, 1))
            )


def _replacing(case: FloatCase, node: Node) -> FloatCase:
    return _grown(case, [node if other.id == node.id else other for other in _nodes(case)])
