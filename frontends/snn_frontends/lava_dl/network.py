"""From the layers of a ``.net`` file to a network in fixed point.

Every integer of the file is taken as it stands. Maps are (C, H, W) in the file, as they are here;
its kernels are correlated with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from snn_compile.errors import raise_all
from snn_compile.files.documents import check_size
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.models.population import FRACTION_BITS
from snn_compile.ir.quantized import (
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    QuantizedGraph,
    QuantizedNode,
    Readout,
    Synapses,
    ThresholdDeltaNeurons,
)
from snn_compile.ir.spiking import Window
from snn_compile.passes import Finding
from snn_compile.plugins import Arrival
from snn_frontends.lava_dl import rest
from snn_frontends.lava_dl.inputs import NUMBER_BYTES, has_encoder, input_node, is_delta
from snn_frontends.lava_dl.late import late_synapses
from snn_frontends.lava_dl.layers import AVERAGE, POOL, Layer
from snn_frontends.lava_dl.neurons import SPIKE_BITS, STATE_BITS, SigmaDelta
from snn_frontends.lava_dl.outputs import Build, average, count, one_to_one, readout_of
from snn_frontends.lava_dl.parameters import biases, misfit, thresholds
from snn_frontends.lava_dl.weights import mantissas


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
    made.nodes.append(input_node(layers, file, arrival))
    findings = list[Finding]()
    if has_encoder(layers, arrival):
        _encode(made, layers[0])
    body = [layer for layer in layers if layer.populates]
    for layer in body:
        if layer.delay is not None:
            text = f"delays of up to {layer.delay.max()} steps are neurons that send later"
            findings.append(Finding(text, layer.origin, "net-delay"))
        if layer.kind == AVERAGE:
            average(made, layer, is_last=layer is body[-1])
        else:
            _layer(made, layer, is_last=layer is body[-1])
    if not isinstance(made.last, Readout):
        count(made, made.last.origin)
    raise_all(made.errors)
    program = QuantizedGraph(Graph(made.nodes), Window("rate", n_steps))
    if is_delta(layers):
        lead = 0 if has_encoder(layers, arrival) else 1
        program = rest.started(program, lead)
    return program, made, findings


def _encode(made: Build, layer: Layer) -> None:
    """The neurons of an input layer, which get the values themselves."""
    exponent = SPIKE_BITS + STATE_BITS if isinstance(layer.neuron, SigmaDelta) else 0
    synapses = one_to_one(layer.name, made.last, exponent, layer.origin)
    made.nodes += [synapses, _population(made, layer, (synapses,), is_encoder=True)]


def _layer(made: Build, layer: Layer, *, is_last: bool) -> None:
    if layer.delay is None:
        groups = _synapses(layer, made.last)
        made.nodes += groups
    else:
        added, groups = late_synapses(layer, made.last)
        made.nodes += added
    if is_last and (readout := readout_of(made, layer, groups)):
        made.add_output(readout)
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
            raise misfit(layer, f"reads {weight.shape[1]} values of {prod(source.shape)}")
        shape, geometry = (len(weight), 1, 1), None
    else:
        weight, geometry = _on_maps(layer, weight, layer.geometry, source.shape)
        shape = (len(weight), *geometry.output_size(source.shape[1:], weight.shape[2:]))
        if min(shape) < 1:
            raise misfit(layer, f"makes maps of {shape} of {source.shape}")
    if layer.shape and prod(layer.shape) != prod(shape):
        raise misfit(layer, f"states the shape {layer.shape}, and has {shape}")
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
        raise misfit(layer, f"reads {per_group * geometry.groups} of {channels} maps")
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
    bias = biases(layer, shape)
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
        threshold=QTensor.of(thresholds(layer, neuron.threshold, shape)),
        bias=QTensor.of(bias << FRACTION_BITS),
        current_decay=neuron.current_decay,
        voltage_decay=neuron.voltage_decay,
    )
