"""How far populations reach: sizes of the maps that linear operators compose to, by shapes alone.

The forms are those of ``convert.linear``, which composes the maps themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.geometry import Geometry, Pair
from snn_compile.ir.graph import NodeId, Shape

NUMBER = 8
"""Bytes of a weight, a value or an index while the network is converted."""
SYNAPSE = 80
"""Bytes of a synapse during conversion to a sparse matrix: coordinates, compressed, and a copy."""
KEPT_SYNAPSE = 16
"""Bytes of a synapse in a sparse matrix."""
PIECE = 1 << 17
"""Weights of a matrix processed at once."""


@dataclass(frozen=True)
class Reach:
    """The worst of the maps from one population to a node.

    Attributes:
        terms: number of maps.
        source: shape of the population, (C, H, W).
        form: identity, wiring, kernel, matrix or sparse, as in ``convert.linear``.
        fan_in: largest fan-in of a target.
        window: height and width of a kernel; of wiring, the position its first target reads, plus
            one.
        step: distance between the positions read by neighbouring targets.
        depthwise: whether each channel of a kernel reads one channel.
        alike: whether all channels of a depthwise kernel have the same weights.
        reshaped: whether the target of a kernel has another shape than its maps.
        read: targets that have synapses at most, where wiring left others without; None: all.
    """

    terms: int
    source: Shape
    form: str = "identity"
    fan_in: int = 1
    window: Pair = (1, 1)
    step: Pair = (1, 1)
    depthwise: bool = False
    alike: bool = False
    reshaped: bool = False
    read: int | None = None

    @property
    def size(self) -> int:
        """Neurons of the population."""
        return prod(self.source)

    def map_bytes(self, target: Shape) -> int:
        """Bytes of one map to a target."""
        match self.form:
            case "identity" | "wiring":
                return prod(target) * NUMBER
            case "kernel":
                channels = 1 if self.depthwise else self.source[0]
                return target[0] * channels * prod(self.window) * NUMBER
            case "matrix":
                return prod(target) * self.size * NUMBER
        return self.synapses(target) * KEPT_SYNAPSE + prod(target) * NUMBER

    def synapses(self, target: Shape) -> int:
        """Synapses of one map to a target."""
        n_targets = prod(target) if self.read is None else min(self.read, prod(target))
        return n_targets * min(self.fan_in, self.size)

    def bound_bytes(self, target: Shape) -> int:
        """Bytes of the sums that bound the values behind one map."""
        values = (self.size + 3 * prod(target)) * NUMBER
        match self.form:
            case "kernel":
                return values + 4 * self.map_bytes(target)
            case "matrix":
                return values + 4 * min(prod(target) * self.size, self.size + PIECE) * NUMBER
            case "sparse":
                return values + 2 * self.map_bytes(target)
        return values

    def single(self, target: Shape) -> int:
        """Synapses of all maps to a target."""
        return self.terms * self.synapses(target)

    def unrolled_bytes(self, target: Shape) -> int:
        """Bytes of the conversion of one map to a sparse matrix."""
        return self.synapses(target) * SYNAPSE + prod(target) * NUMBER


def arriving(
    node: AnnNode, sources: list[tuple[AnnNode, Mapping[NodeId, Reach]]]
) -> tuple[dict[NodeId, Reach], int]:
    """The maps of populations to a node, and the peak memory of composing them in bytes."""
    found: dict[NodeId, Reach] = {}
    peak = 0
    for source, reaches in sources:
        for name, reach in reaches.items():
            after, passing = _after(node, source.shape, reach)
            peak = max(peak, passing)
            found[name] = _worse(found[name], after) if name in found else after
    return found, peak


def _worse(a: Reach, b: Reach) -> Reach:
    """An upper bound of both, with all of their terms."""
    order = ("identity", "wiring", "kernel", "sparse", "matrix")
    worst = a if order.index(a.form) >= order.index(b.form) else b
    return replace(
        worst,
        terms=a.terms + b.terms,
        fan_in=max(a.fan_in, b.fan_in),
        window=(max(a.window[0], b.window[0]), max(a.window[1], b.window[1])),
        depthwise=a.depthwise and b.depthwise,
        alike=a.alike and b.alike,
        read=None if a.read is None or b.read is None else max(a.read, b.read),
    )


def _after(node: AnnNode, inner: Shape, reach: Reach) -> tuple[Reach, int]:
    """A map followed by one more operator, and the bytes of composing them."""
    match node:
        case (
            ann.Reshape() | ann.Transpose() | ann.Slice() | ann.Pad() | ann.Concat() | ann.Gather()
        ):
            return _wired(node, inner, reach)
        case ann.AxisMatrix():
            own = int((node.matrix != 0).sum(axis=1).max(initial=1))
            composed = replace(
                reach, form="sparse", read=None, fan_in=min(own * reach.fan_in, reach.size)
            )
            alone = prod(node.shape) * own * SYNAPSE
            return composed, alone + reach.unrolled_bytes(inner) + composed.unrolled_bytes(
                node.shape
            )
        case ann.Conv():
            alone = node.geometry.groups == inner[0] == node.shape[0]
            height, width = node.weight.shape[2:]
            fan_in = prod(node.weight.shape[1:])
            kernel = Reach(
                1, inner, "kernel", fan_in, (height, width), node.geometry.stride, depthwise=alone
            )
            return _convolved(node.shape, inner, kernel, node.geometry, reach)
        case ann.AveragePool():
            fan_in, (height, width) = prod(node.kernel), node.kernel
            kernel = Reach(
                1,
                inner,
                "kernel",
                fan_in,
                (height, width),
                node.geometry.stride,
                depthwise=True,
                alike=True,
            )
            pooled, peak = _convolved(node.shape, inner, kernel, node.geometry, reach)
            uneven = any(node.geometry.padding) or any(node.overhang)
            return _scaled(node.shape, pooled, peak, uneven=uneven)
        case ann.Dense():
            peak = reach.size * node.shape[0] * NUMBER * 2
            if reach.form != "kernel" or not reach.depthwise:  # averaging stays a kernel
                if reach.form not in ("identity", "wiring"):
                    peak += reach.unrolled_bytes(inner)
            return replace(reach, form="matrix", fan_in=reach.size, read=None), peak
        case ann.BatchNorm():
            return _scaled(node.shape, reach, 0, uneven=False)
        case ann.Affine():
            uneven = any(n > 1 for n in node.scale.shape[1:])
            return _scaled(node.shape, reach, 0, uneven=uneven)
    return reach, 0


def _wired(node: AnnNode, inner: Shape, reach: Reach) -> tuple[Reach, int]:
    """A map followed by wiring."""
    peak = (prod(inner) + 3 * prod(node.shape)) * NUMBER
    if isinstance(node, ann.Reshape):
        if reach.form == "identity":
            return reach, peak
        return replace(reach, reshaped=True, window=_any_window(reach)), peak
    if reach.form in ("identity", "wiring"):
        window, step = _seen(node, reach)
        return replace(reach, form="wiring", window=window, step=step), peak
    if reach.form == "matrix":
        return reach, peak + 2 * reach.map_bytes(node.shape)
    if reach.form == "kernel" and not reach.reshaped and not isinstance(node, ann.Transpose):
        if len(inner) == 3 and inner[1:] == node.shape[1:]:  # whole channels are picked
            full = replace(reach, depthwise=False)
            return full, peak + 2 * full.map_bytes(inner) + 2 * full.map_bytes(node.shape)
    # Every value is picked once, except by a gather; what has none stays without synapses.
    picked = prod(node.shape) if isinstance(node, ann.Gather) else prod(inner)
    known = picked if reach.read is None or isinstance(node, ann.Gather) else reach.read
    composed = replace(reach, form="sparse", read=min(known, prod(node.shape)))
    peak += reach.unrolled_bytes(inner) + composed.unrolled_bytes(node.shape)
    return composed, peak


def _any_window(reach: Reach) -> Pair:
    """Farthest position that the first target of wiring can read."""
    if reach.form != "wiring":
        return reach.window
    return reach.source[1], reach.source[2]


def _seen(node: AnnNode, reach: Reach) -> tuple[Pair, Pair]:
    """First position and step that wiring reads, after one more operator."""
    if isinstance(node, ann.Slice) and len(node.slices) == 3 and not reach.reshaped:
        parts = list(zip(node.slices[1:], reach.step, strict=True))
        starts = [max(part.start or 0, 0) * step for part, step in parts]
        steps = [max(part.step or 1, 1) * step for part, step in parts]
        window = (reach.window[0] + starts[0], reach.window[1] + starts[1])
        return window, (steps[0], steps[1])
    if isinstance(node, ann.Pad | ann.Concat) and not reach.reshaped:
        return reach.window, reach.step
    return (reach.source[1], reach.source[2]), reach.step


def _tapped(inner: Shape, reach: Reach) -> tuple[Reach, int]:
    """Wiring as a kernel with one tap, and the bytes of the check."""
    if reach.form == "identity":
        return replace(reach, form="kernel", depthwise=True, alike=True), reach.source[0] * NUMBER
    tap = replace(reach, form="kernel", depthwise=False)
    if len(inner) != 3:
        return tap, 0
    return tap, 3 * tap.map_bytes(inner) + prod(inner) * 6 * NUMBER


def _convolved(
    target: Shape, inner: Shape, kernel: Reach, geometry: Geometry, reach: Reach
) -> tuple[Reach, int]:
    """A map followed by a convolution.

    Args:
        target: shape of the result.
        inner: shape of the convolution's input.
        kernel: the convolution alone.
        geometry: its geometry.
        reach: the map.
    """
    peak = 0
    own = replace(kernel, terms=reach.terms, source=reach.source)
    if reach.form == "identity":
        return own, target[0] * NUMBER
    if reach.form == "wiring":
        reach, peak = _tapped(inner, reach)
    fan_in = min(kernel.fan_in * reach.fan_in, reach.size)
    maps = reach.form == "kernel" and not reach.reshaped
    if maps and reach.window == reach.step == (1, 1):
        if reach.depthwise:
            return own, peak + own.map_bytes(target)
        full = replace(kernel, depthwise=False)
        mixed = replace(own, fan_in=fan_in, depthwise=False)
        return mixed, peak + 2 * full.map_bytes(target) + 2 * mixed.map_bytes(target)
    tiles = reach.window == reach.step or not any(geometry.padding)
    if maps and reach.depthwise and reach.alike and tiles:
        wide = [
            (k - 1) * d * s + w
            for k, d, s, w in zip(
                kernel.window, geometry.dilation, reach.step, reach.window, strict=True
            )
        ]
        steps = [a * b for a, b in zip(reach.step, geometry.stride, strict=True)]
        window, step = (wide[0], wide[1]), (steps[0], steps[1])
        fused = replace(own, fan_in=fan_in, window=window, step=step)
        return fused, peak + 2 * fused.map_bytes(target)
    both = kernel.unrolled_bytes(target) + reach.unrolled_bytes(inner)
    composed = replace(reach, form="sparse", fan_in=fan_in, read=None)
    return composed, peak + both + composed.unrolled_bytes(target)


def _scaled(target: Shape, reach: Reach, peak: int, *, uneven: bool) -> tuple[Reach, int]:
    """A map followed by a scaling; ``uneven`` where factors differ within a channel."""
    if reach.form in ("identity", "wiring"):
        reach, more = _tapped(target, reach)
        peak += more
    if uneven and reach.form == "kernel":
        reach = replace(reach, form="sparse")
    if reach.form == "sparse":
        return reach, peak + reach.unrolled_bytes(target)
    return reach, peak + reach.map_bytes(target)
