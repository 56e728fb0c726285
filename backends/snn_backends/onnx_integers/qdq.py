"""The same network for accelerators: float operators between quantized tensors (QDQ).

Compilers of accelerators look for ``QuantizeLinear`` and ``DequantizeLinear`` around convolutions
and matrices. Weights keep their integers; a channel's scale is ``multiplier / 2**shift`` or
``1 / threshold``, so that a step of every message is 1. What is between two integers is float32,
rounded to nearest by whoever runs it: messages may differ by a step, and by more further on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from snn_backends.onnx_integers.assembly import INT64, Array, Assembly, DType
from snn_backends.onnx_integers.file import (
    BATCH,
    IR_VERSION,
    OPSET,
    PRODUCER,
    Borders,
    float_input,
)
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    ConvSynapses,
    GradedNeurons,
    Input,
    PiecewiseLinearNeurons,
    Population,
    QuantizedGraph,
    Readout,
    SparseSynapses,
    Synapses,
    along_channels,
)
from snn_compile.ir.schedule import integer_network

FLOAT = np.dtype(np.float32)
INT8, INT32 = np.dtype(np.int8), np.dtype(np.int32)
MAX_BYTE = 255
MAX_MATRIX = 1 << 22
"""Entries of a matrix of sparse synapses."""


def obstacle(program: QuantizedGraph) -> str:
    """Why a network has no such form; empty if it has one."""
    at_once = integer_network(program)
    for node in at_once.graph:
        if isinstance(node, PiecewiseLinearNeurons):
            if not node.sends_sums:
                return f"'{node.id}' has a table of lines"
        elif isinstance(node, Population):
            if not isinstance(node, GradedNeurons | ClipFloorNeurons | Readout):
                return f"'{node.id}' has {node.trait}"
        elif isinstance(node, SparseSynapses):
            entries = prod(node.shape) * prod(at_once.graph[node.inputs[0]].shape)
            if entries > MAX_MATRIX:
                return f"'{node.id}' would be a matrix of {entries:,} entries"
    return ""


def model(program: QuantizedGraph, borders: Borders) -> ModelProto:
    """The file: real values in, real values out, float32."""
    made = _Quantized(integer_network(program), borders)
    graph = helper.make_graph(
        made.asm.nodes,
        PRODUCER,
        [float_input(node.id, part.shape) for node, part in made.inputs()],
        made.outputs(),
        [numpy_helper.from_array(values, name) for name, values in made.asm.constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(
        graph, producer_name=PRODUCER, ir_version=IR_VERSION, opset_imports=[opset]
    )


@dataclass
class _Quantized:
    """Collects the operators.

    Attributes:
        program: of one step.
        borders: units of inputs and outputs.
        sent: float tensor of each input's and each population's messages.
    """

    program: QuantizedGraph
    borders: Borders
    asm: Assembly = field(default_factory=Assembly)
    sent: dict[NodeId, str] = field(default_factory=dict)

    def inputs(self) -> list[tuple[Input, InputEncoding]]:
        return list(zip(self.program.inputs, self.borders.encoding.parts, strict=True))

    def outputs(self) -> list[Any]:
        """All operators, and what describes the outputs."""
        asm = self.asm
        asm.reserve(node.id for node in (*self.program.inputs, *self.program.readouts))
        for node, encoding in self.inputs():
            self.sent[node.id] = self._encoded(node, encoding)
        for population in self.program.populations:
            self.sent[population.id] = self._population(population)
        infos = []
        for name in (readout.id for readout in self.program.readouts):
            shape = self.borders.decodings[name].shape
            view = asm.constant([0, *shape], INT64)
            asm.nodes.append(
                helper.make_node("Reshape", [self.sent[name], view], [name], name=name)
            )
            infos.append(helper.make_tensor_value_info(name, 1, [BATCH, *shape]))
        return infos

    def _encoded(self, node: Input, encoding: InputEncoding) -> str:
        asm, unit = self.asm, np.asarray(encoding.unit)
        column = unit.reshape(-1, *[1] * (len(encoding.shape) - 1))
        x = asm.add("Div", node.id, asm.constant(column, FLOAT), called=f"{node.id}:steps")
        x = self._rounded(x, encoding.low, encoding.high, node.id)
        maps = asm.constant([0, *node.shape], INT64)
        return asm.add("Reshape", x, maps, called=f"{node.id}:maps")

    def _rounded(self, x: str, low: int, high: int, name: str) -> str:
        """Whole numbers from low to high: of 8 bits as a quantized tensor."""
        asm, point = self.asm, -min(low, 0)
        if high + point > MAX_BYTE:
            x = asm.add("Round", x, called=f"{name}:rounded")
            return self._clipped(x, low, high, name)
        if low or high < MAX_BYTE:
            x = self._clipped(x, low, high, name)
        ends = asm.constant(1.0, FLOAT), asm.constant(point, np.dtype(np.uint8))
        q = asm.add("QuantizeLinear", x, *ends, called=f"{name}:quantized")
        return asm.add("DequantizeLinear", q, *ends, called=f"{name}:messages")

    def _clipped(self, x: str, low: int, high: int, name: str) -> str:
        ends = [self.asm.constant(end, FLOAT) for end in (low, high)]
        return self.asm.add("Clip", x, *ends, called=f"{name}:clipped")

    def _population(self, node: Population) -> str:
        asm, scale = self.asm, self._scale(node)
        total = ""
        for group in self.program.synapses_into(node):
            part = self._synapses(group, np.ldexp(scale, group.exponent))
            total = asm.add("Add", total, part, called=f"{group.id}:total") if total else part
        x = asm.add("Add", total, self._bias(node, scale), called=f"{node.id}:drive")
        match node:
            case GradedNeurons():
                return self._rounded(x, 0, node.payload.max, node.id)
            case ClipFloorNeurons():
                return self._rounded(x, 0, node.levels, node.id)
            case PiecewiseLinearNeurons():
                return self._clipped(x, node.low, node.high, node.id)
        return x

    def _scale(self, node: Population) -> Array:
        """Messages in a step of the potential, (C,)."""
        match node:
            case GradedNeurons():
                scale = np.ldexp(node.multiplier.values.astype(np.float64), -node.shift.values)
            case ClipFloorNeurons():
                scale = 1 / node.threshold.values
            case Readout():
                scale = self.borders.decodings[node.id].unit
            case _:
                scale = np.ones(1)
        return np.broadcast_to(scale, node.shape[:1])

    def _bias(self, node: Population, scale: Array) -> str:
        """In integers, without the half step for rounding where ``QuantizeLinear`` rounds."""
        values = along_channels(node.bias.values, node.shape).reshape(len(scale), -1)
        if isinstance(node, GradedNeurons | ClipFloorNeurons):
            values = values - np.rint(0.5 / scale).astype(np.int64)[:, None]
        uniform = (values == values[:, :1]).all()
        values = values[:, :1] if uniform else values.reshape(node.shape)
        column = [-1, *[1] * (len(node.shape) - 1)]
        if uniform:
            values = values.reshape(column)
        wide = np.abs(values).max() >= 1 << 31
        if wide:
            return self.asm.constant(values * scale.reshape(column), FLOAT)
        held = self._dequantized(f"{node.id}:bias", values, scale, INT32, 0)
        return held

    def _dequantized(self, name: str, values: Array, scale: Array, dtype: DType, axis: int) -> str:
        asm = self.asm
        key = asm.parameter(asm.name(name), values.astype(dtype))
        by = asm.constant(scale, FLOAT)
        return asm.add("DequantizeLinear", key, by, called=f"{name}:real", axis=axis)

    def _synapses(self, group: Synapses, scale: Array) -> str:
        asm, (source,) = self.asm, group.inputs
        if isinstance(group, ConvSynapses):
            return self._convolution(group, scale)
        shape = self.program.graph[source].shape
        weight = _matrix(group, prod(group.shape), prod(shape)).T
        per_neuron = np.repeat(scale, prod(group.shape[1:]))
        held = self._dequantized(f"{group.id}:weight", weight, per_neuron, INT8, 1)
        flat = asm.constant([0, prod(shape)], INT64)
        x = asm.add("Reshape", self.sent[source], flat, called=f"{group.id}:flat")
        x = asm.add("MatMul", x, held, called=f"{group.id}:sum")
        maps = asm.constant([0, *group.shape], INT64)
        return asm.add("Reshape", x, maps, called=f"{group.id}:maps")

    def _convolution(self, group: ConvSynapses, scale: Array) -> str:
        asm, geometry, (source,) = self.asm, group.geometry, group.inputs
        held = self._dequantized(f"{group.id}:weight", group.weight.values, scale, INT8, 0)
        x, pads = self.sent[source], list(geometry.padding)
        if min(pads) < 0:
            cut = [0, 0, *pads[:2], 0, 0, *pads[2:]]
            x = asm.add("Pad", x, asm.constant(cut, INT64), called=f"{group.id}:padded")
            pads = [0, 0, 0, 0]
        more: Mapping[str, Any] = {
            "strides": list(geometry.stride),
            "pads": pads,
            "dilations": list(geometry.dilation),
            "group": geometry.groups,
            "kernel_shape": list(group.weight.shape[2:]),
        }
        return asm.add("Conv", x, held, called=f"{group.id}:sum", **more)


def _matrix(group: Synapses, rows: int, columns: int) -> Array:
    """All synapses of a group, (targets, sources)."""
    if not isinstance(group, SparseSynapses):
        return group.weight.values.reshape(rows, columns)
    matrix = np.zeros((rows, columns), np.int64)
    owners = np.repeat(np.arange(rows), np.diff(group.indptr))
    np.add.at(matrix, (owners, group.indices), group.weight.values)
    return matrix
