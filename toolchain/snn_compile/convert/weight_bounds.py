"""Statistics for a network without calibration samples: what its weights alone allow."""

from __future__ import annotations

import numpy as np

from snn_compile.convert.calibrate import N_BINS, Activations, Calibration
from snn_compile.convert.expand import Affine, expand, maps_shape
from snn_compile.convert.linear import Float, scale_sources, sparse
from snn_compile.convert.piecewise import extremes
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph

LARGEST_RANGE = 1e30
"""Of an argument of a function, up and down."""
SMALLEST_PEAK, LARGEST_PEAK = 1e-100, 1e100
"""Between which bounds are of use; those of deep networks grow with every layer."""


def weight_bounds(network: ANNGraph, *, low: float = 0.0, high: float = 1.0) -> Calibration:
    """Peaks by interval arithmetic, for inputs between ``low`` and ``high``.

    Every activation lies below its peak, but far below it in a deep network: the bound adds up the
    worst case of every layer, and resolution is lost in proportion.
    """
    channels = network.input.shape[0]
    peaks: dict[NodeId, Float] = {network.input.id: np.full(channels, max(high, 0.0))}
    lows = {network.input.id: np.full(channels, min(low, 0.0))}
    activations: dict[NodeId, Activations] = {}
    ranges: dict[NodeId, tuple[Float, Float]] = {}
    for node_id, drive in expand(network).items():
        node = network.graph[node_id]
        if isinstance(node, ann.Product):
            peaks[node_id] = _largest_product(node, drive, peaks, lows)
            lows[node_id] = -peaks[node_id] * (not node.non_negative)
            activations[node_id] = _at(peaks[node_id])
            continue
        if not isinstance(node, ann.Activation):
            continue
        shape = maps_shape(node.shape)
        total = drive.constant.astype(np.float64).ravel().copy()
        least = total.copy()
        for term in drive.terms:
            units = peaks[term.source]
            matrix = sparse(scale_sources(term.map, units))
            floor = lows.get(term.source)
            total += matrix.maximum(0).sum(axis=1)
            if floor is not None:
                total += -sparse(scale_sources(term.map, -floor)).minimum(0).sum(axis=1)
            if isinstance(node, ann.Function):
                least += matrix.minimum(0).sum(axis=1)
                if floor is not None:
                    least -= sparse(scale_sources(term.map, -floor)).maximum(0).sum(axis=1)
        peak = np.maximum(total.reshape(shape[0], -1).max(axis=1), 0)
        if isinstance(node, ann.Function):
            reach = least.reshape(shape[0], -1).min(axis=1), total.reshape(shape[0], -1).max(axis=1)
            smallest, largest = (np.clip(end, -LARGEST_RANGE, LARGEST_RANGE) for end in reach)
            ranges[node_id] = smallest, largest
            lows[node_id], peak = extremes(node.expression, *ranges[node_id])
            peak = np.maximum(peak, -lows[node_id])
        if isinstance(node, ann.Relu) and node.cap is not None:
            peak = np.minimum(peak, node.cap)
        peaks[node_id] = np.where(peak > SMALLEST_PEAK, np.minimum(peak, LARGEST_PEAK), 1.0)
        activations[node_id] = _at(peaks[node_id])
    return Calibration(
        activations, lows[network.input.id], np.full(channels, max(high, 0.0)), 0, ranges
    )


def _at(peak: Float) -> Activations:
    """One value in each channel, at its peak."""
    histogram = np.zeros((len(peak), N_BINS), np.int64)
    histogram[:, -1] = 1
    return Activations(peak, histogram, 1)


def _largest_product(
    node: AnnNode, drive: Affine, peaks: dict[NodeId, Float], lows: dict[NodeId, Float]
) -> Float:
    """Largest magnitude of a product of two populations' values, per channel."""
    n_channels = maps_shape(node.shape)[0]
    largest = np.ones(n_channels)
    for term in drive.terms:
        peak = peaks[term.source]
        most = np.maximum(peak, -lows.get(term.source, 0 * peak))
        row = sparse(scale_sources(term.map, most)).sum(axis=1)
        largest = largest * np.asarray(row).reshape(n_channels, -1).max(axis=1)
    return np.where(largest > SMALLEST_PEAK, np.minimum(largest, LARGEST_PEAK), 1.0)
