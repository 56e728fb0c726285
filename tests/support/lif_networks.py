"""Random networks of Loihi's own neurons, small enough for emulators, of values of every size."""

from __future__ import annotations

import numpy as np

from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    IFNeurons,
    Input,
    ProbedReadout,
    QuantizedGraph,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window


def _place(name, *inputs, shape):
    names = tuple(NodeId(source) for source in inputs)
    return {"id": NodeId(name), "inputs": names, "shape": shape, "origin": Origin("t", name)}


def chain(seed, size, *, high=1, exponent=None, n_steps=9, n_stimuli=5):
    """A convolution and two dense layers with a join; ``size`` adds bits to weights' exponents.

    Returns:
        The network, and (N, *input shape) frames.
    """
    random = np.random.default_rng(seed)
    shape = (2, 5, 4)

    def weight(*size_of):
        return QTensor(random.integers(-127, 128, size_of), QFormat(8))

    def shift():
        return int(random.integers(0, size + 1)) if exponent is None else exponent

    def neurons(name, *inputs, shape):
        threshold = random.integers(40, 400 << size, shape[0])
        leaks = random.random() < 0.5
        return CubaLIFNeurons(
            **_place(name, *inputs, shape=shape),
            threshold=QTensor.of(np.minimum(threshold, (1 << 17) - 1)),
            bias=QTensor.of(random.integers(-1000 << size, 1000 << size, (shape[0], 1, 1))),
            current_decay=int(random.integers(0, 4096)) if leaks else 4095,
            voltage_decay=int(random.integers(0, 4096)) if leaks else 0,
        )

    def dense(name, source, n_in, n_out, exponent):
        place = _place(name, source, shape=(n_out, 1, 1))
        return DenseSynapses(**place, weight=weight(n_out, n_in), exponent=exponent)

    nodes = [
        Input(
            **_place("in", shape=shape),
            format=QFormat.holding(0, high),
            low=0,
            high=high,
            coding=InputCoding.POISSON if high == 1 else InputCoding.CURRENT,
        ),
        ConvSynapses(
            **_place("c", "in", shape=(3, 5, 4)),
            weight=weight(3, 2, 3, 3),
            exponent=shift(),
            geometry=Geometry(padding=(1, 1, 1, 1)),
        ),
        neurons("one", "c", shape=(3, 5, 4)),
        DenseSynapses(
            **_place("d", "one", shape=(4, 1, 1)), weight=weight(4, 60), exponent=shift()
        ),
        DenseSynapses(**_place("j", "in", shape=(4, 1, 1)), weight=weight(4, 40), exponent=shift()),
        neurons("two", "d", "j", shape=(4, 1, 1)),
        DenseSynapses(**_place("e", "two", shape=(3, 1, 1)), weight=weight(3, 4), exponent=0),
        ProbedReadout(
            **_place("out", "e", shape=(3, 1, 1)),
            bias=QTensor.of(random.integers(-50, 50, (3, 1, 1))),
        ),
    ]
    frames = random.integers(0, high + 1, (n_stimuli, *shape))
    return QuantizedGraph(Graph(nodes), Window("rate", n_steps)), frames


def subtracting():
    """The same network, its first neurons reset by subtraction."""
    program, frames = chain(0, 0)
    old = program.graph[NodeId("one")]
    new = IFNeurons(
        **old.common_fields,
        threshold=QTensor.of(old.threshold.values + 1),
        bias=QTensor.of(old.bias.values >> 6),
        initial_potential=QTensor.of(np.zeros(old.shape[0], np.int64)),
        reset=Reset.SUBTRACT,
    )
    return QuantizedGraph(program.graph.edit(replaced=[new]), program.window), frames
