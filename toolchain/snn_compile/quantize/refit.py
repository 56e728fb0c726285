"""Least squares for a layer whose input differs from that in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.spiking import Float
from snn_compile.numerics import products
from snn_compile.numerics.factors import solve

RIDGE = 0.03
"""Regularization towards the given weights, relative to the power of each weight's input."""
FLOOR = 0.01
"""Least power of a weight's input, relative to the mean: silent inputs carry no information."""


Real = npt.NDArray[np.floating]
Chosen = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of some neurons' inputs, on two halves of the samples.

    Samples are not divided, since positions of one sample are correlated: a half would not be
    independent of the other.

    Attributes:
        halves: sums of products of the K inputs and a constant 1, (K + 1, K + 1) float64 each.
        parts: receptive fields of each half, (S,) each.
    """

    halves: tuple[Float, Float]
    parts: tuple[Chosen, Chosen]

    @staticmethod
    def of(columns: Int, samples: Int) -> Moments:
        """Moments of receptive fields (K, S); samples of one parity form one half."""
        parts = (samples % 2 == 0, samples % 2 == 1)
        fields = np.concatenate([columns, np.ones_like(columns[:1])])
        first, second = (products.gram(fields[:, part]) for part in parts)
        return Moments((first, second), parts)

    @property
    def sizes(self) -> tuple[int, int]:
        """Receptive fields in each half."""
        first, second = self.parts
        return int(first.sum()), int(second.sum())


def refit(columns: Int, missing: Real, moments: Moments) -> Float:
    """Change of the weights that compensates the residual of a layer's drive.

    With ``x`` the current receptive fields, and ``d`` the target drive less the drive of the given
    weights on ``x``, the change is the ridge regression of ``d`` on ``x`` (with a free constant,
    left to the bias)::

        argmin_v E (d - v x - c)**2 + sum_i r E(x_i**2) v_i**2

    ``d`` contains the errors of all earlier layers; part of them depends on ``x``. (Matching the
    outputs on the original inputs from the changed ones is the "asymmetric" reconstruction of
    Zhang et al. 2016, arXiv 1505.06798.)

    Each neuron applies only the share of its change that generalizes: the fit of one half of the
    samples is validated on the other, both ways.

    Args:
        columns: (K, S) receptive fields.
        missing: (R, S) target drive less present drive.
        moments: moments of the fields.

    Returns:
        (R, K) in units of ``missing`` per unit of ``columns``.
    """
    cross = [_cross(missing[:, part], columns[:, part]) for part in moments.parts]
    gained, spent = np.zeros(len(missing)), np.zeros(len(missing))
    for own, other in ((0, 1), (1, 0)):
        change = _ridge(moments.halves[own], cross[own], moments.sizes[own])
        gained += products.total(cross[other] * change, axis=1)
        spent += products.total(products.matmul(change, moments.halves[other]) * change, axis=1)
    share = np.clip(gained / np.where(spent > 0, spent, 1.0), 0.0, 1.0)
    both = _ridge(np.add(*moments.halves), np.add(*cross), sum(moments.sizes))
    paying: Float = share[:, None] * both[:, :-1]
    return paying


def _cross(missing: Real, columns: Int) -> Float:
    """Sums over fields of products of (R, S) with (K, S) and a row of ones, (R, K + 1)."""
    by_field = products.times_integers(missing, columns.T)
    return np.column_stack([by_field, products.total(missing, axis=1)])


def _ridge(moments: Float, cross: Float, n_fields: int) -> Float:
    """Regression coefficients (R, K); the last input is a constant and not regularized.

    The fewer fields per weight, the stronger the regularization.
    """
    power = np.diag(moments)[:-1]
    n_weights = len(power)
    if not n_fields or not power.any():
        return np.zeros_like(cross)
    power = np.maximum(power, FLOOR * products.mean(power, axis=0))
    pulled = moments.copy()
    pulled[np.arange(n_weights), np.arange(n_weights)] = power * (1 + RIDGE + n_weights / n_fields)
    return solve(pulled, np.ascontiguousarray(cross.T)).T
