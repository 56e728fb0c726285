"""Statistics of a network's activations on the calibration set."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from snn_compile.convert.expand import maps_shape
from snn_compile.convert.linear import Float, Index
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.sim.ann import evaluate
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

N_BINS = 2048
PIECE_BYTES, SAMPLES_PER_PIECE = 6 << 20, 1 << 12
"""Size of the largest activations of one piece, and the number per channel and piece that enters
the histograms; the maxima cover all of them."""


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
    """

    functions: Mapping[NodeId, Sequence[NodeId]]

    lock: threading.Lock = field(default_factory=threading.Lock)
    peak: dict[NodeId, Float] = field(default_factory=dict)
    histogram: dict[NodeId, Index] = field(default_factory=dict)
    n_seen: dict[NodeId, int] = field(default_factory=dict)
    ranges: dict[NodeId, tuple[Float, Float]] = field(default_factory=dict)

    def peaks(self, node: AnnNode, value: Array) -> Array:
        if isinstance(node, ann.Activation):
            largest = _magnitudes(node, value).max(axis=1).astype(np.float64)
            with self.lock:
                self.peak[node.id] = np.maximum(self.peak.get(node.id, largest), largest)
        for reader in self.functions.get(node.id, ()):
            flat = _by_channel(node, value).astype(np.float64)
            low, high = flat.min(axis=1), flat.max(axis=1)
            with self.lock:
                lowest, highest = self.ranges.get(reader, (low, high))
                self.ranges[reader] = np.minimum(lowest, low), np.maximum(highest, high)
        return value

    def histograms(self, node: AnnNode, value: Array) -> Array:
        if isinstance(node, ann.Activation) and node.like is None:
            flat = _magnitudes(node, value)
            if isinstance(node, ann.Function):  # undefined values are refused with the peaks
                flat = np.where(np.isfinite(flat), flat, 0)
            # An odd stride: the batch is the last axis, and an even one would sample the same few.
            flat = flat[:, :: flat.shape[1] // SAMPLES_PER_PIECE | 1]
            peak = np.where(self.peak[node.id] > 0, self.peak[node.id], 1.0)  # of NaN, too
            scaled = flat * (N_BINS / peak[:, None]).astype(flat.dtype)
            bins = np.minimum(scaled.astype(np.int32), N_BINS - 1)
            bins += np.arange(len(flat), dtype=np.int32)[:, None] * N_BINS
            found = np.bincount(bins[flat > 0], minlength=len(flat) * N_BINS)
            with self.lock:
                self.histogram[node.id] = self.histogram.get(node.id, 0) + found
                self.n_seen[node.id] = self.n_seen.get(node.id, 0) + flat.shape[1]
        return value


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
    network: ANNGraph, x: npt.NDArray[np.generic], *, advance: Advance = no_progress
) -> Calibration:
    """Run the network over the samples twice: once for the peaks, once for the histograms.

    Args:
        network: a network without max pools.
        x: (N, *sample shape).
        advance: progress callback, in samples; each sample counts twice.
    """
    collector, operators = _Collector(_functions(network)), Reproducible(network, x)
    for hook in (collector.peaks, collector.histograms):
        evaluate(
            network,
            x,
            hook=hook,
            operators=operators,
            advance=advance,
            piece_bytes=PIECE_BYTES,
        )
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
        {key: _range(values) for key, values in network.inputs.split(x).items()},
        len(x),
        collector.ranges,
    )


def _range(x: npt.NDArray[np.generic]) -> tuple[Float, Float]:
    """Smallest and largest value of an input (N, C, ...) per entry of its first axis, and 0."""
    by_channel = x.astype(np.float64).reshape(len(x), x.shape[1], -1)
    low, high = by_channel.min(axis=(0, 2)), by_channel.max(axis=(0, 2))
    return np.minimum(low, 0), np.maximum(high, 0)
