"""Estimate of a conversion's memory, before any of it runs.

``expand`` composes the linear operators between populations into maps, and without data
``weight_bounds`` adds up the magnitudes of each. Their size depends on shapes alone, so it can be
propagated through the network without any weight. A file of a few hundred bytes can make them
terabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from snn_compile.convert.calibrate import N_BINS
from snn_compile.convert.reach import NUMBER, Reach, arriving
from snn_compile.errors import ModelError
from snn_compile.files.documents import TooLargeError, check_size, too_large
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.geometry import Geometry, Pair
from snn_compile.ir.graph import NodeId, Shape, maps_shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.memory import format_size

NODE = 4096
"""Bytes of an operator, whatever its value."""
TERM = 512
"""Overhead of a map in bytes."""
MAX_TERMS = 30_000
"""Maps in a network; each takes milliseconds."""


def check_values(network: ANNGraph) -> None:
    """Check the values and weights of a network against the memory limit of its file.

    Args:
        network: the imported network, before its operators have maps.

    Raises:
        ModelError: they exceed it.
    """
    total = 0
    for node in network.graph:
        total += _own(node)
        _check(node, total, _own(node))


def check_footprint(network: ANNGraph, *, measured: bool = False) -> None:
    """Check the memory of a conversion against the limit of its file.

    Args:
        network: with its rectifiers inserted.
        measured: whether calibration data replace the computation of bounds.

    Raises:
        ModelError: it exceeds the limit; the message names the layer that does so, and its size.
    """
    reached: dict[NodeId, Mapping[NodeId, Reach]] = {}
    waiting = {node.id: len(network.graph.consumers(node.id)) for node in network.graph}
    maps: dict[NodeId, int] = {}
    total = terms = single = 0
    for node in network.graph:
        sources = [(network.graph[s], reached[s]) for s in node.inputs]
        found, peak = arriving(node, sources)
        if isinstance(node, ann.Activation | ann.Output) and not measured:
            peak = max([peak, *(r.bound_bytes(node.shape) for r in found.values())])
        maps[node.id] = sum(r.terms * (r.map_bytes(node.shape) + TERM) for r in found.values())
        kept = NODE + _own(node)
        if isinstance(node, ann.Activation) and measured:
            kept += maps_shape(node.shape)[0] * N_BINS * NUMBER  # its histograms
        total += kept
        own = kept + maps[node.id] + peak
        _check(node, total + sum(maps.values()) + peak, own)
        for source in {node.id, *node.inputs}:  # maps live until their last reader
            waiting[source] -= source != node.id
            if not waiting[source]:
                del maps[source]
        terms += sum(r.terms for r in found.values())
        if isinstance(node, ann.AxisMatrix):
            each = (node.matrix != 0).sum(axis=1)
            share = float(each.mean()) / max(int(each.max()), 1)
            single += int(share * sum(r.single(node.shape) for r in found.values()))
        if single > ann.MAX_SYNAPSES:
            raise ModelError(
                f"with it, matrices along an axis are {single:,} synapses wired one by one;"
                f" {ann.MAX_SYNAPSES:,} at most",
                code="too-large",
                origin=node.origin,
                hint="use a smaller input, or nearest neighbours and transposed convolutions"
                " where values are interpolated",
            )
        if terms > MAX_TERMS:
            raise ModelError(
                f"with it, the network is a sum of {terms:,} linear maps; {MAX_TERMS:,} at most",
                code="too-large",
                origin=node.origin,
                hint="insert rectifiers between sums",
            )
        if isinstance(node, ann.Input | ann.Activation | ann.MaxPool):
            found = {node.id: Reach(1, maps_shape(node.shape))}
        reached[node.id] = found


def _check(node: AnnNode, total: int, own: int) -> None:
    try:
        check_size(f"converting the network (this layer alone {format_size(own)})", total)
    except TooLargeError as error:
        raise too_large(node.origin, error, ModelError) from error


def _own(node: AnnNode) -> int:
    """Bytes of a node's own value and weights."""
    size = prod(node.shape) * 2 * NUMBER
    match node:
        case ann.Dense():
            return size + node.weight.size * 2 * NUMBER
        case ann.AxisMatrix():
            return size + node.matrix.size * 2 * NUMBER
        case ann.Conv():
            per_group, height, width = node.weight.shape[1:]
            padded = _padded(node.shape, node.geometry, (height, width))
            maps = per_group * node.geometry.groups * padded
            own = int(node.weight.size) * 2 + int(maps)
            return size + (own + _reached(node.shape, node.geometry, (height, width))) * NUMBER
        case ann.AveragePool():
            padded = _padded(node.shape, node.geometry, node.kernel)
            own = node.shape[0] * (padded + 2 * prod(node.kernel))
            return size + (own + _reached(node.shape, node.geometry, node.kernel)) * NUMBER
        case ann.MaxPool():
            # A tournament: for each tap a kernel with one weight, and two rectifiers.
            taps = prod(node.kernel)
            comparators = 3 * taps * prod(node.shape) * 2
            padded = node.shape[0] * _padded(node.shape, node.geometry, node.kernel)
            return (taps * taps * node.shape[0] + comparators + padded) * NUMBER
    return size


def _padded(target: Shape, geometry: Geometry, kernel: Pair) -> int:
    """Values of a map that a kernel slides over, padding included."""
    sizes = zip(target[1:], geometry.stride, geometry.dilation, kernel, strict=True)
    return prod(n * stride + d * (k - 1) for n, stride, d, k in sizes)


def _reached(target: Shape, geometry: Geometry, kernel: Pair) -> int:
    """Which values along each axis the taps of a kernel read, while synapses are counted."""
    sizes = zip(target[1:], geometry.stride, geometry.dilation, kernel, strict=True)
    return sum(k * (n * stride + d * (k - 1)) for n, stride, d, k in sizes)
