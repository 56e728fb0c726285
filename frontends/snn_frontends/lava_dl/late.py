"""Delays of a dense layer: a population that sends later for each number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from snn_compile.errors import UnsupportedError
from snn_compile.files.documents import check_size
from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import (
    DelayNeurons,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_frontends.lava_dl.layers import Layer
from snn_frontends.lava_dl.neurons import SigmaDelta
from snn_frontends.lava_dl.outputs import one_to_one
from snn_frontends.lava_dl.parameters import misfit
from snn_frontends.lava_dl.weights import mantissas

ENTRY_BYTES = 16
"""Of a weight and its source, in a compressed row."""


def late_synapses(layer: Layer, source: Any) -> tuple[list[QuantizedNode], tuple[Synapses, ...]]:
    """The nodes of a layer's late input, and those among them that feed its neurons.

    Raises:
        ModelError: there are delays for another number of neurons.
        UnsupportedError: it is a layer of a network that sends changes.
    """
    if isinstance(layer.neuron, SigmaDelta):
        raise UnsupportedError(
            "delays in a network that sends changes: its rest before the first frame is not known",
            code="net-delay",
            origin=layer.origin,
            hint="train without delays",
        )
    weight = layer.weight
    if weight is None or weight.shape[1] != prod(source.shape):
        raise misfit(layer, "has weights that do not fit its source")
    delays = _of_each(layer, weight)
    steps = np.unique(delays[weight != 0]).tolist()
    check_size(f"the delays of '{layer.name}'", len(steps) * prod(source.shape) * ENTRY_BYTES)
    nodes, groups = list[QuantizedNode](), list[Synapses]()
    for k in steps:
        nodes += _sending_later(layer, source, k)
        rows = _rows(layer, nodes[-1].id, np.where(delays == k, weight, 0))
        nodes += rows
        groups += rows
    return nodes, tuple(groups)


def _of_each(layer: Layer, weight: Int) -> Int:
    """The delay of each synapse, (O, I); where both fit, one for each output as in lava-dl."""
    given = np.asarray(layer.delay)
    if given.shape == weight.shape:
        return given
    flat = given.ravel()
    if flat.size in (1, weight.shape[0]):
        return np.broadcast_to(flat[:, None], weight.shape)
    if flat.size == weight.shape[1]:
        return np.broadcast_to(flat, weight.shape)
    raise misfit(layer, f"has {flat.size} delays for weights {weight.shape}")


def _sending_later(layer: Layer, source: Any, steps: int) -> list[QuantizedNode]:
    """Neurons that pass the source's messages on, and their synapses."""
    name, channels = f"{layer.name}.late{steps}", source.shape[0]
    low, high = source.messages
    place: dict[str, Any] = {"shape": source.shape, "origin": layer.origin}
    synapses = one_to_one(name, source, 0, layer.origin)
    neurons = DelayNeurons(
        **place,
        id=NodeId(name),
        inputs=(synapses.id,),
        bias=QTensor.of(np.zeros(channels, np.int64)),
        delay=steps,
        low=low,
        high=high,
    )
    return [synapses, neurons]


def _rows(layer: Layer, source: NodeId, weight: Int) -> Sequence[SparseSynapses]:
    """The synapses that read one population."""
    kept = weight != 0
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return [
        SparseSynapses(
            id=NodeId(f"{source}.read" + (f".{number}" if number else "")),
            inputs=(source,),
            shape=(len(weight), 1, 1),
            origin=layer.origin,
            weight=part,
            exponent=exponent,
            indptr=indptr,
            indices=np.nonzero(kept)[1],
        )
        for number, (part, exponent) in enumerate(mantissas(weight[kept], layer.origin))
    ]
