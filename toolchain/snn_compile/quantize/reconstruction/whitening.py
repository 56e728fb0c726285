"""Coordinates of a layer's weights in which their inputs are hardly correlated.

The inputs of a neuron are counts of neighbouring neurons: none is negative, and most rise and fall
together. A gradient step then moves what they have in common too far and their differences hardly
at all. With ``A`` the moments of the inputs and ``A = L L'``, the coordinates ``V = W L`` of the
weights have inputs ``L^-1 x`` whose moments are the identity, and a step in ``V`` is one for the
neuron's output: natural gradient descent for the inputs' half of the curvature (Desjardins et al.
2015, "Natural neural networks"; Martens and Grosse 2015, "K-FAC").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from snn_compile.numerics import products
from snn_compile.numerics.factors import cholesky, inverse_of_lower
from snn_compile.numerics.products import Float
from snn_compile.quantize.fit_layer import Fields

DAMPING = 0.3
"""Added to the diagonal of the moments, relative to its mean."""
MOST_INPUTS = 1024
"""Weights of a neuron; with more, products with the factors cost more than they win."""
FEW = 32
"""Inputs up to which the factors of several neurons are applied at once."""

Factors = Float | list[products.Columns]


@dataclass(frozen=True, eq=False)
class Whitening:
    """Factors of the moments of the inputs of a group's weights (R, K).

    Attributes:
        lower: (G, K, K) with ``lower @ lower.T`` the damped moments of each stretch of rows.
        inverse: (G, K, K) its inverse.
    """

    lower: Float
    inverse: Float

    @staticmethod
    def of(fields: Iterable[Fields]) -> Whitening | None:
        """That of receptive fields; None if there are too many inputs, or silent ones alone.

        Args:
            fields: stretches of rows, equally long, in order, with the moments of their inputs.
        """
        lowers: list[Float] = []
        for _, moments in fields:
            seen = np.add(*moments.halves)[:-1, :-1] / sum(moments.sizes)
            mean = products.mean(np.diag(seen), axis=0)
            if len(seen) > MOST_INPUTS or not mean > 0:
                return None
            lowers.append(cholesky(seen + DAMPING * mean * np.eye(len(seen))))
        inverses = [inverse_of_lower(lower) for lower in lowers]
        return Whitening(np.stack(lowers), np.stack(inverses)) if lowers else None

    def slope(self, slope: Float) -> Float:
        """Gradient (R, K) of the coordinates, given that of the weights."""
        return _times(slope, self._back)

    def weights(self, coordinates: Float) -> Float:
        """Weights (R, K) of these coordinates."""
        return _times(coordinates, self._forth)

    def scale(self, weight: Float) -> Float:
        """Root mean square of each row's coordinates, (R, 1)."""
        square = np.square(_times(weight, _factors(self.lower)))
        return np.sqrt(products.mean(square, axis=1))[:, None]

    @cached_property
    def _forth(self) -> Factors:
        return _factors(self.inverse)

    @cached_property
    def _back(self) -> Factors:
        return _factors(self.inverse.swapaxes(1, 2))


def _factors(matrices: Float) -> Factors:
    """What is multiplied with often, (G, K, K), for :func:`_times`."""
    if matrices.shape[1] <= FEW:
        return matrices
    return [products.Columns.of(matrix, slices=1) for matrix in matrices]


def _times(rows: Float, factors: Factors) -> Float:
    """Rows (R, K) times the factor of their stretch."""
    stretches = rows.reshape(len(factors), -1, rows.shape[1])
    if isinstance(factors, list):
        pairs = zip(stretches, factors, strict=True)
        return np.stack([products.matmul(a, b) for a, b in pairs]).reshape(rows.shape)
    found = np.zeros_like(stretches)
    for k in range(rows.shape[1]):
        found += stretches[:, :, k, None] * factors[:, None, k]
    return found.reshape(rows.shape)
