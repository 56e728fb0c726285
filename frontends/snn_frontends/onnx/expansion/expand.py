"""The expansion of a graph: each node, or the nodes that it stands for."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from snn_compile.errors import CompileError, Origin, UnsupportedError, raise_all
from snn_compile.passes import Finding
from snn_compile.pluralize import pluralize
from snn_frontends.onnx.expansion import dynamic, fused, qonnx, quantized, whole
from snn_frontends.onnx.expansion.call import CONTRIBUTOR, Expansion, Rule
from snn_frontends.onnx.expansion.refused import refusal
from snn_frontends.onnx.refusals import on_integers

RULES: dict[tuple[str, str], Rule] = {
    **{("", name): rule for name, rule in quantized.STANDARD.items()},
    **{(CONTRIBUTOR, name): rule for name, rule in quantized.CONTRIBUTED.items()},
    **{(CONTRIBUTOR, name): rule for name, rule in fused.RULES.items()},
    **{(domain, name): rule for domain in qonnx.DOMAINS for name, rule in qonnx.RULES.items()},
}
"""Rules by domain and type of an operator."""
DYNAMIC = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul"})
"""Operators that quantize a value on a scale of its own."""


def expand(
    model: onnx.ModelProto, file: str, opset: int, modules: Sequence[str]
) -> tuple[list[str], list[Finding]]:
    """Replace every operator of a file's graph that stands for several others.

    Graphs inside operators stay as they are, until it is known which of them count.

    Args:
        model: the file's contents.
        file: the user's name of the file.
        opset: the operator set of the new nodes.
        modules: module of the model's source of each node.

    Returns:
        The modules of the new nodes, and what is lost.

    Raises:
        CompileError: operators in a form that has no expansion; all of them at once.
    """
    graph = model.graph
    taken = {tensor.name for tensor in graph.initializer}
    ends = [output.name for output in graph.output]
    integers = [e.name for e in graph.input if e.type.tensor_type.elem_type in dynamic.NARROW]
    made, findings = expanded(graph.node, ends, file, opset, taken, integers)
    sources = [module for nodes, module in zip(made, modules, strict=True) for _ in nodes]
    if any(nodes != [old] for nodes, old in zip(made, graph.node, strict=True)):
        del graph.node[:]
        graph.node.extend(node for nodes in made for node in nodes)
    return sources, findings


def expanded(
    nodes: Sequence[onnx.NodeProto],
    ends: Sequence[str],
    file: str,
    opset: int,
    taken: set[str],
    integers: Sequence[str] = (),
) -> tuple[list[list[onnx.NodeProto]], list[Finding]]:
    """The nodes that each node stands for, and what is lost.

    A node made here says in its ``doc_string`` which operator of the file it comes from;
    descriptions of the file's own have been removed before.

    Args:
        nodes: of a graph, in order.
        ends: names of its outputs.
        file: the user's name of the file.
        opset: the operator set of the new nodes.
        taken: further names that new values cannot have; theirs are added.
        integers: names of its inputs of at most 16 bits.

    Raises:
        CompileError: operators in a form that has no expansion; all of them at once.
    """
    taken |= {name for node in nodes for name in (*node.input, *node.output)}
    found: list[list[onnx.NodeProto]] = []
    errors: list[CompileError] = []
    known = dynamic.follow(nodes, ends, integers)
    for k, node in enumerate(nodes):
        domain = "" if node.domain == "ai.onnx" else node.domain
        rule = RULES.get((domain, node.op_type))
        name = node.name or next(filter(None, node.output), node.op_type)
        origin = Origin(file, name, node.op_type)
        if error := refusal(domain, origin):
            errors.append(error)
        if k in known.misread:
            errors.append(_misread(origin) if node.op_type in DYNAMIC else on_integers(origin))
        if k in known.mixing:
            errors.append(_mixes(origin))
        if k in known.whole:
            rule = whole.within(rule or whole.on_numbers(node.op_type), known.whole[k])
        made = [node]
        if rule is not None:
            expansion = Expansion(node, name, origin, opset, taken)
            try:
                rule(expansion)
                made = expansion.nodes
            except CompileError as error:
                errors.append(error)
        found.append(made)
    raise_all(errors)
    n_dynamic = sum(node.op_type in DYNAMIC for node in nodes)
    if not n_dynamic:
        return found, []
    message = (
        f"{pluralize(n_dynamic, 'value')} that the file rounds on a scale of each batch keep their"
        " precision; the integers of its weights are kept"
    )
    return found, [Finding(message, Origin(file), code="dynamic-quantization")]


def _misread(origin: Origin) -> UnsupportedError:
    return UnsupportedError(
        "its integers, their scale and zero point, none of which is ever computed, are an output,"
        " or do not meet again in a product of integers",
        origin=origin,
        hint="end the model before it: --outputs; or quantize with fixed scales, from calibration "
        "data (static quantization)",
    )


def _mixes(origin: Origin) -> UnsupportedError:
    return UnsupportedError(
        "adds to integers on a scale of each batch, which is never computed, what is not on it",
        code="integer-arithmetic",
        origin=origin,
        hint="add real numbers, behind the Mul with the scale; or quantize with fixed scales, from"
        " calibration data (static quantization)",
    )
