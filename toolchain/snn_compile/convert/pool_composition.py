"""The decision whether a pool is composed with the next layer or kept as a population.

Composition multiplies the fan-in and the synapses of the next layer by the sources of a pooled
value. A kept pool costs a population, a rounding and a time step. The pool is kept if the composed
fan-in exceeds the input axons of a core, or if composition takes more than ``MARGIN`` times the
cores. The estimates of cores assume nonzero weights of eight bits and bands of whole rows, which
the partition often improves on.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.targets.target import Target

WEIGHT_BITS = 8
MARGIN = 4
"""Ratio of composed to kept cores above which a pool is kept despite its rounding and step."""


@dataclass(frozen=True)
class Layer:
    """The size of a layer, for estimates.

    Attributes:
        neurons: number of neurons.
        fan_in: sources of a neuron.
        weights: number of weights if kernels are shared.
        bands: blocks into which the input axons of a core divide the layer.
    """

    neurons: int
    fan_in: int
    weights: int
    bands: int

    def cores(self, target: Target) -> int:
        """Estimated number of cores."""
        memory, compartments = target.synapse_memory_per_core.value, target.neurons_per_core.value
        stored = self.weights * self.bands
        bits = WEIGHT_BITS
        if not target.shared_kernels.value:
            stored, bits = self.neurons * self.fan_in, WEIGHT_BITS + target.index_bits.value
        by_memory = -(-stored * bits // memory) if memory else 1
        by_neurons = -(-self.neurons // compartments) if compartments else 1
        return max(self.bands, by_memory, by_neurons)


def composes_better(
    network: ANNGraph, pool: AnnNode, layer: ann.Conv | ann.Dense, target: Target | None
) -> bool:
    """Whether to compose a pool with the next layer: see the module for the criterion.

    Args:
        network: the network.
        pool: the average pool, or another linear node that averages.
        layer: its only reader.
        target: the chip; None for no limits.
    """
    axons = None if target is None else target.input_axons_per_core.value
    if target is None or axons is None:
        return True
    sources = _sources(network, pool)
    composed, pooled, after = _layers(network, pool, layer, sources, axons)
    if composed.fan_in > axons:
        return False
    return composed.cores(target) <= MARGIN * (pooled.cores(target) + after.cores(target))


def _layers(
    network: ANNGraph, pool: AnnNode, layer: ann.Conv | ann.Dense, sources: int, axons: int
) -> tuple[Layer, Layer, Layer]:
    """The sizes of the composed layer, the pool and the layer."""
    n_pooled = prod(pool.shape)
    taps = -(-sources // n_pooled)
    if isinstance(pool, ann.AveragePool):
        before = network.graph[pool.inputs[0]]
        taps = prod(pool.kernel) * -(-sources // prod(before.shape))
    pooled = Layer(n_pooled, taps, pool.shape[0] * taps, -(-sources // axons))
    n = prod(layer.shape)
    if isinstance(layer, ann.Dense) or not isinstance(pool, ann.AveragePool):
        composed = Layer(n, sources, n * sources, 1)
        return composed, pooled, Layer(n, n_pooled, n * n_pooled, -(-n_pooled // axons))
    before = network.graph[pool.inputs[0]]
    many = -(-sources // prod(before.shape))
    (kh, kw), (sy, sx), (ph, pw) = layer.weight.shape[2:], pool.geometry.stride, pool.kernel
    kernel = ((kh - 1) * sy + ph, (kw - 1) * sx + pw)
    (ly, lx), channels = layer.geometry.stride, layer.weight.shape[1]
    wide = channels * many
    composed = _convolution(layer, wide, kernel, (ly * sy, lx * sx), before.shape, axons)
    return composed, pooled, _convolution(layer, channels, (kh, kw), (ly, lx), pool.shape, axons)


def _convolution(
    layer: ann.Conv,
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    source: tuple[int, ...],
    axons: int,
) -> Layer:
    """The size of a convolution with other kernels, in bands of rows, or tiles of wide rows."""
    _, height, width = layer.shape
    read = channels * layer.geometry.groups
    columns = min(source[2], (width - 1) * stride[1] + kernel[1])
    rows = (axons // (read * columns) - kernel[0]) // stride[0] + 1
    bands = -(-height // max(rows, 1))
    if rows < 1:
        across = (axons // (read * kernel[0]) - kernel[1]) // stride[1] + 1
        bands *= -(-width // max(across, 1))
    fan_in = channels * prod(kernel)
    return Layer(prod(layer.shape), fan_in, layer.shape[0] * fan_in, bands)


def _sources(network: ANNGraph, node: AnnNode) -> int:
    """Neurons that a node reads through linear nodes without neurons of their own."""
    found: dict[NodeId, int] = {}
    waiting, seen = [node], {node.id}
    while waiting:
        current = waiting.pop()
        if isinstance(current, ann.Input | ann.Activation | ann.Conv | ann.Dense):
            found[current.id] = prod(current.shape)
            continue
        waiting += [network.graph[name] for name in current.inputs if name not in seen]
        seen.update(current.inputs)
    return sum(found.values())
