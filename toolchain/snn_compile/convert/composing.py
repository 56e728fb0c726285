"""Whether a pool is better composed with the next layer on a target, or kept as neurons.

Composed, each neuron of the layer reads all that the pool averages: as many sources more, and as
many synapses. Kept, the pool's neurons cost a population and a rounding of their own. The pool is
kept where the composed layer has more sources than a core receives, or takes more than four times
the cores by the estimates below: a rounding and a step of time have to pay. Estimates count weights
of eight bits, none of them zero, and bands of whole rows, which the partition often betters.
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
"""Times as many cores as kept, from which on a composed layer is not worth a rounding less."""


@dataclass(frozen=True)
class Layer:
    """A layer as the estimates see it.

    Attributes:
        neurons: of the layer.
        fan_in: sources of a neuron.
        weights: that are stored once where kernels are shared.
        bands: pieces of which none reads more sources than a core receives.
    """

    neurons: int
    fan_in: int
    weights: int
    bands: int

    def cores(self, target: Target) -> int:
        """Cores that hold it, at least."""
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
    """Whether a layer and the pool before it fit as one, in not many more cores than as two."""
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
    """The composed layer, the pool alone, and the layer alone."""
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
    """A convolution with other kernels, in bands of rows, or tiles where a row is too wide."""
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
    """Neurons whose values a value is made of; a layer in between has neurons behind it."""
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
