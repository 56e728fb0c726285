"""Threshold balancing: the activation represented by each channel's largest spike count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from snn_compile.convert.calibrate import Activations, Calibration
from snn_compile.convert.isolate_operands import WIRING
from snn_compile.convert.l4_norm import l4_norm
from snn_compile.convert.linear import Float
from snn_compile.convert.local_balance import local_balance
from snn_compile.ir import ann
from snn_compile.ir.expression import X, evaluate
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products
from snn_compile.numerics.functions import exp, geometric
from snn_compile.options import percentile_of

N_CANDIDATES = 112
"""Full scales tried by ``mmse``."""
MAX_HEADROOM, MIN_SHARE = 2.0, 0.05
"""The largest and the smallest of them, as multiples of the peak."""
FACTOR_HEADROOM = 1.5
"""Headroom of normalization factors, for statistics below those of the calibration set."""
PRIOR = 8
"""Weight of the layer's mean excess, in observations of a channel."""
TAIL_SHARE, TAIL_COUNTS = 0.02, (8, 64)
"""Share of the observations in a channel's tail, and the bounds of their number."""


def balance_thresholds(
    network: ANNGraph,
    calibration: Calibration,
    method: Callable[[NodeId], str],
    *,
    levels: int,
    per_layer: bool = False,
    payloads: bool = True,
) -> dict[NodeId, Float]:
    """Full scale per channel of every rectifier: its largest representable activation.

    Args:
        network: the calibrated network.
        calibration: its statistics.
        method: ``mmse``, ``max``, ``l4``, ``lbs`` or ``percentile:P`` for each rectifier.
            ``spike-norm`` needs a simulation and starts from ``max`` (see ``spike_norm``).
        levels: activations are multiples of full scale / levels.
        per_layer: one value for all channels of a layer.
        payloads: whether messages have payloads, which some layers have wider than others.

    Returns:
        (C,) positive values, at most the cap (ReLU6).
    """
    scales: dict[NodeId, Float] = {}
    statistics, picked = _with_peers(network, calibration), _picked(network)
    for node in network.graph:
        if not isinstance(node, ann.Activation) or node.like is not None:
            continue
        if node.full_scale is not None and node.on_own_grid(levels):
            channels = maps_shape(node.shape)[0]
            scales[node.id] = np.broadcast_to(node.full_scale, channels).astype(np.float64)
            continue
        activations = statistics[node.id]
        most = node.finest(levels) if payloads else levels
        if per_layer or node.uniform:
            activations = _merged(activations)
        if _is_factor(node):
            at_0 = float(evaluate(node.expression, np.zeros((1, 1)))[0, 0])
            scale = _least_share(activations, most, at_0)
        else:
            scale = _full_scale(activations, method(node.id), most)
        if node.id in picked and method(node.id) == "mmse":
            scale = np.maximum(scale, activations.peak)
        scale = np.broadcast_to(scale, calibration.activations[node.id].peak.shape).copy()
        scales[node.id] = _alive(scale)
        if isinstance(node, ann.Relu) and node.cap is not None:
            scales[node.id] = np.minimum(scales[node.id], node.cap)
    return shared_scales(network, scales)


def shared_scales(network: ANNGraph, scales: Mapping[NodeId, Float]) -> dict[NodeId, Float]:
    """The scales of all activations: one for all channels of some, for others another's.

    Args:
        network: the network.
        scales: (C,) of every activation; those of activations that take another's are not read.
    """
    activations = [node for node in network.graph if isinstance(node, ann.Activation)]
    found: dict[NodeId, Float] = {}
    for node in sorted(activations, key=lambda node: node.like is not None):
        scale = scales[node.id] if node.like is None else found[node.like]
        if node.uniform:  # so is the one it takes, possibly with fewer channels
            scale = np.full(maps_shape(node.shape)[0], scale.max())
        found[node.id] = scale
    return found


def _picked(network: ANNGraph) -> set[NodeId]:
    """Scales of what a max pool picks and hands to an output as it is.

    The squared error over all activations is small where few are clipped. But these few are the
    largest, which is what a pool picks, and behind it nothing is left that would average over them.
    """
    found: set[NodeId] = set()
    for output in network.outputs:
        compared: Counter[NodeId] = Counter()
        ahead, seen = list(output.inputs), set[NodeId]()
        while ahead:
            node = network.graph[ahead.pop()]
            if node.id in seen:
                continue
            seen.add(node.id)
            if isinstance(node, ann.Activation):
                compared.update([node.like] if node.like is not None else [])
            elif isinstance(node, WIRING | ann.Add | ann.Affine | ann.Concat):
                ahead.extend(node.inputs)
        found |= {owner for owner, rectifiers in compared.items() if rectifiers > 1}
    return found


def _is_factor(node: ann.Activation) -> TypeGuard[ann.Function]:
    """Whether a value is a normalization factor, whose relative error counts."""
    wide = bool(node.payload_bits) and node.peers is None
    return isinstance(node, ann.Function) and wide and node.expression != X


def _full_scale(activations: Activations, method: str, levels: int) -> Float:
    percentile = percentile_of(method)
    if method == "mmse":
        return least_error(activations, levels)
    if method == "lbs":
        return local_balance(activations)
    if method == "l4":
        return l4_norm(activations)
    if percentile is not None:
        return _percentile(activations, percentile)
    return activations.peak


def least_error(activations: Activations, levels: int) -> Float:
    """Full scale that minimizes the mean squared error of rounding onto the levels and clipping.

    ``argmin_s E (x - s/levels * clip(floor(x * levels/s + 1/2), 0, levels))**2`` (Li et al. 2021,
    with rounding). Within the range the error of a histogram bin is the mean over the bin of the
    squared rounding error, so that many levels (finer than the bins) cost their ``step**2 / 12``
    too.

    Few samples underestimate the tail: a neuron of a dense layer has one activation per sample, and
    the largest of a thousand will be exceeded in use. The tail beyond the highest few observations
    is therefore modelled as exponential, with their mean excess (shrunk towards the layer's, for
    neurons that rarely fired), and candidates extend beyond the peak.
    """
    centers, counts = activations.centers, activations.histogram.astype(np.float64)
    tail = _Tail.of(centers, counts)
    body = np.where(centers > tail.start[:, None], 0.0, counts)
    factors = geometric(MAX_HEADROOM, MIN_SHARE, N_CANDIDATES)
    trials = activations.peak[:, None] * factors
    steps = np.maximum(trials, np.finfo(np.float64).tiny) / levels
    # In units of its peak, every channel has the same bins and the same candidates.
    spreads = np.stack([_spread(counts.shape[1], factor / levels, levels) for factor in factors])
    errors = activations.peak[:, None] ** 2 * products.matmul(body, np.ascontiguousarray(spreads.T))
    errors += tail.error(trials.T, steps.T).T
    best: Float = trials[np.arange(len(trials)), errors.argmin(axis=1)]
    return best


def _least_share(activations: Activations, levels: int, at_0: float) -> Float:
    """Full scale that minimizes the mean squared relative error, for normalization factors.

    The larger a factor, the smaller its multiplicand. A factor for a statistic of 0 multiplies
    zeros, so it is excluded.
    """
    centers, counts = activations.centers, activations.histogram.astype(np.float64)
    if np.isfinite(at_0) and at_0 > 0:
        counts = counts * np.clip(1.0 - (centers / at_0) ** 2, 1e-9, 1.0)
    best, least = activations.peak.copy(), np.full(len(centers), np.inf)
    smallest = np.maximum(centers, np.finfo(np.float64).tiny)
    for factor in geometric(1.0, 2.0**-10, N_CANDIDATES):
        scale = activations.peak * factor
        clipped = np.maximum(1.0 - scale[:, None] / smallest, 0.0) ** 2
        rounded = (scale[:, None] / levels / smallest) ** 2 / 12.0
        error = products.total(counts * np.where(clipped > 0, clipped, rounded), axis=1)
        better = error < least
        best[better], least[better] = scale[better], error[better]
    return best * FACTOR_HEADROOM


def _spread(n_bins: int, step: float, levels: int) -> Float:
    """Mean squared error of each bin from 0 to 1 when rounded to multiples of a step, clipped."""
    centers = (np.arange(n_bins) + 0.5) / n_bins
    steps = np.minimum(np.floor(centers / step + 0.5), levels)
    # A bin wider than a step covers all phases of the rounding error, a narrow one a single phase.
    if 1 / n_bins > step:
        return np.where(steps < levels, step * step / 12, (centers - steps * step) ** 2)
    error: Float = (centers - steps * step) ** 2
    return error


@dataclass(frozen=True, eq=False)
class _Tail:
    """The highest observations of each channel, as an exponential distribution.

    Attributes:
        start: where the tail begins.
        excess: mean distance from there.
        count: observations in it.
    """

    start: Float
    excess: Float
    count: Float

    @staticmethod
    def of(centers: Float, counts: Float) -> _Tail:
        from_above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        wanted = np.clip(TAIL_SHARE * from_above[:, :1], *TAIL_COUNTS)
        in_tail = from_above <= np.maximum(wanted, from_above[:, -1:])
        first = in_tail.argmax(axis=1)
        start = np.where(first > 0, centers[np.arange(len(centers)), first - 1], 0.0)
        held = np.where(in_tail, counts, 0.0)
        count = held.sum(axis=1)
        excess = np.maximum(products.total(held * centers, axis=1) - count * start, 0.0)
        typical = products.total(excess, axis=0) / max(float(count.sum()), 1.0)
        own = excess / np.maximum(count, 1)
        share = PRIOR / (PRIOR + from_above[:, 0])
        return _Tail(start, (1 - share) * own + share * typical, count)

    def error(self, scale: Float, step: Float) -> Float:
        """Expected squared error of clipping (and rounding) the tail, summed; (..., C) as given."""
        excess = np.maximum(self.excess, np.finfo(np.float64).tiny)
        room = scale - self.start
        left = exp(-np.maximum(room, 0) / excess)  # of the tail beyond the scale
        beyond = 2 * excess**2 * left
        short = np.maximum(-room, 0)
        clipped = np.where(room >= 0, beyond, short**2 + 2 * short * excess + 2 * excess**2)
        rounded = np.where(room > 0, 1 - left, 0.0) * step**2 / 12
        total: Float = self.count * (clipped + rounded)
        return total


def _percentile(activations: Activations, percentile: float) -> Float:
    """Percentile of the positive activations, by linear position in the histogram."""
    cumulative = activations.histogram.cumsum(axis=1)
    target = cumulative[:, -1:] * (percentile / 100)
    reached = (cumulative >= target).argmax(axis=1)
    scale: Float = (reached + 1) / activations.histogram.shape[1] * activations.peak
    return scale


def _with_peers(network: ANNGraph, calibration: Calibration) -> dict[NodeId, Activations]:
    """Statistics of each activation; of peers those of all of them."""
    found = dict(calibration.activations)
    groups: dict[str, list[NodeId]] = {}
    for node in network.graph:
        if isinstance(node, ann.Activation) and node.peers is not None:
            groups.setdefault(node.peers, []).append(node.id)
    for members in groups.values():
        found |= dict.fromkeys(members, _pooled([found[name] for name in members]))
    return found


def _pooled(peers: Sequence[Activations]) -> Activations:
    """Statistics of several layers as one, channel by channel, in bins up to the largest peak."""
    n_bins = peers[0].histogram.shape[1]
    peak = np.maximum.reduce([one.peak for one in peers])
    counts = np.zeros((len(peak), n_bins), np.int64)
    row = np.arange(len(peak))[:, None] * n_bins
    for one in peers:
        ratio = one.centers / np.maximum(peak, np.finfo(np.float64).tiny)[:, None]
        bins = np.minimum((ratio * n_bins).astype(np.int64), n_bins - 1)
        weights = one.histogram.ravel()
        total = np.bincount((bins + row).ravel(), weights, counts.size)
        counts += total.astype(np.int64).reshape(counts.shape)
    return Activations(peak, counts, sum(one.n_seen for one in peers))


def _merged(activations: Activations) -> Activations:
    """One layer as one channel: histograms resampled onto the bins of the largest peak."""
    n_bins = activations.histogram.shape[1]
    peak = activations.peak.max(keepdims=True)
    ratio = activations.centers / np.maximum(peak, np.finfo(np.float64).tiny)
    bins = np.minimum((ratio * n_bins).astype(np.int64), n_bins - 1)
    counts = np.bincount(bins.ravel(), activations.histogram.ravel(), n_bins).astype(np.int64)
    return Activations(peak, counts[None], len(ratio) * activations.n_seen)


def _alive(scale: Float) -> Float:
    """Channels that never fired get the layer's median, so that unseen activations survive."""
    firing = scale > 0
    typical = float(np.median(scale[firing])) if firing.any() else 1.0
    return np.where(firing, scale, typical)
