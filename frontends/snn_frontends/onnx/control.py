"""``If`` and ``Loop`` with known conditions: the graphs inside them, copied into the outer one.

A condition is known if it does not depend on the network's input, such as one about its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from snn_compile.errors import ModelError, Origin, UnsupportedError
from snn_frontends.onnx.order import in_order, live
from snn_frontends.onnx.renaming import renamed
from snn_frontends.onnx.values import Constant, Unknown, Value

OPERATORS = frozenset({"If", "Loop"})
MAX_NODES = 5_000
"""Limit of the operators of all copies together."""
KNOWN = "export with fixed control flow, or simplify the model (onnx-simplifier)"


@dataclass(frozen=True)
class Copy:
    """A graph inside an operator, as a part of the outer one.

    Attributes:
        nodes: its operators, with names of the outer graph, in order.
        initializers: its constants, likewise.
        sparse: its sparse constants.
        results: names of its outputs.
    """

    nodes: Sequence[onnx.NodeProto]
    initializers: Mapping[str, onnx.TensorProto] = field(default_factory=dict)
    sparse: Mapping[str, onnx.SparseTensorProto] = field(default_factory=dict)
    results: Sequence[str] = ()


def copied(
    graph: onnx.GraphProto,
    given: Mapping[str, str],
    results: Sequence[str],
    prefix: str,
    origin: Origin,
) -> Copy:
    """A graph with its values renamed.

    Args:
        graph: the graph.
        given: names in the outer graph of its inputs.
        results: names in the outer graph of its outputs; empty for one that nobody reads.
        prefix: of all names that only the copy has.
        origin: the operator.

    Raises:
        ModelError: it has another number of outputs, or contradicts itself.
    """
    if len(results) != len(graph.output):
        message = f"has {len(results)} outputs, and its graph has {len(graph.output)}"
        raise ModelError(message, origin=origin)
    names = dict(given)
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {sparse.values.name for sparse in graph.sparse_initializer}
    produced = {name for node in graph.node for name in node.output if name}
    passed_on = []
    for formal, result in zip((output.name for output in graph.output), results, strict=True):
        if result and formal in produced and formal not in names:
            names[formal] = result
        elif result:  # an input, a constant, a value from outside, or a second name of a result
            passed_on.append((formal, result))
    names |= {name: prefix + name for name in (*produced, *constants) if name not in names}
    nodes = [renamed(node, names) for node in graph.node]
    for node in nodes:
        node.domain = "" if node.domain == "ai.onnx" else node.domain
        node.name = prefix + node.name if node.name else ""
    nodes += [helper.make_node("Identity", [names.get(f, f)], [r]) for f, r in passed_on]
    ordered = in_order(nodes, {names[name] for name in constants}, origin.file)
    needed = live(ordered, list(filter(None, results)))
    return Copy(
        [node for node in ordered if id(node) in needed],
        {names[tensor.name]: tensor for tensor in graph.initializer},
        {names[sparse.values.name]: sparse for sparse in graph.sparse_initializer},
        list(filter(None, results)),
    )


def graph_of(node: onnx.NodeProto, name: str, origin: Origin) -> onnx.GraphProto:
    """A graph among the attributes of an operator.

    Raises:
        ModelError: there is none of that name.
    """
    for attribute in node.attribute:
        if attribute.name == name and attribute.type == onnx.AttributeProto.GRAPH:
            graph: onnx.GraphProto = attribute.g
            return graph
    raise ModelError(f"has no {name}", origin=origin)


def known(value: Value | None, what: str, origin: Origin) -> Constant:
    """A single number that does not depend on the network's input.

    Raises:
        UnsupportedError: it does.
        ModelError: it is not a single one.
    """
    if not isinstance(value, np.ndarray):
        because = "is unknown" if value is None or isinstance(value, Unknown) else "depends"
        on = " on the network's input" if because == "depends" else ""
        raise UnsupportedError(
            f"control flow has no spiking form: its {what} {because}{on}", origin=origin, hint=KNOWN
        )
    if value.size != 1:
        raise ModelError(f"its {what} has {value.size} values", origin=origin)
    return value.reshape(())


def stacked(
    pieces: Sequence[str], result: str, axes: str | None, prefix: str
) -> list[onnx.NodeProto]:
    """Values joined along a new first axis; ``axes`` names a constant 0 where it is an input."""
    nodes = []
    for k, piece in enumerate(pieces):
        node = helper.make_node("Unsqueeze", [piece, *([axes] if axes else [])], [f"{prefix}{k}"])
        if not axes:
            node.attribute.append(helper.make_attribute("axes", [0]))
        nodes.append(node)
    joined = [name for node in nodes for name in node.output]
    return [*nodes, helper.make_node("Concat", joined, [result], axis=0)]
