"""Norms of the weights that drive a channel, plain or weighted by how much their sources vary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from snn_compile.convert.expand import Affine
from snn_compile.convert.linear import (
    Float,
    Kernel,
    LinearMap,
    Matrix,
    Sparse,
    Wiring,
    apply_map,
    sparse,
)
from snn_compile.ir.graph import NodeId
from snn_compile.numerics import products


def norm_of(
    method: str,
    incoming: Mapping[NodeId, LinearMap],
    channels: int,
    variance: Callable[[NodeId], Float] | None = None,
) -> Float:
    """Norm of each channel's incoming weights; of a channel's neurons, their mean power.

    Args:
        method: ``l4``, ``l2``, or ``data`` with a variance.
        incoming: the weights of each source.
        channels: number of channels.
        variance: of each neuron of a source.
    """
    exponent = 4 if method == "l4" else 2
    powers = [
        _fan_in(powered(weights, exponent))
        if variance is None
        else apply_map(powered(weights, exponent), variance(source))
        for source, weights in incoming.items()
    ]
    mean = products.mean(np.sum(powers, axis=0).reshape(channels, -1), axis=1)
    norm: Float = np.sqrt(np.maximum(mean, 0))
    return np.sqrt(norm) if exponent == 4 else norm


def by_source(drive: Affine) -> dict[NodeId, LinearMap]:
    """The weights of each source. Weights of a source that is read twice add up."""
    found: dict[NodeId, LinearMap] = {}
    for term in drive.terms:
        weights = term.map
        if term.source in found:
            both = sparse(found[term.source]) + sparse(weights)
            weights = Sparse(weights.source, weights.target, both)
        found[term.source] = weights
    return found


def powered(weights: LinearMap, exponent: int) -> LinearMap:
    """Every weight ``w`` raised to ``exponent``, 2 or 4."""
    match weights:
        case Kernel() | Matrix():
            return replace(weights, weight=_even_power(weights.weight.astype(np.float64), exponent))
        case Sparse():
            powered = weights.matrix.copy()
            powered.data = _even_power(powered.data, exponent)
            return replace(weights, matrix=powered)
        case Wiring():
            return weights  # ones


def _even_power(x: Float, exponent: int) -> Float:
    square: Float = x * x
    return square * square if exponent == 4 else square


def _fan_in(weights: LinearMap) -> Float:
    """Sum of each neuron's incoming weights, or of each kernel's."""
    match weights:
        case Kernel():
            kernels = products.total(weights.weight.reshape(len(weights.weight), -1), axis=1)
            return np.repeat(kernels, prod(weights.maps[1:]))
        case Matrix():
            return products.total(weights.weight, axis=1)
        case Sparse() | Wiring():
            sums: Float = np.asarray(sparse(weights).sum(axis=1), np.float64)
            return sums
