"""Random networks of the codings ``sync``, ``sigma-delta`` and ``signed``, built by hand.

The first two are integer networks of one step that ``schedule`` spreads over time. ``structures``
holds every structure that needs a rule, ``branches`` is chains of random layers side by side.
"""

from __future__ import annotations

import numpy as np

import networks
from networks import INPUT
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    VOLTAGE_LIMIT,
    ClipFloorNeurons,
    QuantizedGraph,
    SignedIFNeurons,
)
from snn_compile.ir.schedule import schedule
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.sim import bounds

CODINGS = (("sync", 5), ("sigma-delta", 1), ("signed", 6))
"""Each coding with a number of steps."""


class Builder(networks.Builder):
    """Adds layers to a network of one of the codings.

    Args:
        seed: of everything random.
        shape: of the input.
        coding: ``sync``, ``sigma-delta`` or ``signed``.
        n_steps: length of a window.
        low: smallest encoded value, high: largest.
    """

    def __init__(
        self, seed: int, shape: Shape, coding: str, n_steps: int, *, low: int = 0, high: int = 255
    ) -> None:
        self.coding, self.n_steps = coding, n_steps
        signed = coding == "signed"
        arrives = InputCoding.CURRENT if signed else InputCoding.GRADED
        super().__init__(seed, shape, coding=arrives, low=low, high=high)
        if signed:
            self.window = Window(coding, n_steps)

    def build(self) -> QuantizedGraph:
        """The network so far, spread over time; no potential can leave its 24 bits."""
        program = schedule(super().build(), Window(self.coding, self.n_steps))
        for node in program.populations:
            potential = bounds.potential(program.graph, node, self.n_steps)
            assert potential.magnitude <= VOLTAGE_LIMIT, node.id
        return program

    def stream(self, n: int, density: float = 0.5) -> np.ndarray:
        """Stimuli of which some follow one that is the same, or the same but for a few values."""
        frames = self.frames(n, density)
        for index in range(1, n):
            if index % 3 == 1:
                frames[index] = frames[index - 1]
            elif index % 3 == 2:
                same = self.random.random(frames[index].shape) < 0.9
                frames[index] = np.where(same, frames[index - 1], frames[index])
        return frames

    def layer(self, *synapses: NodeId, per_element_bias: bool = False, payload_bits: int = 8):
        """A population of the coding whose parameters suit its input."""
        if self.coding == "sigma-delta":
            return self.neurons(
                "graded", *synapses, per_element_bias=per_element_bias, payload_bits=payload_bits
            )
        shape = self[synapses[0]].shape
        scale = self._scale(synapses)
        # A count reaches the number of steps where the sum does the scale's double.
        step = max(1, scale // (self.n_steps if self.coding == "sync" else 1))
        threshold = self.random.integers(max(1, step // 3), 2 * step + 1, shape[0])
        spread = max(1, scale // 8)
        bias = self.random.integers(-spread, spread + 1, shape if per_element_bias else shape[:1])
        return self._spiking(
            *synapses,
            threshold=QTensor.of(threshold),
            bias=QTensor.of(bias),
            initial=QTensor.of(threshold // 2),
        )

    def readout(self, *synapses: NodeId, per_element_bias: bool = False) -> NodeId:
        """An output."""
        return self.neurons("readout", *synapses, per_element_bias=per_element_bias)

    def _spiking(
        self, *synapses: NodeId, threshold: QTensor, bias: QTensor, initial: QTensor
    ) -> NodeId:
        fields = {"threshold": threshold, "bias": bias}
        if self.coding == "sync":
            return self._add_population(ClipFloorNeurons, synapses, levels=self.n_steps, **fields)
        return self._add_population(SignedIFNeurons, synapses, initial_potential=initial, **fields)


def structures(seed: int, coding: str, n_steps: int) -> tuple[QuantizedGraph, np.ndarray]:
    """Every structure that needs a rule in Lava, in one network of small maps; and its stimuli.

    Depthwise, grouped, strided, dilated and unevenly padded convolutions, a join with a relay, an
    input of both signs that feeds three depths, sparse wiring, exponents, two readouts of different
    depth.
    """
    net = Builder(seed, (2, 6, 7), coding, n_steps, low=-60, high=195)
    bits = [int(b) for b in net.random.integers(3, 9, 8)]
    least = -1 if coding == "signed" else 0
    exponents = [int(e) for e in net.random.integers(least, 3, 3)]
    same = Geometry(padding=(1, 1, 1, 1))
    first = net.layer(net.conv(INPUT, 4, geometry=same), per_element_bias=True)
    depthwise = net.layer(
        net.conv(first, 4, bits=bits[0], exponent=exponents[0], geometry=Geometry(groups=4))
    )
    strided = Geometry(stride=(2, 1), padding=(1, 0, 1, 0), groups=2)
    grouped = net.layer(net.conv(depthwise, 6, (3, 2), bits=bits[1], geometry=strided))
    relay = net.relay(grouped)
    second = net.layer(net.conv(grouped, 6, bits=bits[2], geometry=same))
    _, height, width = net[grouped].shape
    joined = net.layer(
        net.conv(second, 6, (1, 1), bits=bits[3], exponent=exponents[1]),
        net.conv(relay, 6, (1, 1), bits=4),
        net.dense(INPUT, (6, height, width), bits=3),  # four windows later
    )
    uneven = net.layer(
        net.conv(joined, 4, (2, 2), bits=bits[4], geometry=Geometry(padding=(0, 0, 1, 1)))
    )
    dilated = Geometry(dilation=(2, 2), padding=(1, 1, 1, 1))
    sparse = net.layer(
        net.sparse(net.layer(net.conv(joined, 5, (2, 2), bits=bits[5], geometry=dilated)), (3, 4)),
        net.sparse(uneven, (3, 4), bits=bits[6], exponent=exponents[2]),
    )
    net.readout(net.dense(sparse, 5, bits=bits[7]), per_element_bias=True)
    last = net.conv(uneven, 2, (2, 2), bits=4)
    net.readout(last, net.dense(INPUT, net[last].shape, bits=4))
    return net.build(), net.stream(7)


def branches(seed: int, coding: str, n_steps: int) -> tuple[QuantizedGraph, np.ndarray]:
    """Three random chains of one to three layers, all fed by one input; and four stimuli."""
    random = np.random.default_rng(seed)
    shape = tuple(int(n) for n in (random.integers(1, 4), *random.integers(3, 7, 2)))
    low, high = -int(random.integers(0, 16)), int(random.integers(1, 16))
    net = Builder(seed, shape, coding, n_steps, low=low, high=high)
    for _ in range(3):
        source = INPUT
        for _ in range(int(random.integers(1, 4))):
            source = net.layer(
                _random_synapses(net, source),
                per_element_bias=bool(random.integers(2)),
                payload_bits=int(random.integers(1, 11)),
            )
        net.readout(_random_synapses(net, source))
    return net.build(), net.stream(4)


def _random_synapses(net: Builder, source: NodeId) -> NodeId:
    random = net.random
    lowest = -3 if net.coding == "signed" else 0  # sums over time must not be floored
    options = {"bits": int(random.integers(2, 9)), "exponent": int(random.integers(lowest, 3))}
    kinds = ("conv", "conv", "dense", "sparse")
    return networks.random_synapses(net, source, kinds, density=0.5, **options)
