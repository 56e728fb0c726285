"""The float network with the same bits on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics.products import Float, bit_length, blas, linear, on_grid, peaks, total
from snn_compile.samples.rows import Rows
from snn_compile.sim import ann, kernels
from snn_compile.sim.kernels import Array

FIRST = 16
"""Samples for the magnitudes of channels: estimates rounded to powers of two."""
SINGLE_BITS, COARSE_BITS = 24, 10
"""Bits of the mantissa of float32, and of an input value in it."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer with weights, prepared.

    Attributes:
        kernels: the weights, for scaled inputs.
        scale: a power of two for each input channel, (C, 1, ...).
    """

    kernels: tuple[Float, ...]
    scale: Float


class Reproducible:
    """Operators whose values do not depend on processor, BLAS, threads or batch.

    Layers with weights are rounded so that their sums are exact (``numerics.products.linear``). An
    input value keeps 22 bits relative to the largest one of its sample, after channels of different
    range have been scaled alike, with inverse factors in the weights: scaling a channel by a power
    of two is exact. All other operators are element-wise.

    Args:
        network: the float network.
        x: (N, *input shape) samples; the first few give the magnitudes of channels.

    Attributes:
        layers: those with weights, prepared.
    """

    def __init__(self, network: ANNGraph, x: Rows) -> None:
        self.layers: dict[NodeId, _Layer] = {}
        ann.forward(network, ann.batch_last(x[:FIRST]), operators=self._prepare)

    def __call__(self, node: AnnNode, sources: Sequence[Array]) -> Array:
        """The value of a node from its sources, (*shape, B) each."""
        if isinstance(node, ops.Conv | ops.Dense):
            layer = self.layers[node.id]
            return apply_layer(node, layer.kernels, sources[0] * layer.scale, sources[0].dtype)
        return ann.apply(node, sources)

    def _prepare(self, node: AnnNode, sources: Sequence[Array]) -> Array:
        if isinstance(node, ops.Conv | ops.Dense):
            (x,) = sources
            read = _read(node)
            exponent = _exponents(x, node.weight, read)
            weight = np.ldexp(node.weight.astype(np.float64), exponent[read])
            scale = np.ldexp(1.0, -exponent).reshape(-1, *[1] * (x.ndim - 1))
            self.layers[node.id] = _Layer(on_grid(weight), scale)
        return self(node, sources)


class Coarse:
    """:class:`Reproducible` in float32 and a third of the time, where a rough value is enough.

    An input value keeps 10 bits relative to the largest one of its sample, and the magnitudes of a
    neuron's weights add up to 14: sums of products are exact.

    Args:
        exact: what it comes near.
    """

    def __init__(self, exact: Reproducible) -> None:
        self._layers = {
            name: (_coarse(layer.kernels[0]), layer.scale.astype(np.float32))
            for name, layer in exact.layers.items()
        }

    def __call__(self, node: AnnNode, sources: Sequence[Array]) -> Array:
        """The value of a node from its sources, (*shape, B) each."""
        if not isinstance(node, ops.Conv | ops.Dense):
            return ann.apply(node, sources)
        weight, scale = self._layers[node.id]
        x = sources[0].astype(np.float32, copy=False) * scale
        shift = np.ldexp(1.5, bit_length(peaks(x)) - COARSE_BITS + SINGLE_BITS - 1)
        x += shift.astype(np.float32)  # as products.rounded
        x -= shift.astype(np.float32)
        y = _product(node, weight, x)
        y += ann.column(node.bias, y)
        return y


def _coarse(weight: Float) -> Array:
    """Weights (O, ...) in float32, on a grid for each neuron on which they add up to 14 bits."""
    flat = weight.reshape(len(weight), -1)
    bits = SINGLE_BITS - COARSE_BITS
    unit = np.ldexp(1.0, bit_length(total(np.abs(flat), axis=1)) - bits)[:, None]
    nearest = np.rint(flat / unit)
    too_large = np.abs(nearest).sum(axis=1, keepdims=True) > 1 << bits
    found = unit * np.where(too_large, np.trunc(flat / unit), nearest)
    return found.reshape(weight.shape).astype(np.float32)


def _read(node: ops.Conv | ops.Dense) -> Int:
    """The input channel that each weight reads, broadcasts to the weights."""
    if isinstance(node, ops.Dense):
        return np.arange(node.weight.shape[1])[None]
    n_out, per_group = node.weight.shape[:2]
    return node.geometry.channels_read(n_out, per_group)[:, :, None, None]


def _exponents(x: Array, weight: ops.Float, read: Int) -> Int:
    """Powers of two just above the largest magnitudes of the channels of (C, ..., B).

    A channel that is silent in x gets the magnitude with which it would weigh as much as those
    that are not.
    """
    largest = np.abs(x.reshape(len(x), -1)).max(axis=1, initial=0)
    weighs = np.zeros(len(x))
    np.maximum.at(weighs, np.broadcast_to(read, weight.shape), np.abs(weight))
    exponent, power = (bit_length(values).astype(np.int64) for values in (largest, weighs))
    most = (exponent + power)[largest > 0].max(initial=0)
    return np.where(largest > 0, exponent, most - power)


def apply_layer(
    node: ops.Conv | ops.Dense, weights: tuple[Float, ...], x: Array, dtype: npt.DTypeLike
) -> Array:
    """A layer's value for weights in parts (``products.on_grid``), (*shape, B)."""
    y = linear(weights, x, partial(_product, node))
    y += ann.column(node.bias, y)
    return y.astype(dtype, copy=False)


def _product(node: ops.Conv | ops.Dense, kernel: Array, x: Array) -> Array:
    if isinstance(node, ops.Dense):
        found: Array = blas(kernel, x)
        return found
    return kernels.conv2d(x, kernel, node.geometry)
