"""The operators after the network's readouts as an ONNX model, which the host runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import defs, helper, numpy_helper

from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError, raise_all
from snn_compile.files.documents import TooLargeError, first_line, too_large
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.host_tail import Feed, HostTail
from snn_frontends.onnx import wire
from snn_frontends.onnx.cut import element_type
from snn_frontends.onnx.flow import Flow
from snn_frontends.onnx.folding import RANDOM
from snn_frontends.onnx.values import SUBGRAPHS, Tensor, Value

PLAIN = frozenset(
    {
        onnx.AttributeProto.FLOAT,
        onnx.AttributeProto.FLOATS,
        onnx.AttributeProto.INT,
        onnx.AttributeProto.INTS,
        onnx.AttributeProto.STRING,
        onnx.AttributeProto.STRINGS,
        onnx.AttributeProto.TENSOR,
    }
)
"""Types of attributes whose content is all checked: sparse tensors may lie in other files."""
STRINGS = frozenset({"value_string", "value_strings"})
"""Attributes of a constant that make it text."""
MAX_NODES = 5_000
"""Limit of the operators of a tail."""


@dataclass(frozen=True)
class Border:
    """The border between the network and its tail.

    Attributes:
        value: the value of a name before the tail; decodes constants.
        outputs: readout of each end of the network, by name.
        entries: the network's own inputs.
        batch: samples that the file fixes at a time.
    """

    value: Callable[[str], Value]
    outputs: Mapping[str, NodeId]
    entries: tuple[Feed, ...]
    batch: int


def host_tail(
    model: onnx.ModelProto, flow: Flow, left: set[int], border: Border, file: str, *, cut: bool
) -> HostTail:
    """The tail with the operators that are left to the host.

    Args:
        model: the file.
        flow: its operators.
        left: identities of those left.
        border: what is known before them.
        file: for complaints.
        cut: whether the network ends before outputs of the file.

    Raises:
        UnsupportedError: some of them cannot be left to the host; all complaints at once.
    """
    nodes = [node for node in flow.nodes if id(node) in left]
    origins = {id(node): Origin(file, node.name or node.output[0], node.op_type) for node in nodes}
    version = max(e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
    complaints = (_complaint(node, version, origins[id(node)]) for node in nodes)
    raise_all([error for error in complaints if error])
    made = {name for node in nodes for name in node.output if name}
    feeds: dict[str, Feed] = {}
    constants: list[onnx.TensorProto] = []
    given = set(made)
    for node in nodes:
        for name in filter(None, node.input):
            if name in given:
                continue
            given.add(name)
            value = border.value(name)
            if isinstance(value, np.ndarray):
                constants.append(numpy_helper.from_array(value, name))
            else:
                feeds[name] = _feed(name, value, flow, left, border, origins[id(node)])
                if feeds[name] not in border.entries:
                    _check_real(name, value, origins[id(node)])
    read = [*feeds.values()]
    for name in flow.outputs:
        if name in made or name in feeds:
            continue
        value = border.value(name)
        if isinstance(value, np.ndarray):
            nodes.append(_constant(name, value))
            made.add(name)
            origins[id(nodes[-1])] = Origin(file, name, "Constant")
        else:
            feeds[name] = _feed(name, value, flow, left, border, Origin(file, name))
    outputs = [name for name in flow.outputs if name in made]
    made_of = _model(nodes, read, constants, model, outputs, version)
    return HostTail(
        made_of.SerializeToString(deterministic=True),
        tuple(feeds.values()),
        tuple(flow.outputs),
        tuple((origins[id(node)].node, node.op_type) for node in nodes),
        border.entries,
        border.batch,
        cut,
    )


def _model(
    nodes: Sequence[onnx.NodeProto],
    read: Sequence[Feed],
    constants: Sequence[onnx.TensorProto],
    model: onnx.ModelProto,
    outputs: Sequence[str],
    version: int,
) -> onnx.ModelProto:
    """The operators as a model of their own."""
    types = {output.name: output.type.tensor_type.elem_type for output in model.graph.output}
    graph = helper.make_graph(
        nodes,
        "host tail",
        [_value_info(feed.tensor, _type_of(feed), feed.shape) for feed in read],
        [_value_info(name, types.get(name, 0)) for name in outputs],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    made.ir_version = model.ir_version
    made.ClearField("producer_name")
    return made


def _constant(name: str, value: npt.NDArray[Any]) -> onnx.NodeProto:
    """An operator with an output of the file that does not depend on its inputs."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _feed(
    name: str, value: Value, flow: Flow, left: set[int], border: Border, origin: Origin
) -> Feed:
    """What the tail reads under a name."""
    own = next((entry for entry in border.entries if entry.tensor == name), None)
    if own is not None:
        return own
    if name in flow.entries:
        raise UnsupportedError(
            f"reads the input '{name}', which the network before it does not",
            origin=origin,
            hint="cut the network where it reads all inputs",
        )
    if not isinstance(value, Tensor):
        message = f"reads '{name}', whose shape is unknown"
        raise UnsupportedError(message, origin=origin, hint="cut the network later or earlier")
    if border.batch > 1 and not value.plain:
        raise UnsupportedError(
            f"reads '{name}', in which the samples do not lie along axis 0",
            origin=origin,
            hint="export the model with a batch of one",
        )
    dtype = element_type(flow, name, {own.tensor: _type_of(own) for own in border.entries})
    output = border.outputs.get(name) or _left_off(name, flow, left, border)
    return Feed(name, output, value.shape, helper.tensor_dtype_to_np_dtype(dtype).name)


def _check_real(name: str, value: Value, origin: Origin) -> None:
    """Check that a value which the tail computes with is one of real numbers in the file."""
    if isinstance(value, Tensor) and value.grid is not None:
        raise UnsupportedError(
            f"reads the integers of the quantized '{name}', and the host gets real numbers",
            origin=origin,
            hint="cut the network after a DequantizeLinear, or end it there with --outputs",
        )


def _left_off(name: str, flow: Flow, left: set[int], border: Border) -> NodeId:
    """The readout that has the values of a tensor which operators left off at the end read."""
    after = flow.after(node for node in flow.readers_of([name]) if id(node) in left)
    return next(
        border.outputs[output]
        for output in border.outputs
        if output in flow.producers and id(flow.producers[output]) in after
    )


def _type_of(feed: Feed) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(feed.dtype)))


def _value_info(name: str, elem_type: int, shape: Shape | None = None) -> onnx.ValueInfoProto:
    """A description of a value; of an output, the runtime infers the shape."""
    if not elem_type:
        return onnx.ValueInfoProto(name=name)
    return helper.make_tensor_value_info(name, elem_type, shape)


def _complaint(node: onnx.NodeProto, version: int, origin: Origin) -> CompileError | None:
    """Why an operator of a version of ONNX cannot be left to the host, if so."""
    reason = ""
    if node.domain:
        reason = f"of the domain '{node.domain}'"
    elif node.op_type in RANDOM:
        reason = "that are random"
    elif any(attribute.type in SUBGRAPHS for attribute in node.attribute):
        reason = "with networks of their own (control flow)"
    elif any(attribute.type not in PLAIN for attribute in node.attribute):
        reason = "with attributes that are no numbers, text or tensors"
    elif not _makes_numbers(node, version):
        reason = "that make text, sequences or optional values"
    if not reason:
        return None
    return UnsupportedError(
        f"operators {reason} cannot be left to the host",
        origin=origin,
        hint="end the network before it with --outputs, and do this step outside",
    )


def _makes_numbers(node: onnx.NodeProto, version: int) -> bool:
    """Whether the results are tensors of numbers or truth values, as long as the inputs are."""
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i == onnx.TensorProto.STRING:
            return False
        if attribute.name in STRINGS or attribute.t.data_type == onnx.TensorProto.STRING:
            return False
    try:
        results = defs.get_schema(node.op_type, version, node.domain).outputs
    except defs.SchemaError:
        return True  # the runtime refuses it
    return all(any(map(_is_numeric, result.types)) for result in results)


def _is_numeric(kind: str) -> bool:
    return kind.startswith("tensor(") and kind != "tensor(string)"


def checked(tail: HostTail) -> bytes:
    """The model of an untrusted tail, if it is what this tool writes.

    Raises:
        ModelError: it is damaged, too large, or could do more than compute its outputs.
    """
    origin = Origin("tail.onnx")
    try:
        wire.check(tail.model, onnx.ModelProto.DESCRIPTOR)
        model = onnx.ModelProto.FromString(tail.model)
        wrong = next(_oddities(model, tail), "")
    except TooLargeError as error:
        raise too_large("tail.onnx", error, ModelError) from error
    except Exception as error:
        raise _damaged(first_line(error), origin) from error
    if wrong:
        raise _damaged(wrong, origin)
    return tail.model


def _oddities(model: onnx.ModelProto, tail: HostTail) -> Iterator[str]:
    """What is wrong with the model of a tail."""
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise TooLargeError(f"it has {len(graph.node):,} operators, more than {MAX_NODES:,}")
    if [entry.domain for entry in model.opset_import] != [""] or model.functions:
        yield "operators that are not ONNX's own"
    version = max((entry.version for entry in model.opset_import), default=1)
    for node in graph.node:
        if error := _complaint(node, version, Origin("tail.onnx", node.name, node.op_type)):
            yield error.message
    if [node.op_type for node in graph.node] != [op for _, op in tail.operators]:
        yield "other operators"
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute)]
    if any(t.external_data or t.data_location == onnx.TensorProto.EXTERNAL for t in tensors):
        yield "data in other files"
    if graph.sparse_initializer or any(t.data_type == onnx.TensorProto.STRING for t in tensors):
        yield "constants that are no tensors of numbers"
    known = {feed.tensor: feed.shape for feed in tail.feeds}
    for entry in graph.input:
        dims = tuple(d.dim_value for d in entry.type.tensor_type.shape.dim)
        if known.get(entry.name) != dims or prod(dims) < 1:
            yield f"the input '{entry.name}'"
    read = {entry.name for entry in graph.input}
    if odd := [name for name in known if name not in read and name not in tail.outputs]:
        yield f"nothing reads '{odd[0]}'"
    computed = [name for name in tail.outputs if name not in known]
    if [output.name for output in graph.output] != computed:
        yield "other outputs"


def _damaged(what: str, origin: Origin) -> ModelError:
    return ModelError(
        f"the host tail is not what this tool writes: {what}",
        code="unreadable-bundle",
        origin=origin,
        hint="compile the model again",
    )
