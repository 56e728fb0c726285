"""Networks of a few layers and random ones, and targets, for the tests of mapping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    GradedNeurons,
    IFNeurons,
    Input,
    QuantizedGraph,
    Readout,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.targets import load_target

LOIHI1, LOIHI2, UNLIMITED = (load_target(n) for n in ("loihi1", "loihi2", "unlimited"))


def with_values(target, **values):
    """A target with other figures."""
    return replace(target, **{k: replace(getattr(target, k), value=v) for k, v in values.items()})


def origin(name):
    return Origin("net.onnx", name, "Op")


def source(shape, *, low=0, high=1, coding=InputCoding.GRADED):
    return Input(
        id=NodeId("x"),
        inputs=(),
        shape=shape,
        origin=origin("x"),
        format=QFormat(9),
        low=low,
        high=high,
        coding=coding,
    )


def conv(name, read, weight, geometry, bits=8):
    shape = (len(weight), *geometry.output_size(read.shape[1:], weight.shape[2:]))
    return ConvSynapses(
        id=NodeId(name),
        inputs=(read.id,),
        shape=shape,
        origin=origin(name),
        weight=QTensor(np.asarray(weight), QFormat(bits)),
        exponent=0,
        geometry=geometry,
    )


def dense(name, read, weight, bits=8):
    return DenseSynapses(
        id=NodeId(name),
        inputs=(read.id,),
        shape=(len(weight),),
        origin=origin(name),
        weight=QTensor(np.asarray(weight), QFormat(bits)),
        exponent=0,
    )


def spiking(name, feeding, reset=Reset.ZERO):
    one = QTensor.of(np.ones(feeding.shape[0], dtype=np.int64))
    return IFNeurons(
        id=NodeId(name),
        inputs=(feeding.id,),
        shape=feeding.shape,
        origin=origin(name),
        threshold=one,
        bias=one,
        initial_potential=one,
        reset=reset,
    )


def graded(name, feeding, bits=8):
    ones = np.ones(feeding.shape[0], dtype=np.int64)
    return GradedNeurons(
        id=NodeId(name),
        inputs=(feeding.id,),
        shape=feeding.shape,
        origin=origin(name),
        multiplier=QTensor.of(2048 * ones),
        bias=QTensor.of(0 * ones),
        shift=QTensor.of(12 * ones),
        payload=QFormat(bits, signed=False),
    )


def readout(name, feeding, **kwargs):
    bias = QTensor.of(np.zeros(feeding.shape[0], dtype=np.int64))
    return Readout(
        id=NodeId(name),
        inputs=(feeding.id,),
        shape=feeding.shape,
        origin=origin(name),
        bias=bias,
        **kwargs,
    )


def network(*nodes, coding="rate", n_steps=4):
    return QuantizedGraph(Graph(nodes), Window(coding, n_steps))


def one_layer(n_out, n_in, *, bits=8, weight=None):
    """An input and a readout with a dense connection: the smallest network."""
    x = source((n_in,))
    weight = np.ones((n_out, n_in), dtype=np.int64) if weight is None else weight
    fc = dense("fc", x, weight, bits)
    return network(x, fc, readout("out", fc))


def maps(n_channels=2, size=8, reset=Reset.ZERO):
    """Input, convolution of 3 x 3, spiking map, dense readout of 2."""
    x = source((1, size, size))
    weight = np.ones((n_channels, 1, 3, 3), dtype=np.int64)
    c = conv("c", x, weight, Geometry((1, 1), (1, 1, 1, 1)))
    a = spiking("a", c, reset)
    fc = dense("fc", a, np.ones((2, n_channels * size**2), dtype=np.int64))
    return network(x, c, a, fc, readout("out", fc))


def random_conv(name, source, shape, n_out, rng, stride=1, groups=1):
    geometry = Geometry((stride, stride), (1, 1, 1, 1), (1, 1), groups)
    weight = rng.integers(-1, 3, (n_out, shape[0] // groups, 3, 3))
    return ConvSynapses(
        id=NodeId(name),
        inputs=(NodeId(source),),
        shape=(n_out, *geometry.output_size(shape[1:], (3, 3))),
        origin=origin(name),
        weight=QTensor(weight, QFormat(4)),
        exponent=0,
        geometry=geometry,
    )


def driven(name, feeding, reset):
    shape = feeding[0].shape
    one = QTensor.of(np.ones(shape[0], dtype=np.int64))
    return IFNeurons(
        id=NodeId(name),
        inputs=tuple(s.id for s in feeding),
        shape=shape,
        origin=origin(name),
        threshold=one,
        bias=one,
        initial_potential=one,
        reset=reset,
    )


@st.composite
def networks(draw):
    """Two convolutions, a residual join through a relay, and a dense readout."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, channels = draw(st.integers(4, 7)), draw(st.sampled_from([2, 4]))
    reset = draw(st.sampled_from(list(Reset)))
    x = Input(
        id=NodeId("x"),
        inputs=(),
        shape=(2, size, size),
        origin=origin("x"),
        format=QFormat(9),
        low=-255,
        high=255,
        coding=InputCoding.CURRENT,
    )
    first = random_conv("c1", "x", x.shape, channels, rng)
    a = driven("a", [first], reset)
    left = random_conv(
        "c2", "a", a.shape, channels, rng, stride=2, groups=draw(st.sampled_from([1, 2]))
    )
    right = random_conv("c3", "a", a.shape, channels, rng, stride=2)
    b = driven("b", [left, right], reset)
    weight = rng.integers(-1, 2, (3, int(np.prod(b.shape))))
    last = DenseSynapses(
        id=NodeId("fc"),
        inputs=(NodeId("b"),),
        shape=(3,),
        origin=origin("fc"),
        weight=QTensor(weight, QFormat(4)),
        exponent=0,
    )
    out = Readout(
        id=NodeId("out"),
        inputs=(NodeId("fc"),),
        shape=(3,),
        origin=origin("out"),
        bias=QTensor.of(np.zeros(3, dtype=np.int64)),
    )
    return QuantizedGraph(Graph([x, first, a, left, right, b, last, out]), Window("rate", 4))


@st.composite
def targets(draw):
    def limit(figure, low, high):
        return replace(figure, value=draw(st.none() | st.integers(low, high)))

    return replace(
        UNLIMITED,
        neurons_per_core=limit(UNLIMITED.neurons_per_core, 8, 80),
        synapse_memory_per_core=limit(UNLIMITED.synapse_memory_per_core, 1500, 20000),
        input_axons_per_core=limit(UNLIMITED.input_axons_per_core, 40, 200),
        output_axons_per_core=limit(UNLIMITED.output_axons_per_core, 20, 200),
        shared_kernels=replace(UNLIMITED.shared_kernels, value=draw(st.booleans())),
        index_bits=replace(UNLIMITED.index_bits, value=draw(st.sampled_from([0, 10]))),
        neurons_per_soft_reset_neuron=replace(
            UNLIMITED.neurons_per_soft_reset_neuron, value=draw(st.sampled_from([1, 2]))
        ),
        word_bits=replace(UNLIMITED.word_bits, value=draw(st.sampled_from([None, 16, 64]))),
        stride_bits=replace(UNLIMITED.stride_bits, value=draw(st.sampled_from([0, 1]))),
    )
