"""Statistics for a network without calibration samples: bounds from its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from snn_compile.convert.calibrate import N_BINS, Activations, Calibration
from snn_compile.convert.expand import Affine, drives_of
from snn_compile.convert.linear import (
    Float,
    Index,
    Kernel,
    LinearMap,
    Matrix,
    Weights,
    Wiring,
    apply_map,
    sparse,
)
from snn_compile.convert.piecewise import extremes
from snn_compile.convert.reach import PIECE
from snn_compile.ir import ann
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products

MAX_RANGE = 1e30
"""Bound of a function's argument, up and down."""
MIN_PEAK, MAX_PEAK = 1e-100, 1e100
"""Range of useful bounds; those of deep networks grow with every layer."""


@dataclass(frozen=True, eq=False)
class _Range:
    """Range of values of each channel of a population; always includes 0.

    Attributes:
        low: (C,), not positive.
        high: (C,), not negative.
    """

    low: Float
    high: Float

    def at(self, index: Index) -> _Range:
        """The ranges of some channels."""
        return _Range(self.low[index], self.high[index])

    def times(self, weight: Weights) -> Float:
        """The largest product with weights, element by element."""
        most = np.maximum(weight, 0, dtype=np.float64)
        most *= self.high
        if self.low.any():
            np.maximum(most, weight * self.low, out=most)
        return most

    @property
    def mirror(self) -> _Range:
        """The range of the negated values."""
        return _Range(-self.high, -self.low)

    @property
    def magnitude(self) -> Float:
        """The largest absolute value of each channel."""
        return np.maximum(self.high, -self.low)

    def of_neurons(self, n: int) -> _Range:
        """The same for each of n neurons."""
        each = n // len(self.high)
        return _Range(np.repeat(self.low, each), np.repeat(self.high, each))


def weight_bounds(network: ANNGraph, *, low: float = 0.0, high: float = 1.0) -> Calibration:
    """Peaks by interval arithmetic, for inputs between ``low`` and ``high``.

    Every activation lies below its peak, far below it in a deep network: the bound adds up the
    worst case of every layer, and resolution is lost in proportion.
    """
    ends = min(low, 0.0), max(high, 0.0)
    given = {
        node.id: (np.full(node.shape[0], ends[0]), np.full(node.shape[0], ends[1]))
        for node in network.inputs
    }
    ranges = {key: _Range(*values) for key, values in given.items()}
    arguments: dict[NodeId, tuple[Float, Float]] = {}
    activations: dict[NodeId, Activations] = {}
    for node_id, drive in drives_of(network):
        node = network.graph[node_id]
        if not isinstance(node, ann.Activation):
            continue
        if isinstance(node, ann.Function):
            reached = _least(node, drive, ranges), _most(node, drive, ranges)
            low_end, high_end = (np.clip(end, -MAX_RANGE, MAX_RANGE) for end in reached)
            arguments[node_id] = low_end, high_end
            found = _Range(*extremes(node.expression, *arguments[node_id]))
        elif isinstance(node, ann.Product):
            most = _largest_product(node, drive, ranges)
            found = _Range(-most * (not node.non_negative), most)
        else:
            found = _Range(np.zeros(1), _most(node, drive, ranges))
        if isinstance(node, ann.Relu) and node.cap is not None:
            found = _Range(found.low, np.minimum(found.high, node.cap))
        if node.full_scale is not None:
            found = _Range(
                np.maximum(found.low, -node.full_scale), np.minimum(found.high, node.full_scale)
            )
        ranges[node_id] = _in_use(found)
        activations[node_id] = _at(ranges[node_id].magnitude)
    return Calibration(activations, given, 0, arguments)


def _in_use(found: _Range) -> _Range:
    """A range that includes 0, within useful bounds; 1 for silent channels."""
    low, high = np.minimum(found.low, 0), np.maximum(found.high, 0)
    silent = np.maximum(high, -low) <= MIN_PEAK
    high = np.where(silent, 1.0, np.minimum(high, MAX_PEAK))
    return _Range(np.broadcast_to(np.maximum(low, -MAX_PEAK), high.shape), high)


def _at(peak: Float) -> Activations:
    """One value in each channel, at its peak."""
    one = np.zeros(N_BINS, np.int64)
    one[-1] = 1
    return Activations(peak, np.broadcast_to(one, (len(peak), N_BINS)), 1)


def _most(node: ann.Activation, drive: Affine, ranges: dict[NodeId, _Range]) -> Float:
    """The largest argument of a channel's neurons, (C,)."""
    found: Float = _largest(drive, ranges).reshape(maps_shape(node.shape)[0], -1).max(axis=1)
    return found


def _least(node: ann.Activation, drive: Affine, ranges: dict[NodeId, _Range]) -> Float:
    """The smallest argument of a channel's neurons, (C,)."""
    mirrored = {name: found.mirror for name, found in ranges.items()}
    return -_most(node, replace(drive, constant=-drive.constant), mirrored)


def _largest_product(node: ann.Product, drive: Affine, ranges: dict[NodeId, _Range]) -> Float:
    """Largest magnitude of a product of two populations' values, per channel."""
    largest = np.ones(maps_shape(node.shape)[0])
    for term in drive.terms:
        magnitude = ranges[term.source].magnitude
        reached = _most_of(term.map, _Range(0 * magnitude, magnitude))
        largest = largest * reached.reshape(len(largest), -1).max(axis=1)
    return largest


def _largest(drive: Affine, ranges: dict[NodeId, _Range]) -> Float:
    """The largest value of each neuron before it rectifies, flat."""
    total = np.array(drive.constant, np.float64).ravel()
    for term in drive.terms:
        total += _most_of(term.map, ranges[term.source])
    return total


def _most_of(linear: LinearMap, given: _Range) -> Float:
    """The largest contribution of a map to each of its targets, flat."""
    match linear:
        case Kernel():
            if linear.source[0] == len(given.high):
                return _most_of_kernel(linear, given).ravel()
            each = given.of_neurons(prod(linear.source))
            rising = replace(linear, weight=np.maximum(linear.weight, 0))
            falling = replace(linear, weight=np.minimum(linear.weight, 0))
            return apply_map(rising, each.high) + apply_map(falling, each.low)
        case Wiring():
            each = given.of_neurons(prod(linear.source))
            return np.where(linear.index >= 0, each.high[linear.index], 0.0)
        case Matrix():
            each = given.of_neurons(prod(linear.source))
            return _most_of_rows(linear.weight, lambda part: each)
    each, matrix = given.of_neurons(prod(linear.source)), sparse(linear)
    read = matrix.indices
    most = _Range(each.low[read], each.high[read]).times(matrix.data)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.bincount(rows, most, matrix.shape[0]).astype(np.float64, copy=False)


def _most_of_kernel(kernel: Kernel, given: _Range) -> Float:
    """The largest contribution of a convolution of whole channels, (O, H', W').

    Taps beyond a border add nothing, so positions with the same taps are equal.
    """
    n_out, per_group, kh, kw = kernel.weight.shape
    read = kernel.geometry.channels_read(n_out, per_group)[:, :, None, None]
    if kernel.geometry.groups == 1:
        read = read[:1]
    by_tap = _most_of_rows(
        kernel.weight, lambda part: given.at(read if len(read) == 1 else read[part])
    )
    (rows, at_row), (columns, at_column) = (
        np.unique(_inside(kernel, axis), axis=0, return_inverse=True) for axis in (0, 1)
    )
    alike = np.zeros((n_out, len(rows), len(columns)))
    for a in range(kh):
        for b in range(kw):
            alike += by_tap[:, a, b, None, None] * np.logical_and.outer(rows[:, a], columns[:, b])
    found: Float = alike[:, at_row][:, :, at_column]
    return found


def _most_of_rows(weight: Weights, reads: Callable[[slice], _Range]) -> Float:
    """The largest sum of the rows of a matrix, or of the taps of a kernel."""
    rows = max(PIECE // max(prod(weight.shape[1:]), 1), 1)
    parts = [slice(start, start + rows) for start in range(0, len(weight), rows)]
    pieces = [products.total(reads(part).times(weight[part]), axis=1) for part in parts]
    return np.concatenate(pieces)


def _inside(kernel: Kernel, axis: int) -> npt.NDArray[np.bool_]:
    """(outputs, taps): whether a tap of a row or a column lies inside the map, not in padding."""
    geometry, taps = kernel.geometry, kernel.weight.shape[2 + axis]
    out = np.arange(kernel.maps[1 + axis]) * geometry.stride[axis] - geometry.padding[axis]
    at = out[:, None] + np.arange(taps) * geometry.dilation[axis]
    inside: npt.NDArray[np.bool_] = (at >= 0) & (at < kernel.source[1 + axis])
    return inside
