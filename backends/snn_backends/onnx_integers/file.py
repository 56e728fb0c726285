"""Models in ONNX: a network, its borders, and what it takes to read it back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from snn_backends.onnx_integers.assembly import INT64, Array, DType, Value, onnx_type
from snn_backends.onnx_integers.network import Network, build
from snn_compile import sealed
from snn_compile.ir.encoding import Encoding, InputEncoding, OutputDecoding, join_encodings
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.schedule import integer_network
from snn_compile.ir.serialize import dump_program

OPSET = 16
"""The oldest with all operators, so that most runtimes take it."""
IR_VERSION = 8
BATCH = "N"
PRODUCER = "snn-compile"
FORMAT, NETWORK, HASH = "snn-compile.format", "snn-compile.network", "snn-compile.hash"
"""Metadata: version of the form, the network without its arrays as JSON, the hash of all."""
VERSION = "integers 1"
INTEGERS, REALS, QUANTIZED = "integers.onnx", "model.onnx", "qdq.onnx"
FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True, eq=False)
class Borders:
    """How real numbers become integers, and back.

    Attributes:
        encoding: of the inputs.
        decodings: of each output.
    """

    encoding: Encoding
    decodings: Mapping[NodeId, OutputDecoding]


def content(made: ModelProto) -> bytes:
    """The bytes of a file, the same for the same model."""
    content: bytes = made.SerializeToString(deterministic=True)
    return content


def model(
    program: QuantizedGraph, borders: Borders | None = None, *, every_message: bool = False
) -> ModelProto:
    """A network from its encoded input, or from real values if the borders are known.

    Args:
        program: the network, in any form.
        borders: units of its inputs and outputs.
        every_message: whether what each population sends is an output, too.
    """
    at_once = integer_network(program)
    reserved = _names(program, borders)
    made = build(at_once, reserved, between_reals=borders is not None)
    readouts = {node.id: made.messages[node.id] for node in at_once.readouts}
    if borders is not None:
        entries, outputs = _between_reals(made, borders, readouts)
    else:
        entries = [_info(value.name, value.dtype, value.shape) for value in made.inputs.values()]
        shown = made.messages if every_message else readouts
        outputs = [_info(value.name, value.dtype, value.shape) for value in shown.values()]
    nodes, constants = _used(made, [output.name for output in outputs])
    graph = helper.make_graph(
        nodes,
        PRODUCER,
        entries,
        outputs,
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    found = helper.make_model(
        graph, producer_name=PRODUCER, ir_version=IR_VERSION, opset_imports=[opset]
    )
    said = json.dumps(_description(program, borders or in_steps(program), constants))
    digest = hashlib.sha256(graph.SerializeToString(deterministic=True) + said.encode())
    props = {FORMAT: VERSION, NETWORK: said, HASH: digest.hexdigest()}
    helper.set_model_props(found, props)
    return found


def _names(program: QuantizedGraph, borders: Borders | None) -> list[str]:
    """Names in the graph that are those of the network."""
    if borders is None:
        return list(dump_program(program)[1])
    _, arrays = sealed.describe(program, borders.encoding, borders.decodings)
    return [*arrays, *(node.id for node in (*program.inputs, *program.readouts))]


def _between_reals(
    made: Network, borders: Borders, readouts: Mapping[NodeId, Value]
) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """Operators before the first and after the last integers; the inputs and outputs.

    They compute in float64 what ``InputEncoding`` and ``OutputDecoding`` do, each operator rounded
    once: the same bits.
    """
    asm, entries, outputs = made.asm, list[ValueInfoProto](), list[ValueInfoProto]()
    within, asm.nodes = asm.nodes, []
    parts = borders.encoding.parts
    for k, (name, value) in enumerate(made.inputs.items()):
        encoding, key = parts[k], sealed.encoding_key(k, len(parts))
        entries.append(float_input(name, encoding.shape))
        unit = asm.parameter(key, np.asarray(encoding.unit, FLOAT64))
        unit = asm.along(unit, encoding.unit, encoding.shape)
        x = asm.cast(name, FLOAT64, f"{name}:wide")
        x = asm.add("Div", x, unit, called=f"{name}:steps")
        x = asm.add("Round", x, called=f"{name}:rounded")
        ends = [asm.constant(end, FLOAT64) for end in (encoding.low, encoding.high)]
        x = asm.add("Clip", x, *ends, called=f"{name}:clipped")
        x = asm.cast(x, value.dtype, f"{name}:integers")
        maps = asm.constant([0, *value.shape], INT64)
        asm.nodes.append(helper.make_node("Reshape", [x, maps], [value.name], name=value.name))
    asm.nodes += within
    for name, value in readouts.items():
        decoding = borders.decodings[name]
        outputs.append(_info(name, FLOAT64, decoding.shape))
        unit = asm.parameter(f"{name}:decoding", np.asarray(decoding.unit, FLOAT64))
        unit = asm.along(unit, decoding.unit, value.shape)
        y = asm.add("Mul", asm.cast(value.name, FLOAT64, f"{name}:wide"), unit, called=f"{name}:y")
        shape = asm.constant([0, *decoding.shape], INT64)
        asm.nodes.append(helper.make_node("Reshape", [y, shape], [name], name=name))
    return entries, outputs


def float_input(name: str, shape: Shape) -> ValueInfoProto:
    """An input of real values."""
    return _info(name, np.dtype(np.float32), shape)


def _info(name: str, dtype: DType, shape: Shape) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx_type(dtype), [BATCH, *shape])


def _used(made: Network, outputs: list[str]) -> tuple[list[NodeProto], dict[str, Array]]:
    """The operators and constants that the outputs depend on."""
    needed, kept = set(outputs), list[NodeProto]()
    for node in reversed(made.asm.nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    constants = {name: a for name, a in made.asm.constants.items() if name in needed}
    return kept[::-1], constants


def _description(
    program: QuantizedGraph, borders: Borders, constants: Mapping[str, Array]
) -> dict[str, Any]:
    """The network without the arrays that the graph holds."""
    said, arrays = sealed.describe(program, borders.encoding, borders.decodings)
    said["uniform"] = {}
    for name, values in arrays.items():
        if name in constants:
            continue  # no operator needs others: they are the same everywhere, or empty
        value = values.flat[0].item() if values.size else 0
        if (values != value).any():
            raise TypeError(f"no operator reads '{name}'")
        said["uniform"][name] = {"shape": list(values.shape), "value": value}
    return said


def in_steps(program: QuantizedGraph) -> Borders:
    """The borders of a network whose real values are its integers."""
    one = np.ones(1)

    def maps(shape: Shape) -> Shape:
        return (*shape, 1, 1)[:3] if len(shape) < 3 else shape

    encodings = (
        InputEncoding(one, node.low, node.high, node.shape, maps(node.shape))
        for node in program.inputs
    )
    maps_out = [node for node in program.readouts if len(node.shape) == 3]
    outputs = {node.id: OutputDecoding(one, node.shape) for node in maps_out}
    return Borders(join_encodings(encodings), outputs)
