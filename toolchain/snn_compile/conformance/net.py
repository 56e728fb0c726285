"""Construction of vectors: platform-independent pseudorandom integers, and layers from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.coding_registry import coding_class
from snn_compile.errors import Origin
from snn_compile.files.typed import fields_of
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.inputs import Inputs
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    GradedNeurons,
    IFNeurons,
    Input,
    PiecewiseLinearDeltaNeurons,
    PiecewiseLinearNeurons,
    PiecewiseLinearWindowNeurons,
    Population,
    QuantizedGraph,
    QuantizedNode,
    RadixIFNeurons,
    Readout,
    SigmaDeltaNeurons,
    SignedIFNeurons,
    SparseSynapses,
    Synapses,
    SyncIFNeurons,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.sim import bounds

INPUT = NodeId("input")
LINES: dict[str, type[Population]] = {
    "piecewise-linear": PiecewiseLinearNeurons,
    "piecewise-linear-delta": PiecewiseLinearDeltaNeurons,
    "piecewise-linear-window": PiecewiseLinearWindowNeurons,
}
LEVELS = 100
"""Largest count of clip-floor neurons."""
ORIGIN = Origin("conformance")


@dataclass(frozen=True, eq=False)
class Vector:
    """A network with stimuli and a purpose.

    Attributes:
        name: name of its folder.
        about: its purpose beyond its structure, in a sentence.
        program: the network.
        frames: encoded stimuli, (N, *sample shape); events (N, T, *sample shape).
    """

    name: str
    about: str
    program: QuantizedGraph
    frames: Int


class Draws:
    """Pseudorandom integers from SHAKE-256 of a name: independent of the numpy version."""

    def __init__(self, name: str) -> None:
        self._name, self._count = name, 0

    def __call__(self, low: int, high: int, shape: Shape | int) -> Int:
        """Integers from low to high, both included."""
        shape = (shape,) if isinstance(shape, int) else shape
        self._count += 1
        stream = hashlib.shake_256(f"{self._name}/{self._count}".encode())
        words = np.frombuffer(stream.digest(4 * prod(shape)), "<u4").astype(np.int64)
        drawn: Int = (low + words % (high - low + 1)).reshape(shape)
        return drawn


class Net:
    """Builder of a network.

    Args:
        name: name of the vector, the seed of everything random.
        shape: of the input.
        coding: of the network.
        n_steps: length of a window.
        low: smallest encoded value, high: largest.
        arrives: input coding at the first synapses; by default that of the coding.
    """

    def __init__(
        self,
        name: str,
        shape: Shape,
        coding: str = "rate",
        n_steps: int = 1,
        *,
        low: int = 0,
        high: int = 15,
        arrives: InputCoding | None = None,
    ) -> None:
        self.name, self.draw = name, Draws(name)
        self.window = Window(coding, n_steps)
        self._schedule = self.window.schedule
        usual = self._schedule.input if self._schedule else coding_class(coding).input
        self._arrives = arrives or usual
        self._inputs: list[Input] = []
        self._nodes: dict[NodeId, QuantizedNode] = {}
        self.input(INPUT, shape, low=low, high=high)

    def input(self, name: str, shape: Shape, *, low: int = 0, high: int = 15) -> NodeId:
        """A further input; its values follow those of the others in a sample."""
        node = Input(
            id=NodeId(name),
            inputs=(),
            shape=shape,
            origin=ORIGIN,
            format=QFormat.holding(low, high),
            low=low,
            high=high,
            coding=self._arrives,
        )
        self._inputs.append(node)
        self._nodes[node.id] = node
        return node.id

    def shape(self, node: NodeId) -> Shape:
        """Of a population, the input or a synapse group's target."""
        return self._nodes[node].shape

    def vector(self, about: str, frames: npt.ArrayLike) -> Vector:
        """The network with its stimuli."""
        program = QuantizedGraph(Graph(self._nodes.values()), self.window)
        return Vector(self.name, about, program, np.asarray(frames, np.int64))

    def frames(self, n: int) -> Int:
        """Random stimuli, about half of their values 0; the first has the largest value."""
        made: dict[NodeId, Int] = {}
        for node in self._inputs:
            shape = (n, *node.shape)
            values = self.draw(node.low, node.high, shape) * self.draw(0, 1, shape)
            values[0] = node.high
            made[node.id] = values
        frames: Int = Inputs(self._inputs).join(made)
        return frames

    # Synapses ---------------------------------------------------------------------------------

    def weights(self, shape: Shape, bits: int) -> Int:
        """Random weights of all magnitudes, of which two thirds are positive."""
        top = 1 << (bits - 1)
        values = self.draw(-top, top - 1, shape)
        flip = (values < 0) & (values > -top) & (self.draw(0, 2, shape) == 0)
        positive: Int = np.where(flip, -values, values)
        return positive

    def conv(
        self,
        source: NodeId,
        channels: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        bits: int = 5,
        exponent: int = 0,
        weight: Int | None = None,
        **form: Any,
    ) -> NodeId:
        """Convolutional synapses; ``form`` is the geometry's."""
        geometry = Geometry(**form)
        n_in, height, width = self.shape(source)
        size = geometry.output_size((height, width), kernel)
        if weight is None:
            weight = self.weights((channels, n_in // geometry.groups, *kernel), bits)
        return self._synapses(
            ConvSynapses,
            source,
            (channels, *size),
            weight=QTensor(weight, QFormat(bits)),
            exponent=exponent,
            geometry=geometry,
        )

    def dense(
        self,
        source: NodeId,
        shape: Shape | int,
        *,
        bits: int = 5,
        exponent: int = 0,
        weight: npt.ArrayLike | None = None,
    ) -> NodeId:
        """All-to-all synapses."""
        shape = (shape,) if isinstance(shape, int) else shape
        values = self.weights((prod(shape), prod(self.shape(source))), bits)
        if weight is not None:
            values = np.asarray(weight, np.int64)
        return self._synapses(
            DenseSynapses, source, shape, weight=QTensor(values, QFormat(bits)), exponent=exponent
        )

    def sparse(
        self,
        source: NodeId,
        shape: Shape,
        wired: npt.NDArray[np.bool_],
        *,
        bits: int = 5,
        exponent: int = 0,
    ) -> NodeId:
        """Synapses where ``wired`` (targets, sources) is true."""
        indptr = np.concatenate([[0], np.cumsum(wired.sum(axis=1))]).astype(np.int64)
        indices = np.nonzero(wired)[1].astype(np.int64)
        return self._synapses(
            SparseSynapses,
            source,
            shape,
            indptr=indptr,
            indices=indices,
            weight=QTensor(self.weights((len(indices),), bits), QFormat(bits)),
            exponent=exponent,
        )

    def one_to_one(self, source: NodeId, weight: int = 1, exponent: int = 0) -> NodeId:
        """One synapse from each neuron to its counterpart."""
        n = prod(self.shape(source))
        return self._synapses(
            SparseSynapses,
            source,
            self.shape(source),
            indptr=np.arange(n + 1),
            indices=np.arange(n),
            weight=QTensor(np.full(n, weight), QFormat(8)),
            exponent=exponent,
        )

    def _synapses(
        self, kind: type[Synapses], source: NodeId, shape: Shape, **parameters: Any
    ) -> NodeId:
        name = NodeId(f"{source}.to{len(self._nodes)}")
        self._nodes[name] = kind(
            id=name, inputs=(source,), shape=shape, origin=ORIGIN, **parameters
        )
        return name

    # Populations ------------------------------------------------------------------------------

    def scale(self, *synapses: NodeId) -> int:
        """A typical magnitude of the groups' summed input per step: a tenth of the largest."""
        largest = 0
        for key in synapses:
            group = self._nodes[key]
            if not isinstance(group, Synapses):
                raise TypeError(f"'{key}' is no synapse group")
            source: Any = self._nodes[group.inputs[0]]
            low, high = source.messages
            if isinstance(source, RadixIFNeurons):
                high = source.payload.max
            sums = bounds.synapse_sums(group, (low, high))[0].magnitude
            largest += sums << group.exponent if group.exponent >= 0 else sums >> -group.exponent
        return max(1, largest // 10)

    def add(
        self, kind: type[Population], name: str, *synapses: NodeId, bias: Any = 0, **parameters: Any
    ) -> NodeId:
        """Add a population. Numbers become one value a channel; sequences and arrays are kept.

        Args:
            kind: its class.
            name: its name in traces.
            synapses: groups that feed it.
            bias: as the others.
            parameters: its other parameters.
        """
        shape = self.shape(synapses[0])
        model: Any = kind
        types = fields_of(model)
        for key, value in parameters.items():
            if types[key] in (QTensor, QTensor | None):
                parameters[key] = _per_channel(value, shape)
        node: Any = model(
            id=NodeId(name),
            inputs=synapses,
            shape=shape,
            origin=ORIGIN,
            bias=_per_channel(bias, shape),
            **parameters,
        )
        self._nodes[node.id] = node
        return NodeId(name)

    def readout(self, name: str, *synapses: NodeId, **parameters: Any) -> NodeId:
        """An output of the network's coding."""
        kind = self._schedule.forms[Readout] if self._schedule else Readout
        return self.add(kind, name, *synapses, **parameters)

    def add_active(self, kind: str, name: str, *synapses: NodeId, **parameters: Any) -> NodeId:
        """Add a population with random parameters that keep it active.

        Args:
            kind: ``subtract``, ``zero``, ``burst``, ``signed``, ``sync``, ``radix``, ``graded``,
                ``clip-floor``, ``sigma-delta``, ``cuba`` or one of ``LINES``.
            name: its name in traces.
            synapses: groups that feed it.
            parameters: those that replace random ones.
        """
        channels, scale = self.shape(synapses[0])[0], self.scale(*synapses)
        bias = self.draw(-max(1, scale // 8), max(1, scale // 8), channels)
        threshold = self.draw(max(1, scale // 2), 2 * scale, channels)
        payload = QFormat(8, signed=False)
        if kind in LINES:
            return self.add(
                LINES[kind], name, *synapses, **(self._lines(scale, channels) | parameters)
            )
        if kind in ("graded", "sigma-delta"):
            like = GradedNeurons if kind == "graded" else SigmaDeltaNeurons
            fitting = 11 + max(
                0, (2 * scale).bit_length() - parameters.get("payload", payload).bits
            )
            suits: dict[str, Any] = {
                "multiplier": self.draw(1 << 11, (1 << 12) - 1, channels),
                "shift": fitting,
                "payload": payload,
            }
            return self.add(like, name, *synapses, **({"bias": bias} | suits | parameters))
        suits = {"bias": bias, "threshold": threshold}
        if kind == "clip-floor":
            suits |= {"threshold": np.maximum(1, threshold // LEVELS), "levels": LEVELS}
            return self.add(ClipFloorNeurons, name, *synapses, **(suits | parameters))
        if kind in ("sync", "radix"):
            n_steps = self.window.n_steps
            levels = n_steps if kind == "sync" else (1 << n_steps) - 1
            suits["threshold"] = np.maximum(1, threshold // levels)
            if kind == "sync":
                return self.add(SyncIFNeurons, name, *synapses, **(suits | parameters))
            digits = {"payload": QFormat(n_steps, signed=False)}
            return self.add(RadixIFNeurons, name, *synapses, **(suits | digits | parameters))
        if kind == "cuba":
            suits["bias"] = bias << 6
            decays = {"current_decay": 1200, "voltage_decay": 300}
            return self.add(CubaLIFNeurons, name, *synapses, **(suits | decays | parameters))
        suits["initial_potential"] = threshold // 2
        if kind == "signed":
            return self.add(SignedIFNeurons, name, *synapses, **(suits | parameters))
        if kind == "burst":
            suits |= {"threshold": np.maximum(1, threshold // 3), "burst": 3}
        reset = Reset.ZERO if kind == "zero" else Reset.SUBTRACT
        return self.add(IFNeurons, name, *synapses, **(suits | {"reset": reset} | parameters))

    def _lines(self, scale: int, channels: int) -> dict[str, Any]:
        """A table of four lines of both signs, the last of them level."""
        begins = np.sort(self.draw(-2 * scale, 2 * scale, (channels, 3)), axis=1)
        multiplier = self.draw(-(1 << 12) + 1, (1 << 12) - 1, (channels, 4))
        multiplier[:, -1] = 0
        shift = 12 + max(0, scale.bit_length() - 6)
        offset = self.draw(-60, 60, (channels, 4)) << shift
        return {
            "bias": self.draw(-max(1, scale // 8), max(1, scale // 8), channels),
            "breakpoints": begins,
            "multiplier": multiplier,
            "offset": offset + (1 << (shift - 1)),
            "shift": np.full((channels, 4), shift),
            "low": -100,
            "high": 127,
        }

    def relay(self, kind: str, name: str, source: NodeId) -> NodeId:
        """Add a population that relays another's messages by one depth."""
        one: dict[str, Any] = {"bias": 0, "relay": True}
        if kind in LINES:
            row = np.ones((self.shape(source)[0], 1), np.int64)
            one |= {"breakpoints": row[:, :0], "multiplier": row << 11, "shift": row * 11}
            return self.add_active(kind, name, self.one_to_one(source), offset=row << 10, **one)
        if kind in ("graded", "sigma-delta"):
            sending: Any = self._nodes[source]
            one |= {"multiplier": 1 << 11, "shift": 11, "payload": sending.payload}
        else:
            one["threshold"] = 1
        kind = "subtract" if kind in ("zero", "cuba") else kind
        if kind in ("subtract", "burst", "signed"):
            one["initial_potential"] = 0
        return self.add_active(kind, name, self.one_to_one(source), **one)


def _per_channel(value: Any, shape: Shape) -> QTensor:
    """A number for every channel; other values unchanged."""
    values = np.asarray(value, np.int64)
    return QTensor.of(np.full(shape[0], values) if values.ndim == 0 else values)
