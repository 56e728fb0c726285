"""Random quantized networks for tests: built by hand, all shapes and codings, states that fit.

``Builder`` adds layers to a network; ``mlp``, ``structures`` and ``branches`` make whole ones from
a seed. Magnitudes are chosen so that no potential can leave 24 bits: thresholds lie in the range of
the input that the weights and messages allow, so that neurons neither sleep nor fire all the time.
"""

from __future__ import annotations

from math import prod

import numpy as np

from snn_compile.errors import Origin
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.quantized import (
    ConvSynapses,
    CubaLIFNeurons,
    DenseSynapses,
    GradedNeurons,
    IFNeurons,
    Input,
    QuantizedGraph,
    QuantizedNode,
    Readout,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.sim import bounds

NEURONS = ("graded", "subtract", "zero", "stock", "leaky")
"""Kinds of population; ``stock`` is reset to zero in the form that Lava's own LIF has."""


class Builder:
    """Adds layers with random parameters to a growing network.

    Args:
        seed: of everything random.
        shape: of the input.
        n_steps: length of a window.
        coding: of the input.
        low: smallest encoded value, high: largest.
    """

    def __init__(
        self,
        seed: int,
        shape: Shape,
        *,
        n_steps: int = 1,
        coding: InputCoding = InputCoding.GRADED,
        low: int = 0,
        high: int = 255,
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.window = Window("graded" if n_steps == 1 else "rate", n_steps)
        node = Input(
            id=NodeId("input"),
            inputs=(),
            shape=shape,
            origin=Origin("random"),
            format=QFormat.holding(low, high),
            low=low,
            high=high,
            coding=coding,
            seed=seed,
        )
        self.nodes: list[QuantizedNode] = [node]
        self._count = 0

    def __getitem__(self, node_id: NodeId) -> QuantizedNode:
        return next(node for node in self.nodes if node.id == node_id)

    def build(self) -> QuantizedGraph:
        """The network so far."""
        return QuantizedGraph(Graph[QuantizedNode](self.nodes), self.window)

    def frames(self, n: int, density: float = 0.5) -> np.ndarray:
        """Random encoded stimuli."""
        node = self.nodes[0]
        values = self.random.integers(node.low, node.high + 1, (n, *node.shape))
        return values * (self.random.random(values.shape) < density)

    def weights(self, shape: Shape, bits: int) -> QTensor:
        """Random signed weights of all magnitudes, somewhat more positive than negative."""
        top = 1 << (bits - 1)
        values = self.random.integers(-top, top, shape)
        flip = (values < 0) & (values > -top) & (self.random.random(shape) < 0.3)
        return QTensor(np.where(flip, -values, values), QFormat(bits))

    def conv(
        self,
        source: NodeId,
        channels: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        bits: int = 8,
        exponent: int = 0,
        geometry: Geometry | None = None,
    ) -> NodeId:
        """Convolutional synapses."""
        geometry = geometry or Geometry()
        n_in, height, width = self[source].shape
        size = geometry.output_size((height, width), kernel)
        return self._add_synapses(
            ConvSynapses,
            source,
            (channels, *size),
            weight=self.weights((channels, n_in // geometry.groups, *kernel), bits),
            exponent=exponent,
            geometry=geometry,
        )

    def dense(
        self, source: NodeId, shape: Shape | int, *, bits: int = 8, exponent: int = 0
    ) -> NodeId:
        """All-to-all synapses."""
        shape = (shape,) if isinstance(shape, int) else shape
        weight = self.weights((prod(shape), prod(self[source].shape)), bits)
        return self._add_synapses(DenseSynapses, source, shape, weight=weight, exponent=exponent)

    def sparse(
        self,
        source: NodeId,
        shape: Shape,
        *,
        density: float = 0.3,
        bits: int = 8,
        exponent: int = 0,
    ) -> NodeId:
        """Random wiring; some targets have no synapse at all."""
        wired = self.random.random((prod(shape), prod(self[source].shape))) < density
        indptr = np.concatenate([[0], np.cumsum(wired.sum(axis=1))]).astype(np.int64)
        indices = np.nonzero(wired)[1].astype(np.int64)
        return self._add_synapses(
            SparseSynapses,
            source,
            shape,
            indptr=indptr,
            indices=indices,
            weight=self.weights((len(indices),), bits),
            exponent=exponent,
        )

    def identity(self, source: NodeId) -> NodeId:
        """One synapse of weight 1 from each neuron to its counterpart."""
        shape = self[source].shape
        n = prod(shape)
        return self._add_synapses(
            SparseSynapses,
            source,
            shape,
            indptr=np.arange(n + 1),
            indices=np.arange(n),
            weight=QTensor(np.ones(n, np.int64), QFormat(2)),
            exponent=0,
        )

    def _add_synapses(
        self, kind: type[Synapses], source: NodeId, shape: Shape, **fields: object
    ) -> NodeId:
        self._count += 1
        node_id = NodeId(f"{source}.synapses{self._count}")
        self.nodes.append(
            kind(id=node_id, inputs=(source,), shape=shape, origin=Origin("random"), **fields)
        )
        return node_id

    def relay(self, source: NodeId) -> NodeId:
        """A population that carries another's messages one depth further."""
        shape = self[source].shape
        synapses = self.identity(source)
        one = QTensor.of(np.ones(shape[0], np.int64))
        zero = QTensor.of(np.zeros(shape[0], np.int64))
        if isinstance(self[source], GradedNeurons | Input):
            fields = {
                "multiplier": QTensor(one.values << 11, QFormat(12, signed=False)),
                "shift": QTensor.of(one.values * 11),
                "payload": getattr(self[source], "payload", QFormat(8, signed=False)),
            }
            return self._add_population(GradedNeurons, (synapses,), bias=zero, relay=True, **fields)
        return self._add_population(
            IFNeurons,
            (synapses,),
            threshold=one,
            bias=zero,
            initial_potential=zero,
            reset=Reset.SUBTRACT,
            relay=True,
        )

    def neurons(
        self, kind: str, *synapses: NodeId, per_element_bias: bool = False, payload_bits: int = 8
    ) -> NodeId:
        """A population of one of ``NEURONS`` or a ``readout``; parameters suit its input."""
        shape = self[synapses[0]].shape
        scale = self._scale(synapses)
        spread = max(1, scale // 8)
        bias_shape = shape if per_element_bias else (shape[0],)
        bias = QTensor.of(self.random.integers(-spread, spread + 1, bias_shape))
        threshold = self.random.integers(max(1, scale // 2), 2 * scale + 1, shape[0])
        if kind == "readout":
            return self._add_population(Readout, synapses, bias=bias)
        if kind == "graded":
            shift = np.full(shape[0], 11 + max(0, (2 * scale).bit_length() - payload_bits))
            return self._add_population(
                GradedNeurons,
                synapses,
                bias=bias,
                multiplier=QTensor(
                    self.random.integers(1 << 11, 1 << 12, shape[0]), QFormat(12, signed=False)
                ),
                shift=QTensor.of(shift),
                payload=QFormat(payload_bits, signed=False),
            )
        if kind == "leaky":
            return self._add_population(
                CubaLIFNeurons,
                synapses,
                threshold=QTensor.of(np.minimum(threshold, (1 << 17) - 1)),
                bias=QTensor.of(np.clip(bias.values, -512, 511) << 6),
                current_decay=int(self.random.integers(0, 4096)),
                voltage_decay=int(self.random.integers(0, 4096)),
            )
        stock = kind == "stock"
        initial = np.zeros(shape[0], np.int64) if stock else threshold // 2
        if kind == "subtract" and prod(shape[1:]) > 1:  # each neuron its own, below 0 and above
            ninths = np.arange(prod(shape)).reshape(shape) * 5 % 19 - 6
            initial = threshold[:, None, None] * ninths // 9
        return self._add_population(
            IFNeurons,
            synapses,
            threshold=QTensor.of(threshold),
            bias=bias,
            initial_potential=QTensor.of(initial),
            reset=Reset.SUBTRACT if kind == "subtract" else Reset.ZERO,
        )

    def _scale(self, synapses: tuple[NodeId, ...]) -> int:
        """A typical magnitude of the input: a tenth of the largest possible one."""
        messages = [self[self[s].inputs[0]].messages for s in synapses]
        largest = 0
        for s, m in zip(synapses, messages, strict=True):
            sums = bounds.synapse_sums(self[s], m)[0].magnitude
            e = self[s].exponent
            largest += sums << e if e >= 0 else sums >> -e
        return max(1, largest // 10)

    def _add_population(
        self, kind: type[QuantizedNode], synapses: tuple[NodeId, ...], **fields: object
    ) -> NodeId:
        self._count += 1
        node_id = NodeId(f"layer{self._count}")
        shape = self[synapses[0]].shape
        self.nodes.append(
            kind(id=node_id, inputs=synapses, shape=shape, origin=Origin("random"), **fields)
        )
        return node_id


INPUT = NodeId("input")


def mlp(seed: int = 0, kind: str = "graded", n_steps: int = 1) -> tuple[QuantizedGraph, np.ndarray]:
    """Two dense layers and a readout; the network and eight stimuli."""
    coding = InputCoding.GRADED if n_steps == 1 else InputCoding.CURRENT
    high = 15 if kind in ("stock", "leaky") else 255
    net = Builder(seed, (12,), n_steps=n_steps, coding=coding, high=high)
    hidden = net.neurons(kind, net.dense(INPUT, 9))
    hidden = net.neurons(kind, net.dense(hidden, 7, bits=6))
    net.neurons("readout", net.dense(hidden, 5))
    return net.build(), net.frames(8)


def structures(
    seed: int, kind: str, n_steps: int, *, poisson: bool = False
) -> tuple[QuantizedGraph, np.ndarray]:
    """Every structure that needs a rule, in one network of small maps that are not square.

    Strided, grouped, depthwise, dilated and asymmetrically padded convolutions, a residual join
    with a relay, an input that feeds three depths, sparse wiring, exponents of both signs, two
    readouts.
    """
    graded = n_steps == 1
    coding = InputCoding.POISSON if poisson else InputCoding.CURRENT
    net = Builder(
        seed,
        (2, 7, 9),
        n_steps=n_steps,
        coding=InputCoding.GRADED if graded else coding,
        low=-15 if poisson or kind in ("stock", "leaky") else -60,
        high=15 if kind in ("stock", "leaky") else 195,
    )
    bits = [int(b) for b in net.random.integers(2, 9, 12)]
    exponents = [int(e) for e in net.random.integers(-2, 2, 12)]
    same = Geometry(padding=(1, 1, 1, 1))
    first = net.neurons(kind, net.conv(INPUT, 4, bits=8, geometry=same), per_element_bias=True)
    depthwise = net.neurons(
        kind,
        net.conv(
            first, 4, bits=bits[0], exponent=exponents[0], geometry=Geometry(groups=4)
        ),  # no padding
    )
    grouped = net.neurons(
        kind,
        net.conv(
            depthwise,
            6,
            (3, 2),
            bits=bits[1],
            geometry=Geometry(stride=(2, 1), padding=(1, 0, 1, 0), groups=2),
        ),
    )
    relay = net.relay(grouped)
    second = net.neurons(
        kind,
        net.conv(grouped, 6, bits=bits[2], exponent=exponents[2], geometry=same),
    )
    joined = net.neurons(
        kind,
        net.conv(second, 6, (1, 1), bits=bits[3]),
        net.identity(relay) if graded else net.conv(relay, 6, (1, 1), bits=3),
        net.conv(INPUT, 6, (3, 4), bits=4, geometry=Geometry(stride=(2, 1))),  # four rows later
    )
    dilated = net.neurons(
        kind,
        net.conv(
            joined,
            5,
            (2, 2),
            bits=bits[4],
            exponent=1,
            geometry=Geometry(dilation=(2, 3), padding=(1, 1, 1, 1)),
        ),
    )
    uneven = net.neurons(
        kind, net.conv(joined, 4, (2, 2), bits=bits[5], geometry=Geometry(padding=(0, 0, 1, 1)))
    )
    sparse = net.neurons(
        kind,
        net.sparse(dilated, (3, 2, 4), bits=bits[6], exponent=exponents[6]),
        net.sparse(uneven, (3, 2, 4), bits=bits[7]),
        net.dense(INPUT, (3, 2, 4), bits=5),
    )
    net.neurons("readout", net.dense(sparse, 5, bits=bits[8]), per_element_bias=True)
    net.neurons("readout", net.conv(uneven, 2, bits=bits[9], exponent=-1))
    return net.build(), net.frames(6)


def branches(
    seed: int, n_steps: int, n_branches: int = 4, *, poisson: bool = False
) -> tuple[QuantizedGraph, np.ndarray]:
    """Random chains of random layers side by side, all fed by one input; and four stimuli.

    Every chain has a kind of neuron of its own and one to three layers of random synapses,
    geometry, weight bits and exponents, then a readout. One network of many chains is much cheaper
    to start in Lava than many networks.
    """
    random = np.random.default_rng(seed)
    shape = tuple(int(n) for n in (random.integers(1, 4), *random.integers(3, 9, 2)))
    coding = InputCoding.POISSON if poisson else InputCoding.CURRENT
    net = Builder(
        seed,
        shape,
        n_steps=n_steps,
        coding=coding if n_steps > 1 else InputCoding.GRADED,
        low=-int(random.integers(0, 16)),
        high=int(random.integers(1, 16)),
    )
    for _ in range(n_branches):
        kind = str(random.choice(NEURONS))
        source = INPUT
        for _ in range(int(random.integers(1, 4))):
            source = net.neurons(
                kind,
                _random_synapses(net, source),
                per_element_bias=bool(random.integers(2)),
                payload_bits=int(random.integers(1, 11)),
            )
        net.neurons("readout", _random_synapses(net, source))
    return net.build(), net.frames(4)


def _random_synapses(net: Builder, source: NodeId) -> NodeId:
    random = net.random
    options = {"bits": int(random.integers(2, 9)), "exponent": int(random.integers(-8, 8))}
    if net[source].messages[1] > 1:  # payloads: keep potentials inside 24 bits
        options["exponent"] = min(options["exponent"], 1)
    shape = net[source].shape
    kind = random.choice(["conv", "conv", "conv", "dense", "sparse"])
    if kind == "conv" and len(shape) == 3:
        geometry, kernel = _random_geometry(random, shape)
        if min(geometry.output_size((shape[1], shape[2]), kernel)) >= 1:
            channels = geometry.groups * int(random.integers(1, 4))
            return net.conv(source, channels, kernel, geometry=geometry, **options)
    target = tuple(int(n) for n in random.integers(1, 6, random.choice([1, 3])))
    if kind == "sparse":
        return net.sparse(source, target, **options)
    return net.dense(source, target, **options)


def _random_geometry(random: np.random.Generator, shape: Shape) -> tuple[Geometry, tuple[int, int]]:
    divisors = [g for g in range(1, shape[0] + 1) if shape[0] % g == 0]
    top, left, bottom, right = (int(p) for p in random.integers(0, 3, 4))
    if random.integers(2):  # the same on both sides, which Lava's Conv can do
        bottom, right = top, left
    kernel = int(random.integers(1, 4)), int(random.integers(1, 4))
    geometry = Geometry(
        stride=(int(random.integers(1, 4)), int(random.integers(1, 4))),
        padding=(top, left, bottom, right),
        dilation=(int(random.integers(1, 3)), int(random.integers(1, 3))),
        groups=int(random.choice(divisors)),
    )
    return geometry, kernel
