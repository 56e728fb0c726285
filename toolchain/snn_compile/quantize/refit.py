"""Least squares for a layer that does not see what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.spiking import Float
from snn_compile.numerics import products
from snn_compile.numerics.factors import solve

RIDGE = 0.03
"""Pull towards the given weights, relative to the power of what each weight reads."""
FLOOR = 0.01
"""Least power of what a weight reads, relative to the mean: silent inputs teach nothing."""


Real = npt.NDArray[np.floating]
Chosen = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of what some neurons read, on two halves of the samples.

    Whole samples go together, since positions of one sample resemble each other: half of them would
    not show what is due to the other half's chance.

    Attributes:
        halves: sums of products of the K inputs and a constant 1, (K + 1, K + 1) float64 each.
        parts: which receptive fields belong to each half, (S,) each.
    """

    halves: tuple[Float, Float]
    parts: tuple[Chosen, Chosen]

    @staticmethod
    def of(columns: Int, samples: Int) -> Moments:
        """Of receptive fields (K, S); samples of one parity go into one half."""
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
    """Change of the weights that makes up for what a layer's drive is missing.

    With ``x`` the receptive fields as they are now, and ``d`` the wanted drive less the one that
    the given weights make of ``x``, the change is the ridge regression of ``d`` on ``x`` (with a
    free constant, which the bias will take)::

        argmin_v E (d - v x - c)**2 + sum_i r E(x_i**2) v_i**2

    ``d`` holds the errors of all layers before; part of them can be told from ``x``. (Matching the
    outputs on the original inputs from the changed ones is the "asymmetric" reconstruction of
    Zhang et al. 2016, arXiv 1505.06798.)

    Each neuron takes only the share of its change that pays on samples it was not fitted on: the
    fit of one half of the samples is tried on the other, both ways.

    Args:
        columns: (K, S) receptive fields.
        missing: (R, S) wanted drive less present drive.
        moments: of the fields.

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
    """Regression coefficients (R, K); the last input is a constant and not pulled to 0.

    The fewer fields there are for each weight, the stronger the pull.
    """
    power = np.diag(moments)[:-1]
    n_weights = len(power)
    if not n_fields or not power.any():
        return np.zeros_like(cross)
    power = np.maximum(power, FLOOR * products.mean(power, axis=0))
    pulled = moments.copy()
    pulled[np.arange(n_weights), np.arange(n_weights)] = power * (1 + RIDGE + n_weights / n_fields)
    return solve(pulled, np.ascontiguousarray(cross.T)).T
