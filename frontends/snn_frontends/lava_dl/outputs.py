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
from snn_compile.ir.models.arithmetic import VOLTAGE_LIMIT
from snn_compile.ir.models.population import FRACTION_BITS
from snn_compile.ir.quantized import (
    ConvSynapses,
    CubaLIFNeurons,
    LeakyReadout,
    QuantizedNode,
    Readout,
    SparseSynapses,
    Synapses,
)
from snn_compile.plugins import Arrival
from snn_compile.sim import bounds
from snn_frontends.lava_dl.layers import Layer
from snn_frontends.lava_dl.neurons import Leaky, SigmaDelta
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
        unit = 2.0**-readout.bits_below_weights
        self.units[readout.id] = np.full(readout.shape[0], unit)


def readout_of(made: Build, layer: Layer, groups: Sequence[Synapses]) -> Readout | None:
    """The output that the last layer's potentials are; None if it fires, or sends changes.

    Raises:
        UnsupportedError: its potential could fire, saturate, or has a bias that counts once.
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
        return _leaking(made, readout, neuron) if least >= READABLE - 1 else None
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


def _leaking(made: Build, readout: Readout, neuron: Leaky) -> LeakyReadout:
    """The potential of a layer that leaks and is not to fire.

    Raises:
        UnsupportedError: it could fire all the same.
    """
    made.errors += neuron.unusual(readout.origin)
    decays: dict[str, Any] = {
        "current_decay": neuron.current_decay,
        "voltage_decay": neuron.voltage_decay,
    }
    place: dict[str, Any] = {
        **readout.common_fields,
        "bias": QTensor.of(readout.bias.values << FRACTION_BITS),
    }
    threshold = np.full(readout.shape[0], int(neuron.threshold.min()))
    firing = CubaLIFNeurons(**place, **decays, threshold=QTensor.of(threshold))
    reached = bounds.states(Graph([*made.nodes, firing]), firing, made.n_steps)
    most = int(threshold[0]) << FRACTION_BITS
    if most < VOLTAGE_LIMIT and reached.magnitude > most:
        raise UnsupportedError(
            f"its potential could exceed its threshold {threshold[0]:,} in {made.n_steps} steps,"
            " and would be reset",
            code="net-range",
            origin=readout.origin,
            hint="use fewer steps: -T",
        )
    return LeakyReadout(**place, **decays)


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
