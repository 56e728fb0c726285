"""A network in the engine's C structures, which are those of ``toolchain/engine/engine.h``."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_double, c_int8, c_int32, c_int64, c_void_p
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir import quantized
from snn_compile.ir.fixedpoint import Overflow, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Shape
from snn_compile.ir.models.answers import EngineForm
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    ConvSynapses,
    DenseSynapses,
    Input,
    Neurons,
    QuantizedGraph,
    SparseSynapses,
    along_channels,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import bounds

INPUT_SPIKES, INPUT_VALUES = range(2)
"""Kinds of input as numbered in ``engine.h``; neuron models define theirs (``in_engine``)."""
COUNT_MESSAGES, COUNT_VALUES, COUNT_DIGITS = range(3)
"""What is counted of the values that a population sends, as numbered in ``engine.h``."""

Int64 = POINTER(c_int64)
Int8 = POINTER(c_int8)


class Population(Structure):
    """``snn_population``."""

    _fields_ = (
        ("kind", c_int32),
        ("channels", c_int32),
        ("height", c_int32),
        ("width", c_int32),
        ("held", c_int32),
        ("wide", c_int32),
        ("saturates", c_int32),
        ("bias_per_neuron", c_int32),
        ("initial_per_neuron", c_int32),
        ("counting", c_int32),
        ("numbers", c_int32 * 4),
        ("low", c_int64),
        ("high", c_int64),
        ("limit", c_int64),
        ("bias", Int64),
        ("threshold", Int64),
        ("initial", Int64),
        ("multiplier", Int64),
        ("shift", Int64),
        ("table", Int64),
    )


class Synapses(Structure):
    """``snn_synapses``."""

    _fields_ = (
        ("source", c_int32),
        ("target", c_int32),
        ("exponent", c_int32),
        ("kernel", c_int32 * 2),
        ("stride", c_int32 * 2),
        ("dilation", c_int32 * 2),
        ("groups", c_int32),
        ("top", c_int32),
        ("left", c_int32),
        ("weight", Int8),
        ("indptr", Int64),
        ("indices", Int64),
    )


class Batch(Structure):
    """``snn_batch``."""

    _fields_ = (
        ("n_samples", c_int64),
        ("input_steps", c_int64),
        ("messages", c_void_p),
        ("message_bytes", c_int32),
        ("outputs", POINTER(Int64)),
        ("activity", POINTER(Int64)),
        ("traces", POINTER(c_void_p)),
        ("dense_above", c_double),
        ("n_threads", c_int32),
        ("shared", c_int32),
        ("state", c_void_p),
    )


def layout() -> list[int]:
    """The layout of the structures in Python, in the format of ``snn_engine_layout``."""
    numbers: list[int] = []
    for structure in (Population, Synapses, Batch):
        numbers.append(ctypes.sizeof(structure))
        for name, *_ in structure._fields_:
            field = getattr(structure, name)
            numbers += [field.offset, field.size]
    return numbers


def declare(library: ctypes.CDLL) -> None:
    """Declare the signatures of the functions that ``sim/engine.py`` calls.

    Raises:
        RuntimeError: the library's structures differ from those of this module.
    """
    found = POINTER(c_int32)()
    if found[: library.snn_engine_layout(ctypes.byref(found))] != layout():
        raise RuntimeError("sim/abi.py and engine.h declare different structures")
    library.snn_engine_network_new.restype = c_void_p
    library.snn_engine_network_new.argtypes = (
        POINTER(Population),
        c_int32,
        POINTER(Synapses),
        c_int32,
        c_int32,
        c_char_p,
        c_int32,
    )
    library.snn_engine_network_free.restype = None
    library.snn_engine_network_free.argtypes = (c_void_p,)
    library.snn_engine_state_new.restype = c_void_p
    library.snn_engine_state_new.argtypes = (c_void_p,)
    library.snn_engine_state_free.restype = None
    library.snn_engine_state_free.argtypes = (c_void_p,)
    library.snn_engine_run.restype = ctypes.c_int
    library.snn_engine_run.argtypes = (c_void_p, POINTER(Batch))


class Description:
    """A network in the library's format: two arrays of structures, and the data they point to.

    Args:
        program: the network.
        held: whether the inputs' messages are equal at every step.
        digits: whether counts are sent as their binary digits.
        endless: whether potentials are kept from window to window, so that nothing bounds them.
    """

    def __init__(
        self, program: QuantizedGraph, held: bool, *, digits: bool = False, endless: bool = False
    ) -> None:
        self._counted = COUNT_DIGITS if digits else COUNT_VALUES
        self._endless = endless
        self._alive: list[npt.NDArray[np.generic]] = []
        self._held = {node.id: held or program.window.n_steps == 1 for node in program.inputs}
        nodes: list[Input | quantized.Population] = [*program.inputs, *program.populations]
        described = [self._population(program, node) for node in nodes]
        index = {node.id: i for i, node in enumerate(nodes)}
        groups = [
            self._synapses(program, synapses, index[synapses.inputs[0]], index[node.id])
            for node in program.populations
            for synapses in program.synapses_into(node)
        ]
        self.n_steps = program.window.n_steps
        self.populations = (Population * len(described))(*described)
        self.synapses = (Synapses * len(groups))(*groups)

    def _population(
        self, program: QuantizedGraph, node: Input | quantized.Population
    ) -> Population:
        shape = maps(node.shape)
        if isinstance(node, Input):
            low, high = node.messages
            # Events may be counts; only binary ones use the path of spikes.
            events = node.coding is InputCoding.EVENTS and -1 <= low <= high <= 1
            spikes = node.coding is InputCoding.POISSON or events
            return Population(
                kind=INPUT_SPIKES if spikes else INPUT_VALUES,
                **shape,
                held=self._held[node.id],
                low=low,
                high=high,
            )
        form = engine_form(node)
        sources = [synapses.inputs[0] for synapses in program.synapses_into(node)]
        self._held[node.id] = form.is_stateless and all(self._held[source] for source in sources)
        low, high = node.messages if isinstance(node, Neurons) else (0, 0)
        initial = form.initial
        return Population(
            kind=form.kind,
            **shape,
            held=self._held[node.id],
            wide=not fits_31_bits(program, node),
            saturates=self._endless or may_saturate(program, node),
            low=low,
            high=high,
            limit=min(node.state.max, VOLTAGE_LIMIT),
            bias_per_neuron=not _per_channel(node.bias, node),
            initial_per_neuron=initial is not None and not _per_channel(initial, node),
            counting=self._counted if node.counts else COUNT_MESSAGES,
            numbers=form.numbers,
            **self._parameters(node, form),
        )

    def _parameters(self, node: quantized.Population, form: EngineForm) -> dict[str, Any]:
        def expanded(values: QTensor) -> npt.NDArray[np.int64]:
            """One value per channel, or else per neuron."""
            if _per_channel(values, node):
                return values.values.ravel()
            return along_channels(values.values, node.shape)

        arrays = {name: tensor.values for name, tensor in form.per_channel.items()}
        arrays["bias"] = expanded(node.bias)
        if form.table is not None:
            arrays["table"] = form.table
        if form.initial is not None:
            arrays["initial"] = expanded(form.initial)
        return {name: self._pointer(values, np.int64) for name, values in arrays.items()}

    def _synapses(
        self, program: QuantizedGraph, node: quantized.Synapses, source: int, target: int
    ) -> Synapses:
        weight = node.weight.values
        geometry, kernel = Geometry(), (1, 1)
        matrix: dict[str, Any] = {}
        n_in = program.graph[node.inputs[0]].shape
        match node:
            case ConvSynapses():
                geometry, kernel = node.geometry, (weight.shape[2], weight.shape[3])
            case DenseSynapses() if prod(node.shape[1:]) == 1:
                # All-to-all is a kernel of the size of the map.
                kernel = (maps(n_in)["height"], maps(n_in)["width"])
            case DenseSynapses():
                n_rows, n_columns = weight.shape
                matrix["indptr"] = np.arange(n_rows + 1) * n_columns
                matrix["indices"] = np.tile(np.arange(n_columns), n_rows)
            case SparseSynapses():
                matrix = {"indptr": node.indptr, "indices": node.indices}
        return Synapses(
            source=source,
            target=target,
            exponent=node.exponent,
            kernel=kernel,
            stride=geometry.stride,
            dilation=geometry.dilation,
            groups=geometry.groups,
            top=geometry.padding[0],
            left=geometry.padding[1],
            weight=self._pointer(weight, np.int8),
            **{key: self._pointer(values, np.int64) for key, values in matrix.items()},
        )

    def _pointer(self, values: npt.NDArray[np.generic], dtype: type[np.generic]) -> Any:
        array = np.ascontiguousarray(values, dtype)
        self._alive.append(array)
        return array.ctypes.data_as(Int64 if array.itemsize == 8 else Int8)


def maps(shape: Shape) -> dict[str, int]:
    """A shape as channels, height and width: vectors are maps of one pixel."""
    channels, height, width = (*shape, 1, 1)[:3] if len(shape) < 3 else shape
    return {"channels": channels, "height": height, "width": width}


def engine_form(node: quantized.Population) -> EngineForm:
    """A population of an integer network in the engine's terms.

    Raises:
        TypeError: it is not expressible; see ``not_expressed``.
    """
    form = node.in_engine
    if not isinstance(form, EngineForm):
        raise TypeError(
            f"'{node.id}' has no form in the engine: {form or 'it is spread over time'}"
        )
    return form


def not_expressed(program: QuantizedGraph) -> str:
    """Description of the part of a network that the engine does not support; empty if none."""
    for node in program.populations:
        if node.overflow is Overflow.WRAP:
            return "the engine has no states that wrap"
        if isinstance(reason := node.in_engine, str):
            return reason
    return ""


def fits_31_bits(program: QuantizedGraph, node: quantized.Population) -> bool:
    """Whether sums and states of a population provably fit 32-bit arithmetic.

    Partial sums, before and after their shift, and parameters stay below 2**30: adding a
    potential of 24 bits overflows nothing.
    """
    moves = (2 * _largest(parameter) for parameter in engine_form(node).moves)
    return max(bounds.largest_sum(program.graph, node), *moves, 0) < 1 << 30


def may_saturate(program: QuantizedGraph, node: quantized.Population) -> bool:
    """Whether a potential may exceed its format."""
    if node.wraps:
        return True
    limit = min(node.state.max, VOLTAGE_LIMIT)
    potential = bounds.potential(program.graph, node, program.window.n_steps)
    return potential.magnitude > limit


def _largest(values: QTensor) -> int:
    return int(np.abs(values.values).max(initial=0))


def _per_channel(parameter: QTensor, node: quantized.Population) -> bool:
    """Whether a parameter is uniform within each channel."""
    values = parameter.values
    return bool(values.shape[0] == values.size == node.shape[0])
