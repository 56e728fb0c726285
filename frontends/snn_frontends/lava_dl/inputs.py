"""The input of a ``.net`` network: its shape, and how it may arrive."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from snn_compile.errors import ModelError, Origin, UnsupportedError
from snn_compile.files.documents import check_size
from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.graph import NodeId, Shape, maps_shape
from snn_compile.ir.quantized import Input
from snn_compile.ir.spiking import InputCoding
from snn_compile.plugins import Arrival
from snn_frontends.lava_dl.layers import FLATTEN, INPUT, Layer
from snn_frontends.lava_dl.neurons import SigmaDelta

NUMBER_BYTES = 8
INPUT_ID = NodeId("input")


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


def has_encoder(layers: Sequence[Layer], arrival: Arrival) -> bool:
    """Whether the neurons of the input layer take part."""
    encoder = layers[0].neuron if layers[0].kind == INPUT else None
    values = isinstance(encoder, SigmaDelta) or arrival.coding is InputCoding.CURRENT
    return encoder is not None and values


def input_node(layers: Sequence[Layer], file: str, arrival: Arrival) -> Input:
    """The input.

    Raises:
        TooLargeError: it exceeds the memory budget.
    """
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
