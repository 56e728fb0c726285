"""A network as its C program has it: layers, their types, constants and memory."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from snn_backends.c import neurons, sums
from snn_backends.c.arrays import Constant, constant, packed, packed_bits
from snn_backends.c.integers import CType, accumulator, holding, literal
from snn_backends.c.memory import ALWAYS, Arena, Buffer, allocate
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
    RadixIFNeurons,
    Readout,
    SigmaDeltaReadout,
    SparseSynapses,
    Synapses,
    SyncIFNeurons,
)
from snn_compile.ir.spiking import InputCoding

MAX_COMMENT = 60
GEOMETRY_NUMBERS = 12
"""Of ``struct convolution``, in 32 bits."""


class Family(enum.Enum):
    """How populations depend on time."""

    STEPPED = "stepped"
    """Each step's messages depend on this step's input and on the potentials."""
    WINDOWED = "windowed"
    """Layers wait for a window of their sources."""
    STREAM = "stream"
    """A step is a frame; messages are what has changed since the one before."""


def family_of(program: QuantizedGraph) -> Family | None:
    """The family of all populations; None if they are of several."""
    found = {_family(node) for node in program.populations}
    return found.pop() if len(found) == 1 else None


def _family(node: Population) -> Family:
    if isinstance(node, ChangeNeurons | SigmaDeltaReadout):
        return Family.STREAM
    return Family.WINDOWED if node.sums_windows else Family.STEPPED


@dataclass(frozen=True)
class Kernel:
    """A function that adds up one neuron's synapses.

    Attributes:
        kind: ``convolution``, ``dense`` or ``sparse``.
        message: type of the messages.
        bits: of a weight in flash.
        sum: type of the sum.
        index: type of the sources' numbers, of sparse synapses.
    """

    kind: str
    message: CType
    bits: int
    sum: CType
    index: CType | None = None

    @property
    def name(self) -> str:
        """In C."""
        parts = [self.kind, self.message.short, f"w{self.bits}", self.sum.short]
        return "_".join([*parts, self.index.short] if self.index else parts)


@dataclass(frozen=True, eq=False)
class Group:
    """A synapse group of a layer.

    Attributes:
        kernel: adds it up.
        source: number of the layer that it reads; None for the input.
        first: first value of the input that it reads.
        before, after: arguments of the kernel on both sides of the messages.
        exponent: of the synapses.
        silent: whether its source may have nothing to say at a step.
    """

    kernel: Kernel
    source: int | None
    first: int
    before: str
    after: str
    exponent: int
    silent: bool

    def sum(self, messages: str) -> str:
        """The group's part of what arrives at a neuron, for the messages of that name."""
        arguments = ", ".join(part for part in (self.before, messages, self.after) if part)
        text = f"{self.kernel.name}({arguments})"
        if self.exponent > 0:
            text = f"{text} * {literal(1 << self.exponent)}"
        elif self.exponent < 0:
            places = min(-self.exponent, self.kernel.sum.bits - 1)
            text = f"shifted_{self.kernel.sum.short}({text}, {places})"
        return f"({messages} ? {text} : 0)" if self.silent else text


@dataclass(frozen=True, eq=False)
class Layer:
    """A population.

    Attributes:
        index: its number in topological order.
        node: the population.
        form: its equation and types.
        message: type of what its readers add up: of a message, or of a window's sum of them.
        groups: its synapses.
        parameters: an expression for each parameter.
        first: first value of the output, of a readout.
        depth: the number of synapses from the input.
    """

    index: int
    node: Population
    form: neurons.Form
    message: CType
    groups: tuple[Group, ...]
    parameters: dict[str, str]
    first: int
    depth: int

    @property
    def comment(self) -> str:
        """Its name, harmless in a comment."""
        return harmless(self.node.id)

    @property
    def model(self) -> str:
        """The class of its neurons."""
        return type(self.node).__name__

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.node.shape)

    @property
    def is_readout(self) -> bool:
        """Whether it is an output."""
        return isinstance(self.node, Readout)

    @property
    def by_place(self) -> bool:
        """Whether neurons are told by channel, row and column."""
        return any(group.kernel.kind == "convolution" for group in self.groups)

    @property
    def by_channel(self) -> bool:
        """Whether parameters differ between channels of several neurons."""
        used = any(re.search(r"\bc\b", text) for text in self.parameters.values())
        return used and self.size > self.node.shape[0]

    @property
    def reads_input(self) -> bool:
        """Whether a group reads the network's input."""
        return any(group.source is None for group in self.groups)

    def arguments(self, family: Family) -> list[tuple[str, str]]:
        """Declaration and value of each parameter of its function."""
        found = []
        if self.reads_input:
            found.append(("const snn_message *input", "input"))
        if family is Family.STEPPED and self.form.states:
            found.append(("int32_t t", "t"))
        if self.is_readout:
            found.append(("snn_output *output", "output"))
        return found

    @property
    def sent(self) -> str:
        """What a neuron that has waited for a window sends at a step of its own."""
        match self.node:
            case SyncIFNeurons():
                return "t < count[n]"
            case RadixIFNeurons():
                return "count[n] & INT32_C(1) << (SNN_STEPS - 1 - t)"
        return "t == 0 ? count[n] : 0"

    @property
    def arriving(self) -> str:
        """What arrives at a neuron."""
        return " + ".join(group.sum(f"s{k}") for k, group in enumerate(self.groups))


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the templates need.

    Attributes:
        program: the network.
        family: of its populations.
        layers: in topological order.
        constants: arrays in flash.
        geometries: numbers of each convolution's structure, by its name.
        input: type of a value of the frame that is shown.
        given: type of an input message.
        output: type of an output.
    """

    program: QuantizedGraph
    family: Family
    layers: tuple[Layer, ...]
    constants: tuple[Constant, ...]
    geometries: dict[str, tuple[int, ...]]
    input: CType
    given: CType
    output: CType

    @property
    def n_steps(self) -> int:
        """Of a window."""
        return self.program.window.n_steps

    @property
    def n_inputs(self) -> int:
        """Values of a frame, or messages of a step."""
        return prod(self.program.inputs.shape)

    @property
    def n_outputs(self) -> int:
        """Values of all outputs."""
        return sum(layer.size for layer in self.layers if layer.is_readout)

    @property
    def coding(self) -> str:
        """Of the input."""
        return self.program.input_coding.value

    @property
    def has_changes(self) -> bool:
        """Whether the input sends what differs from the frame before."""
        return self.program.input_coding is InputCoding.CHANGES

    @property
    def has_messages(self) -> bool:
        """Whether the user gives the input's messages at every step."""
        return self.program.input_coding in (InputCoding.EVENTS, InputCoding.POISSON)

    @property
    def sends_once(self) -> bool:
        """Whether the input sends its frame at the first step only."""
        return self.program.input_coding is InputCoding.FRAME

    @property
    def is_windowed(self) -> bool:
        """Whether layers wait for a window."""
        return self.family is Family.WINDOWED

    @property
    def is_stream(self) -> bool:
        """Whether messages are changes."""
        return self.family is Family.STREAM

    @property
    def keeps_time(self) -> bool:
        """Whether anything depends on the step."""
        return self.n_steps > 1 and not self.is_windowed

    @property
    def needs_time(self) -> bool:
        """Whether a layer asks for the step, though there may be one only."""
        return self.family is Family.STEPPED and any(layer.form.states for layer in self.layers)

    @property
    def n_phases(self) -> int:
        """Windows from the input's to the last layer's, where layers wait for them."""
        return max(layer.depth + (not layer.is_readout) for layer in self.layers)

    @property
    def frame_values(self) -> int:
        """Values that ``run`` reads."""
        return self.n_inputs * (self.n_steps if self.has_messages else 1)

    @property
    def cleared(self) -> list[tuple[str, str, int]]:
        """Type, place and size of what begins at zero with a stream."""
        arena, found = self.arenas["step"], []
        if self.has_changes:
            found.append((self.input.name, arena.pointer("before"), self.n_inputs))
        for layer in self.layers if self.is_stream else ():
            for name, kept in layer.form.states.items():
                place = arena.pointer(f"{name}{layer.index}")
                found.append((kept.name, place, layer.size))
        return found

    @property
    def rows(self) -> int:
        """Calls of ``step`` for a stimulus."""
        return self.n_steps * (self.n_phases if self.is_windowed else 1)

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """All that are used, in order of their names."""
        found = {group.kernel for layer in self.layers for group in layer.groups}
        return tuple(sorted(found, key=lambda kernel: kernel.name))

    @property
    def data_bytes(self) -> int:
        """Constants in flash."""
        tables = 4 * GEOMETRY_NUMBERS * len(self.geometries)
        return tables + sum(array.bytes for array in self.constants)

    @cached_property
    def arenas(self) -> dict[str, Arena]:
        """Memory of ``run``, where it computes windows at once, and of ``step``."""
        whole = allocate(self._buffers(stepwise=False), [])
        counters = ["phase", "t"] if self.is_windowed else ["t"] * self.keeps_time
        return {"run": whole, "step": allocate(self._buffers(stepwise=True), counters)}

    @property
    def memories(self) -> tuple[tuple[str, Arena], ...]:
        """Condition and content of the structure in RAM."""
        run, step = self.arenas["run"], self.arenas["step"]
        if not self.is_windowed:
            return (("", step),)
        return (("#ifdef SNN_WITHOUT_STEP", run), ("#else", run.joined(step)))

    def place(self, arena: str, name: str, index: int) -> str:
        """A pointer to a buffer of a layer."""
        return self.arenas[arena].pointer(f"{name}{index}")

    def _buffers(self, *, stepwise: bool) -> Iterator[Buffer]:
        if self.has_changes:
            yield Buffer("before", self.input, self.n_inputs)
            yield Buffer("changes", self.given, self.n_inputs, (-1, len(self.layers)))
        last = {layer.index: layer.index for layer in self.layers}
        for layer in self.layers:
            for group in layer.groups:
                if group.source is not None:
                    last[group.source] = layer.index
        for layer in self.layers:
            if self.is_windowed and stepwise:
                yield from self._of_windows(layer)
                continue
            for name, state in layer.form.states.items():
                yield Buffer(f"{name}{layer.index}", state, layer.size)
            if not layer.is_readout:
                life = layer.index, last[layer.index]
                yield Buffer(f"out{layer.index}", layer.message, layer.size, life)

    def _of_windows(self, layer: Layer) -> Iterator[Buffer]:
        collecting, sending = layer.depth - 1, layer.depth
        life = collecting, collecting
        yield Buffer(f"sum{layer.index}", layer.form.sum, layer.size, life)
        if not layer.is_readout:
            yield Buffer(f"count{layer.index}", layer.message, layer.size, (collecting, sending))
            yield Buffer(f"out{layer.index}", layer.message, layer.size, (sending, sending))


def harmless(text: str) -> str:
    """A name from a user's file, for a comment or a page."""
    kept = re.sub(r"[^A-Za-z0-9_.:/ -]", "_", text)
    return kept if len(kept) <= MAX_COMMENT else kept[: MAX_COMMENT - 3] + "..."


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
    return (n_in, each, height, width, *kernel, *form.stride, top, left, *form.dilation)


__all__ = ["ALWAYS", "Family", "Group", "Kernel", "Layer", "Plan", "family_of", "make_plan"]
