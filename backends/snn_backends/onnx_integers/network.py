"""The whole network as integer operators, and what of it has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from snn_backends.onnx_integers import neurons, synapses
from snn_backends.onnx_integers.assembly import Assembly, BeyondError, Value, type_for
from snn_compile.errors import CompileError, UnsupportedError
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Input,
    Population,
    QuantizedGraph,
    Readout,
    SparseSynapses,
)
from snn_compile.ir.schedule import integer_network
from snn_compile.ir.spiking import InputCoding

WHOLE = (InputCoding.CURRENT, InputCoding.GRADED, InputCoding.FRAME)
"""Inputs that send a whole frame at once."""
MAX_SIZE = (1 << 31) - (1 << 26)
"""Bytes of constants: protobuf's limit of a file, without operators and metadata."""


@dataclass
class Network:
    """Operators of a network.

    Attributes:
        asm: the operators.
        inputs: tensors of encoded values that the network takes.
        messages: the integer that each population sends; of readouts, the potential.
        errors: what has no form in these operators.
    """

    asm: Assembly = field(default_factory=Assembly)
    inputs: dict[NodeId, Value] = field(default_factory=dict)
    messages: dict[NodeId, Value] = field(default_factory=dict)
    errors: list[CompileError] = field(default_factory=list)


def refusals(program: QuantizedGraph) -> list[CompileError]:
    """Why a network is not one of a single pass over integers; without its numbers."""
    if program.window.is_stream:
        said = "a file of one pass has no frames before, from which the input sends changes"
        return [_refused(program.inputs[0], said, "onnx-state")]
    at_once = integer_network(program)
    found: list[CompileError] = []
    if at_once.input_coding not in WHOLE:
        said = f"a file of one pass has no {at_once.input_coding.value} input"
        found.append(_refused(at_once.inputs[0], said, "onnx-input"))
    found += [
        _refused(node, f"a file of one pass has no {node.trait}", "onnx-neuron")
        for node in at_once.populations
        if type(node) not in neurons.MODELS
    ]
    if not found and at_once.window.n_steps > 1:
        said = f"a file of one pass has no {at_once.window.n_steps} steps"
        found.append(_refused(at_once.inputs[0], said, "onnx-state"))
    return found


def _refused(node: Input | Population, what: str, code: str) -> UnsupportedError:
    return UnsupportedError(
        f"'{node.id}': {what}",
        code=code,
        origin=node.origin,
        hint="use --coding graded, sync or radix",
    )


def build(
    program: QuantizedGraph, reserved: Iterable[str] = (), *, between_reals: bool = False
) -> Network:
    """The operators of an integer network of one step; errors are collected.

    Args:
        program: the network.
        reserved: names that are the network's own.
        between_reals: whether inputs and outputs are integers of real values, which have the names.
    """
    made = Network()
    made.asm.reserve(reserved)
    for node in program.graph:
        if isinstance(node, Input):
            dtype = type_for(node.low, node.high)
            name = made.asm.name(f"{node.id}:encoded" if between_reals else node.id)
            made.inputs[node.id] = Value(name, node.shape, dtype, node.low, node.high)
        elif isinstance(node, Population):
            try:
                real = between_reals and isinstance(node, Readout)
                called = f"{node.id}:potential" if real else node.id
                made.messages[node.id] = _population(made, program, node, called)
            except BeyondError as error:
                made.errors.append(_too_wide(node, str(error)))
                low, high = getattr(node, "messages", (0, 1))
                made.messages[node.id] = Value(node.id, node.shape, type_for(low, high), low, high)
    return made


def too_large(made: Network, node: Input) -> list[CompileError]:
    """The complaint about constants that one file cannot hold."""
    size = sum(values.nbytes for values in made.asm.constants.values())
    if size <= MAX_SIZE:
        return []
    return [
        UnsupportedError(
            f"its parameters take {size:,} bytes; an ONNX file holds {MAX_SIZE:,}",
            code="onnx-size",
            origin=node.origin,
            hint="emit it for another backend",
        )
    ]


def _population(made: Network, program: QuantizedGraph, node: Population, called: str) -> Value:
    sources: Mapping[NodeId, Value] = {**made.inputs, **made.messages}
    total: Value | None = None
    for k, group in enumerate(program.synapses_into(node)):
        source = sources[group.inputs[0]]
        _check_planes(group, source)
        part = synapses.currents(made.asm, group, source)
        total = (
            part if total is None else made.asm.combined("Add", total, part, f"{node.id}:sum{k}")
        )
    if total is None:
        raise TypeError(f"'{node.id}' has no synapses")
    potential = neurons.potential(made.asm, node, total)
    return neurons.messages(made.asm, node, potential, called)


def _check_planes(group: ConvSynapses | DenseSynapses | SparseSynapses, source: Value) -> None:
    """Check that no sum of 8-bit products leaves its 32 bits.

    Raises:
        BeyondError: one may.
    """
    if isinstance(group, SparseSynapses) or (
        isinstance(group, ConvSynapses) and synapses.is_one_to_one(group)
    ):
        return
    if (most := synapses.largest_plane(group, source)) > synapses.MAX_SUM:
        raise BeyondError(f"a sum of products of up to {most:,}")


def _too_wide(node: Population, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"'{node.id}' may compute {what}: ONNX's operators have 32 or 64 bits",
        code="onnx-precision",
        origin=node.origin,
        hint="use fewer weight bits or fewer payload bits",
    )
