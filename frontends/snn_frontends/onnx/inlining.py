"""Functions that a model defines, replaced by their operators wherever they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import defs, helper

from snn_compile import memory
from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError, raise_all
from snn_frontends.onnx.folding import MEANT_OTHERWISE
from snn_frontends.onnx.renaming import names_in, renamed

MAX_DEPTH = 64
"""Maximal number of calls inside each other."""
MAX_PREFIX = 200
"""Characters of a call's name that its operators keep: names must not grow with the depth."""

Key = tuple[str, str, str]
Functions = Mapping[Key, onnx.FunctionProto]


@dataclass(frozen=True)
class _Size:
    """What some nodes become."""

    nodes: int
    bytes: int

    def __add__(self, other: _Size) -> _Size:
        return _Size(self.nodes + other.nodes, self.bytes + other.bytes)


def inline(model: onnx.ModelProto, modules: Sequence[str], file: str, most_nodes: int) -> list[str]:
    """Replace every call of a function of the model, at any depth.

    Args:
        model: the file's contents; its functions are removed.
        modules: module of the model's source of each node.
        file: the user's name of the file.
        most_nodes: limit of the nodes in the end.

    Returns:
        The modules of the new nodes: those of the calls.

    Raises:
        ModelError: functions call each other in a circle, or become more nodes than that.
        UnsupportedError: a function uses operators in another version than the model's.
    """
    functions = {(_domain(f.domain), f.name, f.overload): f for f in model.functions}
    if not functions:
        return list(modules)
    _check_size(model.graph.node, functions, file, most_nodes)
    _check_versions(model, file)
    taken = set(names_in(model.graph))
    nodes, sources = list[onnx.NodeProto](), list[str]()
    for node, module in zip(model.graph.node, modules, strict=True):
        made = _expanded(node, functions, taken, file)
        nodes += made
        sources += [module] * len(made)
    del model.graph.node[:], model.functions[:]
    model.graph.node.extend(nodes)
    return sources


def _domain(stated: str) -> str:
    return "" if stated == "ai.onnx" else stated


def _key(node: onnx.NodeProto) -> Key:
    return (_domain(node.domain), node.op_type, node.overload)


def _check_size(
    nodes: Sequence[onnx.NodeProto], functions: Functions, file: str, most_nodes: int
) -> None:
    """See that the expansion is finite, and small enough, before anything is expanded."""
    sizes: dict[Key, _Size] = {}
    open_calls: list[Key] = []

    def size_of(body: Sequence[onnx.NodeProto]) -> _Size:
        total = _Size(0, 0)
        for node in body:
            size = _Size(1, node.ByteSize())
            if (key := _key(node)) in functions:
                inner = of_function(key)  # each of its nodes may take an attribute of the call
                size = _Size(inner.nodes, inner.bytes + inner.nodes * size.bytes)
            total += size
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    total += size_of(graph.node)
            if total.nodes > most_nodes:
                raise _refusal(f"its functions become more than {most_nodes:,} operators", file)
            if total.bytes > memory.budget():
                limit = memory.format_size(memory.budget())
                raise _refusal(f"its functions become more than {limit}", file)
        return total

    def of_function(key: Key) -> _Size:
        if key in open_calls:
            raise _refusal(f"the function '{key[1]}' calls itself", file)
        if len(open_calls) >= MAX_DEPTH:
            raise _refusal(f"its functions call each other {MAX_DEPTH} deep", file)
        if key not in sizes:
            open_calls.append(key)
            sizes[key] = size_of(functions[key].node) + _Size(len(functions[key].output), 0)
            open_calls.pop()
        return sizes[key]

    size_of(nodes)


def _refusal(message: str, file: str) -> ModelError:
    hint = "expand them: onnx.inliner.inline_local_functions(model)"
    return ModelError(message, code="too-large", origin=Origin(file), hint=hint)


def _check_versions(model: onnx.ModelProto, file: str) -> None:
    """Operators of a function have to mean the same in the model's operator set."""
    ours = max((e.version for e in model.opset_import if not _domain(e.domain)), default=1)
    errors: list[CompileError] = []
    for function in model.functions:
        stated = {e.version for e in function.opset_import if not _domain(e.domain)} or {ours}
        for node in function.node:
            if _domain(node.domain) or stated == {ours}:
                continue
            if len({_meaning(node.op_type, version) for version in (*stated, ours)}) > 1:
                errors.append(
                    UnsupportedError(
                        f"the function '{function.name}' uses operator set {max(stated)}, which"
                        f" defines this operator otherwise than the model's, {ours}",
                        origin=Origin(file, node.name or node.op_type, node.op_type),
                        hint="export the model with one operator set",
                    )
                )
    raise_all(errors)


def _meaning(op: str, version: int) -> tuple[object, ...]:
    """What tells versions of an operator apart; empty for one that does not exist.

    Most versions only allow more types. Those that mean something else by the same inputs and
    attributes are known by name.
    """
    try:
        schema = defs.get_schema(op, version, "")
    except defs.SchemaError:
        return ()
    attributes = sorted(
        (name, str(one.type), one.required, one.default_value.SerializeToString())
        for name, one in schema.attributes.items()
    )
    inputs = [one.name for one in schema.inputs]
    return (version >= MEANT_OTHERWISE.get(op, 0), *inputs, *attributes)


def _expanded(
    node: onnx.NodeProto, functions: Functions, taken: set[str], file: str
) -> list[onnx.NodeProto]:
    """A node, or those of the function that it calls."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inner = [one for n in graph.node for one in _expanded(n, functions, taken, file)]
            if len(graph.node):
                del graph.node[:]
                graph.node.extend(inner)
    function = functions.get(_key(node))
    if function is None:
        return [node]
    if len(node.input) > len(function.input) or len(node.output) > len(function.output):
        raise ModelError(
            f"gives '{function.name}' more inputs or outputs than it has",
            origin=Origin(file, node.name or node.op_type, node.op_type),
        )
    body = _body(node, function, taken)
    return [one for inner in body for one in _expanded(inner, functions, taken, file)]


def _body(
    call: onnx.NodeProto, function: onnx.FunctionProto, taken: set[str]
) -> list[onnx.NodeProto]:
    """The nodes of a function with the values and attributes of a call."""
    prefix = (call.name or next(filter(None, call.output), function.name))[:MAX_PREFIX]
    actual = [*call.input, *[""] * (len(function.input) - len(call.input))]
    names = {"": ""} | dict(zip(function.input, actual, strict=False))
    results = [*call.output, *[""] * (len(function.output) - len(call.output))]
    produced = {name for node in function.node for name in node.output}
    copies = []
    for formal, result in zip(function.output, results, strict=False):
        if not result:
            continue
        if formal in produced and formal not in names:
            names[formal] = result
        else:  # an input that is passed on, or a second name of a result
            copies.append((formal, result))
    for name in produced:
        if name not in names:
            names[name] = _fresh(f"{prefix}/{name}", taken)
    given = {a.name: a for a in function.attribute_proto} | {a.name: a for a in call.attribute}
    nodes = [_of_call(node, names, given, prefix) for node in function.node]
    nodes += [
        helper.make_node("Identity", [names.get(formal, formal)], [result], f"{prefix}/{result}")
        for formal, result in copies
    ]
    return nodes


def _of_call(
    node: onnx.NodeProto,
    names: Mapping[str, str],
    given: Mapping[str, onnx.AttributeProto],
    prefix: str,
) -> onnx.NodeProto:
    copy = renamed(node, names)
    copy.name = f"{prefix}/{node.name}" if node.name else ""
    _resolve(copy, given)
    return copy


def _resolve(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]) -> None:
    """Put in the attributes that refer to those of the call; absent ones are left out."""
    attributes = list(node.attribute)
    del node.attribute[:]
    for attribute in attributes:
        if not attribute.ref_attr_name:
            for graph in (attribute.g, *attribute.graphs):
                for inner in graph.node:
                    _resolve(inner, given)
            node.attribute.append(attribute)
        elif attribute.ref_attr_name in given:
            found = onnx.AttributeProto()
            found.CopyFrom(given[attribute.ref_attr_name])
            found.name = attribute.name
            node.attribute.append(found)


def _fresh(name: str, taken: set[str]) -> str:
    """An unused name, taken from now on."""
    number, candidate = 2, name
    while candidate in taken:
        candidate, number = f"{name}.{number}", number + 1
    taken.add(candidate)
    return candidate
