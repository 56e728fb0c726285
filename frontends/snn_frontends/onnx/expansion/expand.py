"""The expansion of a graph: each node, or the nodes that it stands for."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from snn_compile.errors import CompileError, Origin, UnsupportedError, raise_all
from snn_compile.passes import Finding
from snn_compile.pluralize import pluralize
from snn_frontends.onnx.expansion import dynamic, fused, qonnx, quantized
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
    """Replace every operator of a graph that stands for several others.

    A node made here says in its ``doc_string`` which operator of the file it comes from;
    descriptions of the file's own have been removed before.

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
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in model.graph.initializer}
    nodes, sources = list[onnx.NodeProto](), list[str]()
    errors: list[CompileError] = []
    misread = dynamic.misread(model.graph)
    for k, (node, module) in enumerate(zip(model.graph.node, modules, strict=True)):
        domain = "" if node.domain == "ai.onnx" else node.domain
        rule = RULES.get((domain, node.op_type))
        name = node.name or next(filter(None, node.output), node.op_type)
        origin = Origin(file, name, node.op_type)
        if error := refusal(domain, origin):
            errors.append(error)
        if k in misread:
            errors.append(_misread(origin) if node.op_type in DYNAMIC else on_integers(origin))
        made = [node]
        if rule is not None:
            expansion = Expansion(node, name, origin, opset, taken)
            try:
                rule(expansion)
                made = expansion.nodes
            except CompileError as error:
                errors.append(error)
        nodes += made
        sources += [module] * len(made)
    raise_all(errors)
    n_dynamic = sum(node.op_type in DYNAMIC for node in model.graph.node)
    if any(new is not old for new, old in zip(nodes, model.graph.node, strict=False)):
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    if not n_dynamic:
        return sources, []
    message = (
        f"{pluralize(n_dynamic, 'value')} that the file rounds on a scale of each batch keep their"
        " precision; the integers of its weights are kept"
    )
    return sources, [Finding(message, Origin(file), code="dynamic-quantization")]


def _misread(origin: Origin) -> UnsupportedError:
    return UnsupportedError(
        "its integers, their scale and zero point, none of which is ever computed, are an output,"
        " or do not meet again in a product of integers",
        origin=origin,
        hint="end the model before it: --outputs; or quantize with fixed scales, from calibration "
        "data (static quantization)",
    )
