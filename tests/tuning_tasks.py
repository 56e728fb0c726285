"""Small tasks for training, and networks in fixed point to train on them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    CubaLIFNeurons,
    DenseSynapses,
    IFNeurons,
    Input,
    QuantizedGraph,
    Readout,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window

ORIGIN = Origin("task")
THRESHOLD = 512


def spike_patterns(n, n_inputs=40, n_classes=4, n_steps=8, seed=0, flips=0.12):
    """Noisy copies of one random spike pattern a class: (N, T, inputs) of 0 and 1, and labels."""
    random = np.random.default_rng(seed)
    patterns = random.random((n_classes, n_steps, n_inputs)) < 0.25
    labels = random.integers(0, n_classes, n)
    flipped = random.random((n, n_steps, n_inputs)) < flips
    return (patterns[labels] ^ flipped).astype(np.int64), labels


def spiking_mlp(sizes=(40, 32, 32, 4), kind="lif", n_steps=8, seed=0, gain=1.0, bits=8):
    """Dense layers of leaky (a half each step) or plain neurons, with random weights."""
    random = np.random.default_rng(seed)
    nodes = [
        Input(
            id=NodeId("input"),
            inputs=(),
            shape=(sizes[0],),
            origin=ORIGIN,
            format=QFormat(1, signed=False),
            low=0,
            high=1,
            coding=InputCoding.EVENTS,
        )
    ]
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        top = (1 << (bits - 1)) - 1
        spread = min(gain * THRESHOLD / 8 / np.sqrt(n_in / 8), top / 3)
        weight = np.clip(np.rint(random.normal(0, spread, (n_out, n_in))), -top, top)
        synapses = DenseSynapses(
            id=NodeId(f"synapses{index}"),
            inputs=(nodes[-1].id,),
            shape=(n_out,),
            origin=ORIGIN,
            weight=QTensor(weight.astype(np.int64), QFormat(bits)),
            exponent=3,
        )
        place = {
            "id": NodeId(f"layer{index}"),
            "inputs": (synapses.id,),
            "shape": (n_out,),
            "origin": ORIGIN,
        }
        nodes += [synapses, _population(place, kind, last=index == len(sizes) - 2)]
    return QuantizedGraph(Graph(nodes), Window("rate", n_steps))


def _population(place, kind, *, last):
    n = place["shape"][0]
    bias = QTensor.of(np.zeros(n, np.int64))
    if last:
        return Readout(**place, bias=bias)
    threshold = QTensor.of(np.full(n, THRESHOLD))
    if kind == "lif":
        return CubaLIFNeurons(
            **place,
            threshold=threshold,
            bias=QTensor.of(np.zeros(n, np.int64)),
            current_decay=4095,
            voltage_decay=2048,
        )
    reset = Reset.SUBTRACT if kind == "subtract" else Reset.ZERO
    half = THRESHOLD // 2 if reset is Reset.SUBTRACT else 0
    return IFNeurons(
        **place,
        threshold=threshold,
        bias=bias,
        initial_potential=QTensor.of(np.full(n, half)),
        reset=reset,
    )
