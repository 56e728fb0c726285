"""Statistics of a network's activations on the calibration set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from snn_compile.convert.linear import Float, Index
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.samples.rows import Rows, blocks, split
from snn_compile.sim.ann import Hook, piece_size, traverse
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

N_BINS = 2048
PIECE_BYTES, SAMPLES_PER_PIECE = 6 << 20, 1 << 12
"""Size of the largest activations of one piece, and the number per channel and piece that enters
the histograms; the maxima cover all of them."""
HELD_BYTES = 256 << 20
"""Most memory for what enters the histograms. Where it is enough, the network runs once: the values
wait until their peaks are known. Else it runs once more."""


@dataclass(frozen=True, eq=False)
class Activations:
    """Statistics of one population's activations, per channel.

    Attributes:
        peak: largest magnitude, (C,).
        histogram: counts of magnitudes above 0 in ``N_BINS`` equal bins up to the peak, (C, bins).
        n_seen: values per channel sampled for the histogram, positive or not.
    """

    peak: Float
    histogram: Index
    n_seen: int

    @property
    def centers(self) -> Float:
        """Middle of each bin, (C, bins)."""
        return (np.arange(N_BINS) + 0.5) / N_BINS * self.peak[:, None]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Statistics of a network on calibration samples.

    Attributes:
        activations: of every rectifier.
        inputs: smallest value of each input per entry of its first axis, at most 0, and the
            largest one, at least 0.
        n_samples: number of samples.
        ranges: smallest and largest argument of every function, (C,) each.
    """

    activations: Mapping[NodeId, Activations]
    inputs: Mapping[NodeId, tuple[Float, Float]]
    n_samples: int
    ranges: Mapping[NodeId, tuple[Float, Float]] = field(default_factory=dict)


@dataclass
class _Collector:
    """Accumulates over batches; the batches run on several threads.

    Attributes:
        functions: functions that read each node.
        holds: whether to keep what enters the histograms.
    """

    functions: Mapping[NodeId, Sequence[NodeId]]
    holds: bool

    lock: threading.Lock = field(default_factory=threading.Lock)
    peak: dict[NodeId, Float] = field(default_factory=dict)
    histogram: dict[NodeId, Index] = field(default_factory=dict)
    n_seen: dict[NodeId, int] = field(default_factory=dict)
    ranges: dict[NodeId, tuple[Float, Float]] = field(default_factory=dict)
    held: list[tuple[AnnNode, Array]] = field(default_factory=list)

    def peaks(self, node: AnnNode, value: Array) -> Array:
        if isinstance(node, ann.Activation):
            largest = _magnitudes(node, value).max(axis=1).astype(np.float64)
            with self.lock:
                self.peak[node.id] = np.maximum(self.peak.get(node.id, largest), largest)
                if self.holds and node.like is None:
                    self.held.append((node, _sampled(node, value).copy()))
        for reader in self.functions.get(node.id, ()):
            flat = _by_channel(node, value).astype(np.float64)
            low, high = flat.min(axis=1), flat.max(axis=1)
            with self.lock:
                lowest, highest = self.ranges.get(reader, (low, high))
                self.ranges[reader] = np.minimum(lowest, low), np.maximum(highest, high)
        return value

    def histograms(self, node: AnnNode, value: Array) -> Array:
        if isinstance(node, ann.Activation) and node.like is None:
            self.count(node, _sampled(node, value))
        return value

    def count(self, node: AnnNode, flat: Array) -> None:
        """Add magnitudes (C, n) to the histograms of a node."""
        if isinstance(node, ann.Function):  # undefined values are refused with the peaks
            flat = np.where(np.isfinite(flat), flat, 0)
        peak = np.where(self.peak[node.id] > 0, self.peak[node.id], 1.0)  # of NaN, too
        scaled = flat * (N_BINS / peak[:, None]).astype(flat.dtype)
        bins = np.minimum(scaled.astype(np.int32), N_BINS - 1)
        bins += np.arange(len(flat), dtype=np.int32)[:, None] * N_BINS
        found = np.bincount(bins[flat > 0], minlength=len(flat) * N_BINS)
        with self.lock:
            self.histogram[node.id] = self.histogram.get(node.id, 0) + found
            self.n_seen[node.id] = self.n_seen.get(node.id, 0) + flat.shape[1]

    def count_held(self) -> None:
        """Add what was kept to the histograms."""
        while self.held:
            self.count(*self.held.pop())


def _sampled(node: ann.Relu | ann.Function | ann.Product, value: Array) -> Array:
    """The magnitudes of a piece that enter the histograms, (C, n)."""
    flat = _magnitudes(node, value)
    # An odd stride: the batch is the last axis, and an even one would sample the same few.
    return flat[:, :: _stride(flat.shape[1])]


def _stride(n: int) -> int:
    return n // SAMPLES_PER_PIECE | 1


def _fits(network: ANNGraph, n: int) -> bool:
    """Whether what enters the histograms may be kept for n samples."""
    size = min(n, piece_size(network, PIECE_BYTES))
    per_piece = 0
    for node in network.graph:
        if isinstance(node, ann.Activation) and node.like is None:
            channels = maps_shape(node.shape)[0]
            values = size * prod(node.shape) // channels
            per_piece += channels * -(-values // _stride(values))
    return np.dtype(np.float32).itemsize * per_piece * -(-n // size) <= HELD_BYTES


def _by_channel(node: AnnNode, value: Array) -> Array:
    return value.reshape(maps_shape(node.shape)[0], -1)


def _magnitudes(node: ann.Relu | ann.Function | ann.Product, value: Array) -> Array:
    """Magnitudes of activations: the payload apart from the sign."""
    flat = _by_channel(node, value)
    return flat if node.non_negative else np.abs(flat)


def _functions(network: ANNGraph) -> dict[NodeId, list[NodeId]]:
    """The functions that read each node."""
    found: dict[NodeId, list[NodeId]] = {}
    for node in network.graph:
        if isinstance(node, ann.Function):
            found.setdefault(node.inputs[0], []).append(node.id)
    return found


def calibrate(
    network: ANNGraph,
    x: Rows,
    *,
    advance: Advance = no_progress,
    also: Callable[[int], Hook] | None = None,
) -> Calibration:
    """Run the network over the samples for the peaks, and again for the histograms if need be.

    Args:
        network: a network without max pools.
        x: (N, *sample shape).
        advance: progress callback, in samples; each sample counts twice.
        also: gives a further observer of all values, for a piece from one sample on.
    """
    holds = _fits(network, len(x))
    collector, operators = _Collector(_functions(network), holds), Reproducible(network, x)

    def run(hook: Hook, advance: Advance, also: Callable[[int], Hook] | None = None) -> None:
        def of_piece(start: int) -> Hook:
            other = None if also is None else also(start)
            return hook if other is None else lambda node, value: hook(node, other(node, value))

        traverse(
            network, x, of_piece, operators=operators, advance=advance, piece_bytes=PIECE_BYTES
        )

    if holds:
        run(collector.peaks, lambda n: advance(2 * n), also)
        collector.count_held()
    else:
        run(collector.peaks, advance, also)
        run(collector.histograms, advance)
    empty = np.zeros(0, np.int64)
    return Calibration(
        {
            key: Activations(
                peak,
                collector.histogram.get(key, empty).reshape(-1, N_BINS),
                collector.n_seen.get(key, 0),
            )
            for key, peak in collector.peak.items()
        },
        {key: _range(values) for key, values in split(network.inputs, x).items()},
        len(x),
        collector.ranges,
    )


def _range(x: Rows) -> tuple[Float, Float]:
    """Smallest and largest value of an input (N, C, ...) per entry of its first axis, and 0."""
    axes = (0, *range(2, len(x.shape)))
    low, high = np.zeros((2, *x.shape[1:2]))
    for block in blocks(x):
        low, high = np.minimum(low, block.min(axis=axes)), np.maximum(high, block.max(axis=axes))
    return low, high
