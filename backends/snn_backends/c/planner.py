"""From a network to the plan of its C program."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from snn_backends.c import neurons, sums
from snn_backends.c.arrays import Constant, constant, packed, packed_bits
from snn_backends.c.integers import CType, accumulator, holding, literal
from snn_backends.c.layers import Family, Group, Kernel, Layer, family_of
from snn_backends.c.plan import Plan
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.models.arithmetic import along_channels
from snn_compile.ir.models.piecewise_linear import Lines
from snn_compile.ir.models.population import ChangeNeurons
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Input,
    Neurons,
    Population,
    QuantizedGraph,
    Readout,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding


def make_plan(program: QuantizedGraph) -> Plan:
    """The plan of a network that ``check`` has accepted."""
    return _Planner(program).plan()


@dataclass(eq=False)
class _Planner:
    program: QuantizedGraph
    _constants: list[Constant] = field(default_factory=list)
    _geometries: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _layers: list[Layer] = field(default_factory=list)

    def plan(self) -> Plan:
        program = self.program
        family = family_of(program)
        if family is None:
            raise TypeError("populations of several families")
        self._family = family
        nodes = program.inputs
        ends = [node.messages for node in nodes]
        self._given = holding(min(low for low, _ in ends), max(high for _, high in ends))
        shown = self._given
        if program.input_coding is InputCoding.CHANGES:
            shown = holding(min(node.low for node in nodes), max(node.high for node in nodes))
        starts = np.cumsum([0, *(prod(node.shape) for node in nodes)])
        self._first = {node.id: int(start) for node, start in zip(nodes, starts, strict=False)}
        self._number: dict[NodeId, int] = {}
        first = 0
        for index, node in enumerate(program.populations):
            self._layers.append(self._layer(index, node, first))
            self._number[node.id] = index
            first += prod(node.shape) * isinstance(node, Readout)
        ends = [
            (one.form.bounded.low, one.form.bounded.high) for one in self._layers if one.is_readout
        ]
        output = accumulator(max(max(-low, high) for low, high in ends))
        return Plan(
            program,
            family,
            tuple(self._layers),
            tuple(self._constants),
            self._geometries,
            shown,
            self._given,
            output,
        )

    def _layer(self, index: int, node: Population, first: int) -> Layer:
        form = neurons.form_of(self.program, node)
        if self._family is Family.STREAM:
            so_far = sums.of_window(self.program, node)
            states = {"sum": holding(so_far.low, so_far.high)}
            if isinstance(node, ChangeNeurons):
                states["sent"] = holding(*node.payloads)
            form = replace(form, states=states)
        groups = tuple(
            self._group(f"{index}_{k}", group, form.sum)
            for k, group in enumerate(self.program.synapses_into(node))
        )
        parameters = {
            name: self._parameter(f"{name}_{index}", tensor, node)
            for name, tensor in form.parameters.items()
        }
        if isinstance(node, Lines):
            parameters |= self._table(index, node)
        depth = self.program.depth[node.id]
        message = self._message(node)
        return Layer(index, node, form, message, groups, parameters, first, depth)

    def _message(self, node: Population) -> CType:
        """Of readouts, nothing reads it."""
        if not isinstance(node, Neurons):
            return CType(8)
        windowed = self._family is Family.WINDOWED
        return holding(*(node.total(self.program.window.n_steps) if windowed else node.messages))

    def _parameter(self, name: str, tensor: QTensor, node: Population) -> str:
        """An expression for a parameter at channel c, neuron n."""
        rows = along_channels(tensor.values, node.shape).reshape(node.shape[0], -1)
        if (rows == rows[0, 0]).all():
            return literal(int(rows[0, 0]))
        by_channel = bool((rows == rows[:, :1]).all())
        self._constants.append(constant(name, rows[:, 0] if by_channel else rows))
        return f"{name}[c]" if by_channel and rows.shape[1] > 1 else f"{name}[n]"

    def _table(self, index: int, node: Lines) -> dict[str, str]:
        """Expressions for the parts of a line k."""
        parts, same = neurons.table(node)
        found = {}
        for name, values in parts.items():
            flat = np.ravel(values)
            if name != "breakpoints" and (flat == flat[:1]).all():
                found[name] = literal(int(flat[0]))
            elif flat.size:
                self._constants.append(constant(f"{name}_{index}", flat))
                found[name] = f"{name}_{index}[k]"
        channel = "c" if prod(node.shape) > node.shape[0] else "n"
        found["row"] = "0" if same else f"{channel} * {node.multiplier.shape[1]}"
        found["steps"] = "0" if same else f"{channel} * {node.breakpoints.shape[1]}"
        return found

    def _group(self, name: str, group: Synapses, total: CType) -> Group:
        node: Any = self.program.graph[group.inputs[0]]
        source = None if isinstance(node, Input) else self._number[node.id]
        message = self._given if source is None else self._layers[source].message
        first = self._first[node.id] if source is None else 0
        weights, index = self._weights(f"weights_{name}", group)
        silent = source is None and node.coding is InputCoding.FRAME
        silent = silent and self.program.window.n_steps > 1
        bits = packed_bits(group.weight.values)
        match group:
            case ConvSynapses():
                kind, before = "convolution", f"&geometry_{name}"
                self._geometries[f"geometry_{name}"] = _geometry(group, node.shape)
                after = f"{weights}, c, y, x"
            case DenseSynapses():
                kind, before, after = "dense", "", f"{weights}, {prod(node.shape)}, n"
            case SparseSynapses():
                kind, before = "sparse", ""
                after = f"{weights}, {self._wiring(name, group)}"
        kernel = Kernel(kind, message, bits, total, index)
        return Group(kernel, source, first, before, after, group.exponent, silent)

    def _weights(self, name: str, group: Synapses) -> tuple[str, CType | None]:
        values = np.ravel(group.weight.values)
        self._constants.append(packed(name, values if values.size else np.zeros(1, np.int64)))
        if not isinstance(group, SparseSynapses):
            return name, None
        return name, holding(0, int(group.indices.max(initial=0)))

    def _wiring(self, name: str, group: SparseSynapses) -> str:
        indices: Int = group.indices if len(group.indices) else np.zeros(1, np.int64)
        self._constants.append(constant(f"sources_{name}", indices))
        each = np.unique(np.diff(group.indptr))
        if len(each) == 1:
            k = int(each[0])
            return f"sources_{name}, n * {k}, n * {k} + {k}"
        self._constants.append(constant(f"rows_{name}", group.indptr))
        return f"sources_{name}, rows_{name}[n], rows_{name}[n + 1]"


def _geometry(group: ConvSynapses, source: tuple[int, ...]) -> tuple[int, ...]:
    n_out, n_in, *kernel = group.weight.shape
    form = group.geometry
    _, height, width = source
    top, left = form.padding[:2]
    each = n_out // form.groups
    # What moves nothing may be any number.
    stride = (s if n > 1 else 1 for s, n in zip(form.stride, group.shape[1:], strict=True))
    dilation = (d if k > 1 else 1 for d, k in zip(form.dilation, kernel, strict=True))
    return (n_in, each, height, width, *kernel, *stride, top, left, *dilation)
