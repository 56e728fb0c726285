"""The outputs of a ``.net`` network: potentials, counts of spikes, means of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from snn_compile.errors import CompileError, Origin, UnsupportedError
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    CubaLIFNeurons,
    QuantizedNode,
    Readout,
    SparseSynapses,
    Synapses,
)
from snn_compile.plugins import Arrival
from snn_compile.sim import bounds
from snn_frontends.lava_dl.layers import Layer
from snn_frontends.lava_dl.neurons import NO_MEMORY, SigmaDelta
from snn_frontends.lava_dl.parameters import biases, misfit

READABLE = 1 << 17
"""Stock LIF saturates beyond it, in units of the weight."""


@dataclass
class Build:
    """A network on its way: each layer reads the last population.

    Attributes:
        file: as the user named it.
        n_steps: of a window.
        arrival: of the input.
        nodes: so far.
        errors: so far.
        units: real value of one step of each output, (C,).
        output_shapes: of each output.
    """

    file: str
    n_steps: int
    arrival: Arrival
    nodes: list[QuantizedNode] = field(default_factory=list)
    errors: list[CompileError] = field(default_factory=list)
    units: dict[NodeId, Any] = field(default_factory=dict)
    output_shapes: dict[NodeId, Shape] = field(default_factory=dict)

    @property
    def last(self) -> Any:
        """The input, or the population added last."""
        return self.nodes[-1]

    def add_output(self, readout: Readout) -> None:
        """Add an output in units of its potential."""
        flat = prod(readout.shape[1:]) == 1
        self.nodes.append(readout)
        self.output_shapes[readout.id] = readout.shape[:1] if flat else readout.shape
        self.units[readout.id] = np.ones(readout.shape[0])


def readout_of(made: Build, layer: Layer, groups: Sequence[Synapses]) -> Readout | None:
    """The output that the last layer's potentials are; None if it fires, or sends changes.

    Raises:
        UnsupportedError: it leaks and never fires.
    """
    neuron, shape = layer.neuron, groups[0].shape
    readout = Readout(
        id=NodeId(layer.name),
        inputs=tuple(group.id for group in groups),
        shape=shape,
        origin=layer.origin,
        bias=QTensor.of(biases(layer, shape)),
    )
    if isinstance(neuron, SigmaDelta):
        return readout if neuron.outputs_sum else None
    if neuron is None:
        raise TypeError(f"'{layer.name}' has no neurons")
    graph = Graph([*made.nodes, readout])
    reached = bounds.potential(graph, readout, made.n_steps).magnitude
    least = int(neuron.threshold.min())
    fires = reached > least and least < READABLE - 1
    if not neuron.sums:
        if least >= READABLE - 1:
            raise UnsupportedError(
                f"an output that leaks (iDecay {NO_MEMORY - neuron.current_kept}, vDecay"
                f" {NO_MEMORY - neuron.voltage_kept}) and never fires: outputs here add up",
                code="net-neuron",
                origin=layer.origin,
                hint="end with a layer that fires, or with iDecay 4096 and vDecay 0",
            )
        return None
    if fires:
        return None
    if neuron.current_kept and layer.bias is not None:
        raise UnsupportedError(
            "a bias of an output whose current adds up: it counts once there, not at each step",
            code="net-neuron",
            origin=layer.origin,
            hint="train the last layer without bias",
        )
    if reached >= READABLE:
        raise UnsupportedError(
            f"its potential could reach {reached:,} in {made.n_steps} steps; Lava's saturates or"
            f" fires at {READABLE:,}",
            code="net-range",
            origin=layer.origin,
            hint="use fewer steps: -T",
        )
    return readout


def average(made: Build, layer: Layer, *, is_last: bool) -> None:
    """The mean of groups of neurons: their spikes are added up, and divided by the decoding."""
    source, n_out = made.last, prod(layer.shape)
    size = prod(source.shape)
    if not is_last or not isinstance(source, CubaLIFNeurons):
        raise UnsupportedError(
            "an average of anything but the last spiking layer",
            origin=layer.origin,
            hint="use a pool",
        )
    if size % n_out:
        raise misfit(layer, f"averages {size} neurons to {n_out} outputs")
    synapses = SparseSynapses(
        id=NodeId(f"{layer.name}.synapses"),
        inputs=(source.id,),
        shape=(n_out, 1, 1),
        origin=layer.origin,
        exponent=0,
        indptr=np.arange(n_out + 1) * (size // n_out),
        indices=np.arange(size),
        weight=QTensor(np.ones(size, np.int64), QFormat(2)),
    )
    _add_readout(made, layer.name, synapses, layer.origin)
    made.units[made.last.id] = np.full(n_out, n_out / size)


def count(made: Build, origin: Origin) -> None:
    """An output that adds up what the last layer sends."""
    source = made.last
    name = f"{source.id}.sum"
    synapses = one_to_one(name, source, 0, origin)
    _add_readout(made, name, synapses, origin)


def _add_readout(made: Build, name: str, synapses: Synapses, origin: Origin) -> None:
    shape = synapses.shape
    readout = Readout(
        id=NodeId(name),
        inputs=(synapses.id,),
        shape=shape,
        origin=origin,
        bias=QTensor.of(np.zeros((shape[0], 1, 1), np.int64)),
    )
    made.nodes.append(synapses)
    made.add_output(readout)


def one_to_one(name: str, source: Any, exponent: int, origin: Origin) -> ConvSynapses:
    """One synapse of weight 1 from each neuron of a source to its counterpart."""
    channels = source.shape[0]
    return ConvSynapses(
        id=NodeId(f"{name}.synapses"),
        inputs=(source.id,),
        shape=source.shape,
        origin=origin,
        weight=QTensor(np.ones((channels, 1, 1, 1), np.int64), QFormat(2)),
        exponent=exponent,
        geometry=Geometry(groups=channels),
    )
