"""From the layers of a ``.net`` file to a network in fixed point.

Every integer of the file is taken as it stands. Maps are (C, H, W) in the file, as they are here;
its kernels are correlated with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from snn_compile.convert.expand import maps_shape
from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError, raise_all
from snn_compile.files.documents import check_size
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.models.population import FRACTION_BITS
from snn_compile.ir.quantized import (
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    Input,
    QuantizedGraph,
    QuantizedNode,
    Readout,
    SparseSynapses,
    Synapses,
    ThresholdDeltaNeurons,
)
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.passes import Finding
from snn_compile.plugins import Arrival
from snn_compile.sim import bounds
from snn_frontends.lava_dl import rest
from snn_frontends.lava_dl.layers import AVERAGE, FLATTEN, INPUT, POOL, Layer
from snn_frontends.lava_dl.neurons import (
    NO_MEMORY,
    SPIKE_BITS,
    STATE_BITS,
    SigmaDelta,
)
from snn_frontends.lava_dl.weights import mantissas

NUMBER_BYTES = 8
INPUT_ID = NodeId("input")
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


def is_delta(layers: Sequence[Layer]) -> bool:
    """Whether a network sends changes.

    Raises:
        UnsupportedError: some of its layers do.
    """
    having = [layer for layer in layers if layer.neuron is not None]
    of_delta = [layer for layer in having if isinstance(layer.neuron, SigmaDelta)]
    if of_delta and len(of_delta) < len(having):
        other = next(layer for layer in having if layer not in of_delta)
        raise UnsupportedError(
            f"'{of_delta[0].name}' sends changes, and '{other.name}' spikes: a network here sends"
            " one of both",
            code="net-neuron",
            origin=other.origin,
            hint="train with neurons of one kind",
        )
    return bool(of_delta)


def input_shape(layers: Sequence[Layer], file: str) -> Shape:
    """The shape of one step of the input, (C, H, W) or (N,).

    Raises:
        ModelError: the file does not state it.
    """
    first = next((layer for layer in layers if layer.kind != FLATTEN), None)
    if first is not None and first.kind == INPUT:
        return first.shape
    if first is not None and first.kind == "dense" and first.weight is not None:
        return (first.weight.shape[1],)
    raise ModelError(
        "it has no input layer, which states the size of its maps",
        code="invalid-model",
        origin=Origin(file) if first is None else first.origin,
        hint="export it with its input layer",
    )


def arrivals(layers: Sequence[Layer]) -> tuple[Arrival, ...]:
    """How the input may arrive, each with the range of values that it has by default.

    Spikes enter the first layer with synapses. Values enter the neurons of the input layer, if it
    has any. lava-dl scales an image from 0 to 1 to ``2 * weight * x - weight + bias``.
    """
    first = layers[0]
    encoder = first.neuron if first.kind == INPUT else None
    low, high = min(first.offset - first.gain, 0), max(first.offset + first.gain, 1)
    spikes = Arrival(InputCoding.EVENTS, 0, 1)
    if isinstance(encoder, SigmaDelta):
        found = [Arrival(InputCoding.EVENTS, low, high), Arrival(InputCoding.CURRENT, low, high)]
    elif is_delta(layers):
        most = 1 << 15  # changes: the messages of a layer that the file leaves out
        found = [Arrival(InputCoding.EVENTS, -most, most - 1)]
    elif encoder is None:
        found = [spikes, Arrival(InputCoding.CURRENT, 0, 1)]
    elif encoder.current_kept == 0:
        found = [spikes, Arrival(InputCoding.CURRENT, low, high)]
    else:
        # Values are biases there, and a filtered current is no bias.
        found = [spikes]
    return tuple(found)


def build(
    layers: Sequence[Layer], file: str, n_steps: int, arrival: Arrival
) -> tuple[QuantizedGraph, Build, list[Finding]]:
    """The network of layers for an input.

    Raises:
        ModelError: layers do not fit each other.
        UnsupportedError: a layer has no form here.
        TooLargeError: it exceeds the memory budget.
    """
    made = Build(file, n_steps, arrival)
    made.nodes.append(_input(layers, file, arrival))
    findings = list[Finding]()
    if _has_encoder(layers, arrival):
        _encode(made, layers[0])
    body = [layer for layer in layers if layer.populates]
    for layer in body:
        if layer.delay:
            text = f"all of its input is {layer.delay} steps late: so is its answer, the same one"
            findings.append(Finding(text, layer.origin, "net-delay"))
        if layer.kind == AVERAGE:
            _average(made, layer, is_last=layer is body[-1])
        else:
            _layer(made, layer, is_last=layer is body[-1])
    if not isinstance(made.last, Readout):
        _count(made, made.last.origin)
    raise_all(made.errors)
    program = QuantizedGraph(Graph(made.nodes), Window("rate", n_steps))
    if is_delta(layers):
        lead = 0 if _has_encoder(layers, arrival) else 1
        program = rest.started(program, lead)
    return program, made, findings


def _has_encoder(layers: Sequence[Layer], arrival: Arrival) -> bool:
    """Whether the neurons of the input layer take part."""
    encoder = layers[0].neuron if layers[0].kind == INPUT else None
    values = isinstance(encoder, SigmaDelta) or arrival.coding is InputCoding.CURRENT
    return encoder is not None and values


def _input(layers: Sequence[Layer], file: str, arrival: Arrival) -> Input:
    shape = maps_shape(input_shape(layers, file))
    check_size("one step of the input", NUMBER_BYTES * prod(shape))
    return Input(
        id=INPUT_ID,
        inputs=(),
        shape=shape,
        origin=layers[0].origin if layers[0].kind == INPUT else Origin(file),
        format=QFormat.holding(arrival.low, arrival.high),
        low=arrival.low,
        high=arrival.high,
        coding=arrival.coding,
    )


def _encode(made: Build, layer: Layer) -> None:
    """The neurons of an input layer, which get the values themselves."""
    exponent = SPIKE_BITS + STATE_BITS if isinstance(layer.neuron, SigmaDelta) else 0
    synapses = _one_to_one(layer.name, made.last, exponent, layer.origin)
    made.nodes += [synapses, _population(made, layer, (synapses,), is_encoder=True)]


def _layer(made: Build, layer: Layer, *, is_last: bool) -> None:
    source = made.last
    groups = _synapses(layer, source)
    made.nodes += groups
    if is_last and (readout := _readout(made, layer, groups)):
        made.nodes.append(readout)
        _name_output(made, readout)
    else:
        made.nodes.append(_population(made, layer, groups))


def _synapses(layer: Layer, source: Any) -> tuple[Synapses, ...]:
    """The synapse groups of a layer; two where weights have more bits than a synapse.

    Raises:
        ModelError: they do not fit the source, or the stated shape.
    """
    weight = layer.weight
    if weight is None:
        raise TypeError(f"'{layer.name}' has no weights")
    if layer.geometry is None:
        if weight.shape[1] != prod(source.shape):
            raise _misfit(layer, f"reads {weight.shape[1]} values of {prod(source.shape)}")
        shape, geometry = (len(weight), 1, 1), None
    else:
        weight, geometry = _on_maps(layer, weight, layer.geometry, source.shape)
        shape = (len(weight), *geometry.output_size(source.shape[1:], weight.shape[2:]))
        if min(shape) < 1:
            raise _misfit(layer, f"makes maps of {shape} of {source.shape}")
    if layer.shape and prod(layer.shape) != prod(shape):
        raise _misfit(layer, f"states the shape {layer.shape}, and has {shape}")
    check_size(f"a step of '{layer.name}'", NUMBER_BYTES * prod(shape))
    groups: list[Synapses] = []
    for number, (part, exponent) in enumerate(mantissas(weight, layer.origin)):
        place: dict[str, Any] = {
            "id": NodeId(f"{layer.name}.synapses" + (f".{number}" if number else "")),
            "inputs": (source.id,),
            "shape": shape,
            "origin": layer.origin,
            "exponent": exponent,
            "weight": part,
        }
        if geometry is None:
            groups.append(DenseSynapses(**place))
        else:
            groups.append(ConvSynapses(**place, geometry=geometry))
    return tuple(groups)


def _on_maps(layer: Layer, weight: Int, geometry: Geometry, source: Shape) -> tuple[Int, Geometry]:
    """Kernels (O, I / groups, kh, kw) and geometry of a convolution or a pool over a source."""
    channels = source[0]
    if layer.kind == POOL:
        # lava-dl's pools pad maps at their ends, with as many lines as are left over.
        top, left, _, _ = geometry.padding
        (height, width), (rows, columns) = source[1:], weight.shape
        padding = (top, left, top + height % rows, left + width % columns)
        kernels = np.broadcast_to(weight, (channels, 1, *weight.shape))
        return kernels, Geometry(geometry.stride, padding, geometry.dilation, channels)
    n_out, per_group = weight.shape[:2]
    if per_group * geometry.groups != channels or n_out % geometry.groups:
        raise _misfit(layer, f"reads {per_group * geometry.groups} of {channels} maps")
    return weight, geometry


def _population(
    made: Build, layer: Layer, groups: Sequence[Synapses], *, is_encoder: bool = False
) -> QuantizedNode:
    shape, neuron = groups[0].shape, layer.neuron
    place: dict[str, Any] = {
        "id": NodeId(layer.name),
        "inputs": tuple(group.id for group in groups),
        "shape": shape,
        "origin": layer.origin,
    }
    bias = _bias(layer, shape)
    if isinstance(neuron, SigmaDelta):
        bits = SPIKE_BITS + STATE_BITS
        return ThresholdDeltaNeurons(
            **place,
            bias=QTensor.of(bias << bits),
            threshold=QTensor.of(np.full(shape[0], neuron.threshold << bits)),
            sent=QTensor.of(np.zeros((shape[0], 1, 1), np.int64)),
            shift=STATE_BITS,
            of_frames=is_encoder,
        )
    if neuron is None:
        raise TypeError(f"'{layer.name}' has no neurons")
    made.errors += neuron.unusual(layer.origin)
    return CubaLIFNeurons(
        **place,
        threshold=QTensor.of(_thresholds(layer, neuron.threshold, shape)),
        bias=QTensor.of(bias << FRACTION_BITS),
        current_decay=min(max(NO_MEMORY - neuron.current_kept - 1, 0), NO_MEMORY - 1),
        voltage_decay=min(NO_MEMORY - neuron.voltage_kept, NO_MEMORY - 1),
    )


def _bias(layer: Layer, shape: Shape) -> Int:
    """One bias for each channel, or for each neuron: (C, 1, 1) or (C, H, W)."""
    if layer.bias is None:
        return np.zeros((shape[0], 1, 1), np.int64)
    return _spread(layer, "biases", layer.bias, shape)


def _thresholds(layer: Layer, values: Int, shape: Shape) -> Int:
    """One threshold for each channel, (C,).

    Raises:
        UnsupportedError: they differ inside a channel.
    """
    spread = _spread(layer, "thresholds", values, shape).reshape(shape[0], -1)
    if (spread != spread[:, :1]).any():
        raise UnsupportedError(
            "thresholds that differ inside a channel",
            code="net-field",
            origin=layer.origin,
            hint="use one value for all neurons of a channel",
        )
    return spread[:, 0]


def _spread(layer: Layer, name: str, values: Int, shape: Shape) -> Int:
    """Values for one, for each channel or for each neuron as (C, 1, 1) or (C, H, W).

    Those of each neuron may be in lava-dl's order: columns, rows, channels.

    Raises:
        ModelError: they are for another number of neurons.
    """
    if values.size == shape[0]:
        return values.reshape(-1, 1, 1)
    if values.size == 1:
        return np.full((shape[0], 1, 1), int(values.ravel()[0]))
    if values.size == prod(shape) and values.ndim == len(shape):
        return values.T if values.shape == shape[::-1] else values.reshape(shape)
    raise _misfit(layer, f"has {values.size} {name} for the shape {shape}")


def _readout(made: Build, layer: Layer, groups: Sequence[Synapses]) -> Readout | None:
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
        bias=QTensor.of(_bias(layer, shape)),
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


def _average(made: Build, layer: Layer, *, is_last: bool) -> None:
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
        raise _misfit(layer, f"averages {size} neurons to {n_out} outputs")
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


def _count(made: Build, origin: Origin) -> None:
    """An output that adds up what the last layer sends."""
    source = made.last
    name = f"{source.id}.sum"
    synapses = _one_to_one(name, source, 0, origin)
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
    made.nodes += [synapses, readout]
    _name_output(made, readout)


def _name_output(made: Build, readout: Readout) -> None:
    flat = prod(readout.shape[1:]) == 1
    made.output_shapes[readout.id] = (readout.shape[0],) if flat else readout.shape
    made.units[readout.id] = np.ones(readout.shape[0])


def _one_to_one(name: str, source: Any, exponent: int, origin: Origin) -> ConvSynapses:
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


def _misfit(layer: Layer, what: str) -> ModelError:
    return ModelError(
        f"it {what}",
        code="invalid-model",
        origin=layer.origin,
        hint="the layers of the file contradict each other: export it again",
    )
