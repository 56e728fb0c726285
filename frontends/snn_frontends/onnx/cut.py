"""Where the spiking network ends: chosen outputs, and tensors at which a file is cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

import onnx
from onnx import TensorProto, defs

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_frontends.onnx.flow import Flow
from snn_frontends.onnx.values import FLOATS

TYPES = {f"tensor({name.lower()})": value for name, value in TensorProto.DataType.items()}
"""Types by their names in definitions of operators."""


@dataclass(frozen=True)
class Request:
    """What the options say about the ends of the network.

    Attributes:
        outputs: tensors that are outputs in place of the file's.
        cut_at: tensors where the spiking part ends.
    """

    outputs: tuple[str, ...] = ()
    cut_at: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cut:
    """A file in two parts.

    Attributes:
        tail: identities of the operators that are left to the host.
        ends: names of the outputs of the network before it.
        also: further tensors at which it ends than the user has named, because the tail reads them.
    """

    tail: frozenset[int]
    ends: tuple[str, ...]
    also: tuple[str, ...] = ()


def chosen_outputs(graph: onnx.GraphProto, request: Request, file: str) -> list[str]:
    """The outputs: those of the options, or the file's.

    Raises:
        UsageError: the file has no such tensors; all complaints at once.
    """
    own = [output.name for output in graph.output]
    if not request.outputs:
        return own
    known = dict.fromkeys(own) | dict.fromkeys(n for node in graph.node for n in node.output if n)
    raise_all(
        [_unknown("outputs", n, known, graph, file) for n in request.outputs if n not in known]
    )
    return list(dict.fromkeys(request.outputs))


def with_outputs(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """A model with other outputs, of types that the runtime infers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return changed


def requested_cut(flow: Flow, graph: onnx.GraphProto, request: Request, file: str) -> Cut | None:
    """The cut at the tensors of the options; None if they name none.

    Raises:
        UsageError: the file has no such tensors, or cannot be cut there; all complaints at once.
    """
    if not request.cut_at:
        return None
    known = dict.fromkeys(n for node in graph.node for n in node.output if n)
    names = list(dict.fromkeys(request.cut_at))
    errors: list[CompileError] = []
    for name in names:
        if name in flow.entries:
            errors.append(_unfit(name, "it is an input", file))
        elif name not in known:
            errors.append(_unknown("cut-at", name, known, graph, file))
        elif name not in flow.producers:
            errors.append(_unfit(name, "no output depends on it", file))
        elif name not in flow.dependent:
            errors.append(_unfit(name, "it does not depend on the input", file))
        elif element_type(flow, name) not in FLOATS:
            errors.append(_unfit(name, "it holds no real numbers", file))
    raise_all(errors)
    before = {id(node) for node in flow.before(names)}
    by_value = flow.after(flow.readers_of(names), by_value=True) - before
    tail = flow.after(node for node in flow.nodes if id(node) in by_value) - before
    ends = list(dict.fromkeys([*flow.ends(tail), *(n for n in names if not flow.readers.get(n))]))
    within = [name for name in names if name not in ends]
    raise_all([_unfit(name, "only others of the tensors follow from it", file) for name in within])
    also = tuple(name for name in flow.crossing(tail) if name not in names)
    return Cut(frozenset(tail), tuple(ends), also)


def _unknown(
    option: str, name: str, known: Iterable[str], graph: onnx.GraphProto, file: str
) -> UsageError:
    node = next((node for node in graph.node if node.name == name and node.output), None)
    close = get_close_matches(name, list(known), n=1)
    hint = "snn-compile inspect lists the operators; a tensor has the name that its producer gives"
    if node is not None:
        hint = f"this is an operator; its output is '{node.output[0]}'"
    elif close:
        hint = f"did you mean '{close[0]}'?"
    message = f"{option}: the file has no tensor '{name}'"
    return UsageError(message, code="unknown-tensor", origin=Origin(file), hint=hint)


def _unfit(name: str, reason: str, file: str) -> UsageError:
    return UsageError(
        f"cut-at: the network cannot end at '{name}': {reason}",
        code="bad-cut",
        origin=Origin(file, name),
        hint="name a tensor of real numbers between the input and the outputs",
    )


def element_type(flow: Flow, name: str, entries: Mapping[str, int] = MappingProxyType({})) -> int:
    """The element type of a value that depends on the network's input.

    Args:
        flow: the graph.
        name: of the value.
        entries: types of the inputs; by default, float32.
    """
    while name not in flow.entries:
        node = flow.producers[name]
        found = _stated_type(node, name)
        if found:
            return found
        source = _source_of_type(flow, node, name)
        if source is None:
            break
        name = source
    return entries.get(name, TensorProto.FLOAT)


def _stated_type(node: onnx.NodeProto, name: str) -> int:
    """The type of a result that an operator states by itself; 0 if it does not."""
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i:
            return int(attribute.i)
    output = _parameter(node, node.output, name, "outputs")
    if not output:
        return 0
    constraints = defs.get_schema(node.op_type, node.domain).type_constraints
    allowed = {one.type_param_str: one.allowed_type_strs for one in constraints}
    (only, *others) = allowed.get(output) or [output]
    return 0 if others else TYPES.get(only, 0)


def _source_of_type(flow: Flow, node: onnx.NodeProto, name: str) -> str | None:
    """An input that has the type of a result by definition; None if only constants do."""
    wanted = _parameter(node, node.output, name, "outputs")
    inputs = [n for n in node.input if n]
    same = [n for n in inputs if _parameter(node, node.input, n, "inputs") == wanted]
    return next((n for n in same or inputs if n in flow.dependent), None)


def _parameter(node: onnx.NodeProto, names: Sequence[str], name: str, kind: str) -> str:
    """The type of an input or output in the operator's definition; empty if unknown."""
    try:
        formal = getattr(defs.get_schema(node.op_type, node.domain), kind)
    except defs.SchemaError:
        return ""
    index = min(list(names).index(name), len(formal) - 1)
    return str(formal[index].type_str) if formal else ""
