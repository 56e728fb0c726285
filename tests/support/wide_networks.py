"""Random quantized networks of the sizes and extremes at which the engine changes its way.

The generators of ``networks`` have few channels and potentials that fit. Here channels lie around
the widths of registers and blocks, maps are so wide that pixels share a block or do not, kernels
cover them or are cropped, sums leave 16 and 31 bits, potentials leave theirs.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from networks import ALL_NEURONS, INPUT, Builder
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import (
    STATE,
    ClipFloorNeurons,
    CubaLIFNeurons,
    GradedNeurons,
    IFNeurons,
    QuantizedGraph,
    SignedIFNeurons,
)
from snn_compile.ir.spiking import InputCoding
from snn_compile.sim import bounds

CHANNELS = (1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 128, 129, 192, 256, 257, 300)
KERNELS = ((1, 1), (3, 3), (5, 5), (1, 3), (7, 1), (2, 2), (3, 2), (1, 8))
RANGES = ((0, 1), (0, 255), (-60, 195), (-128, 127), (-3, 300), (-40000, 40000), (0, 70000))
"""Of encoded input values; one, two and three bytes, with and without a zero point."""
LEVELS = (1, 4, 255, 256, 70_000)
"""Largest counts of clip-floor neurons."""
DENSITIES = (0.0, 0.02, 0.3, 0.7, 1.0)
"""Share of the input that is not 0."""
MAX_WORK = 3_000_000
"""Synaptic operations of a layer over all steps, were every neuron to fire: tests stay quick."""
CURRENT_BITS = 40
"""Of what reaches leaky neurons: more, and their current of 64 bits may overflow."""


class WideBuilder(Builder):
    """A ``Builder`` whose weights and parameters are often extreme."""

    def weights(self, shape: Shape, bits: int) -> QTensor:
        """Of all magnitudes, the largest ones only, all the same, or few other than 0."""
        top = 1 << (bits - 1)
        match self.random.choice(["any", "any", "ends", "largest", "smallest", "few"]):
            case "any":
                return super().weights(shape, bits)
            case "ends":
                values = np.where(self.random.random(shape) < 0.5, -top, top - 1)
            case "largest":
                values = np.full(shape, top - 1)
            case "smallest":
                values = np.full(shape, -top)
            case _:
                drawn = self.random.integers(-top, top, shape)
                values = drawn * (self.random.random(shape) < 0.1)
        return QTensor(values.astype(np.int64), QFormat(bits))

    def extreme(self, node_id: NodeId) -> NodeId:
        """Give a population parameters at the ends of their ranges."""
        index = next(i for i, node in enumerate(self.nodes) if node.id == node_id)
        node, random = self.nodes[index], self.random
        n = node.shape[0]
        changes: dict[str, object] = {}
        if random.random() < 0.3:  # what reaches it makes states overflow
            spread = int(random.choice([1, 1 << 20, 1 << 23]))
            bias = random.integers(-spread, spread + 1, node.bias.shape)
            changes["bias"] = QTensor.of(bias)
        if random.random() < 0.3 and not isinstance(node, CubaLIFNeurons):
            changes["state"] = QFormat(int(random.integers(4, STATE.bits + 1)))
        if isinstance(node, ClipFloorNeurons):
            threshold = random.choice([1, 2, 3, 1 << 10, (1 << 23) - 1, 1 << 29, 1 << 40], n)
            changes["threshold"] = QTensor.of(threshold)
        if isinstance(node, IFNeurons | SignedIFNeurons):
            threshold = random.choice([1, 2, 1 << 20, (1 << 23) - 1, 1 << 24], n)
            threshold = np.maximum(threshold - random.integers(0, 2, n), 1)
            changes["threshold"] = QTensor.of(threshold)
            initial = int(random.choice([0, 1 << 10, 1 << 23]))
            shape = node.shape if random.random() < 0.5 else n
            start = random.integers(-initial, initial + 1, shape)
            if isinstance(node, SignedIFNeurons) and random.random() < 0.7:
                # Fires unless inhibited, by little, so that there are spikes to take back.
                changes["threshold"] = QTensor.of(random.integers(1, 1 << 10, n))
                changes["bias"] = QTensor.of(changes["threshold"].values >> 1)
            changes["initial_potential"] = QTensor.of(start)
        if isinstance(node, CubaLIFNeurons):
            changes["threshold"] = QTensor.of(random.choice([0, 1, 1 << 10, (1 << 17) - 1], n))
            changes["current_decay"] = int(random.choice([0, 1, 2000, 4095]))
            changes["voltage_decay"] = int(random.choice([0, 1, 2000, 4095]))
        if isinstance(node, GradedNeurons):
            changes["shift"] = QTensor.of(random.integers(0, 36, n))
            multiplier = random.choice([1 << 11, (1 << 12) - 1], n)
            changes["multiplier"] = QTensor(multiplier, QFormat(12, signed=False))
        self.nodes[index] = replace(node, **changes)
        return node_id


def wide(
    seed: int, n_steps: int, kinds: tuple[str, ...] = ALL_NEURONS, **more: int
) -> tuple[QuantizedGraph, np.ndarray]:
    """A chain of one to three layers of the given kinds and a readout, and three stimuli."""
    random = np.random.default_rng(seed)
    coding = InputCoding.GRADED if n_steps == 1 else InputCoding.CURRENT
    if n_steps > 1 and random.random() < 0.5:
        coding = InputCoding.POISSON
    low, high = RANGES[random.integers(len(RANGES))]
    levels = int(random.choice(LEVELS))
    net = WideBuilder(
        int(random.integers(1 << 30)),
        _random_shape(random, n_steps),
        n_steps=n_steps,
        coding=coding,
        low=low,
        high=high,
        **{"levels": levels, **more},
    )
    source = INPUT
    for _ in range(int(random.integers(1, 4))):
        kind = str(random.choice(kinds))
        source = net.neurons(
            kind,
            *_random_groups(net, source, kind),
            per_element_bias=bool(random.integers(2)),
            payload_bits=int(random.integers(1, 17)),
        )
        if random.random() < 0.4:
            net.extreme(source)
        if random.random() < 0.1:
            source = net.relay(source)
    readout = net.neurons("readout", *_random_groups(net, source, "readout"))
    if random.random() < 0.3:
        net.extreme(readout)
    return net.build(), net.frames(3, float(random.choice(DENSITIES)))


def _random_shape(random: np.random.Generator, n_steps: int) -> Shape:
    """Of a map, or of a vector; not too large for so many steps."""
    channels = int(random.choice(CHANNELS))
    if random.random() < 0.15:
        return (channels,)
    most = max(1, 30_000 // (channels * n_steps))
    width = int(random.integers(1, min(20, most) + 1))
    height = int(random.integers(1, min(9, most // width) + 1))
    return (channels, height, width)


def _random_groups(net: WideBuilder, source: NodeId, kind: str) -> list[NodeId]:
    """One group of synapses or several into the same population."""
    first = _random_synapses(net, source, kind)
    groups, random = [first], net.random
    shape = net[first].shape
    while random.random() < 0.35 and len(groups) < 4:
        # The input may feed any depth.
        other = INPUT if random.random() < 0.5 else source
        options = _options(net, other, kind)
        if prod(net[other].shape) * prod(shape) > _largest(net):
            if net[other].shape == shape:
                groups.append(net.identity(other))
            break
        if random.random() < 0.5:
            groups.append(net.sparse(other, shape, density=0.1, **options))
        else:
            groups.append(net.dense(other, shape, **options))
    for group in groups:
        _tame(net, group, kind)
    return groups


def _largest(net: WideBuilder) -> int:
    return MAX_WORK // net.window.n_steps


def _options(net: WideBuilder, source: NodeId, kind: str) -> dict[str, int]:
    random = net.random
    exponent = 0 if random.random() < 0.3 else int(random.integers(-8, 8))
    return {"bits": int(random.choice([2, 4, 8, 8])), "exponent": exponent}


def _tame(net: WideBuilder, group: NodeId, kind: str) -> None:
    """Lower the exponent of what feeds leaky neurons until their current fits."""
    if kind != "leaky":
        return
    index = next(i for i, node in enumerate(net.nodes) if node.id == group)
    node = net.nodes[index]
    _, partial = bounds.synapse_sums(node, net[node.inputs[0]].messages)
    room = CURRENT_BITS - 8 - partial.bit_length()
    net.nodes[index] = replace(node, exponent=min(node.exponent, room))


def _random_synapses(net: WideBuilder, source: NodeId, kind: str) -> NodeId:
    random, shape = net.random, net[source].shape
    options = _options(net, source, kind)
    for _ in range(20):
        if len(shape) < 3 or random.random() < 0.2:
            target: Shape = (int(random.choice(CHANNELS)),)
            if random.random() < 0.4:
                target = (*target, int(random.integers(1, 4)), int(random.integers(1, 9)))
            if prod(target) * prod(shape) > _largest(net):
                continue
            if random.random() < 0.3:
                return net.sparse(source, target, density=0.2, **options)
            return net.dense(source, target, **options)
        geometry, kernel, channels = _random_geometry(random, shape)
        height, width = geometry.output_size((shape[1], shape[2]), kernel)
        work = prod(kernel) * shape[0] // geometry.groups * channels * height * width
        if min(height, width) >= 1 and height * width <= 200 and work <= _largest(net):
            return net.conv(source, channels, kernel, geometry=geometry, **options)
    return net.sparse(source, (int(random.integers(1, 4)),), density=0.2, **options)


def _random_geometry(
    random: np.random.Generator, shape: Shape
) -> tuple[Geometry, tuple[int, int], int]:
    """Geometry, kernel and channels of a convolution; a third of them depthwise or pooling."""
    n_in, height, width = shape
    kernel = KERNELS[random.integers(len(KERNELS))]
    channels = int(random.choice(CHANNELS))
    groups = 1
    if random.random() < 0.15:  # the kernel covers the whole map, and may leave it
        kernel = (height, width)
    match random.choice(["one", "one", "pool", "depthwise", "grouped"]):
        case "pool":
            kernel = (int(random.integers(1, 4)), int(random.integers(1, 4)))
            return Geometry(stride=kernel, groups=n_in), kernel, n_in
        case "depthwise":
            groups, channels = n_in, n_in * int(random.choice([1, 1, 1, 2, 3]))
        case "grouped":
            groups = int(random.choice([g for g in range(1, n_in + 1) if n_in % g == 0]))
            channels = groups * int(random.integers(1, 5))
    dilation = (1, 1)
    if random.random() < 0.3:
        dilation = int(random.integers(1, 4)), int(random.integers(1, 4))
    padding = (0, 0, 0, 0)
    match random.choice(["none", "same", "any", "crop"]):
        case "same":
            y, x = (d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
            padding = (y, x, y, x)
        case "any":
            padding = tuple(int(p) for p in random.integers(0, 5, 4))
        case "crop":  # never all of the map
            most = [min(2, (size - 1) // 2) for size in (height, width, height, width)]
            padding = tuple(int(random.integers(-n, 3)) for n in most)
    stride = (1, 1)
    if random.random() < 0.3:
        stride = int(random.integers(1, 4)), int(random.integers(1, 4))
    return Geometry(stride, padding, dilation, groups), kernel, channels
