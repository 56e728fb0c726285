"""Least squares for a layer that does not see what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.spiking import Float
from snn_compile.sim import kernels
from snn_compile.sim.kernels import Array

RIDGE = 0.03
"""Pull towards the given weights, relative to the power of what each weight reads."""
FLOOR = 0.01
"""Least power of what a weight reads, relative to the mean: silent inputs teach nothing."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of what some neurons read, on two halves of the samples.

    Attributes:
        halves: sums of products of the K inputs, (K, K) float64 each.
        sizes: receptive fields in each half.
    """

    halves: tuple[Float, Float]
    sizes: tuple[int, int]

    @staticmethod
    def of(columns: Array, samples: Int) -> Moments:
        """Of receptive fields (K, S); samples of one parity go into one half.

        Whole samples go together, since positions of one sample resemble each other: half of them
        would not show what is due to the other half's chance.
        """
        parts = [columns[:, samples % 2 == parity] for parity in (0, 1)]
        first, second = (_product(part, part) for part in parts)
        return Moments((first, second), (parts[0].shape[1], parts[1].shape[1]))

    @property
    def total(self) -> Float:
        """Of all samples, (K, K)."""
        return self.halves[0] + self.halves[1]


def refit(columns: Array, missing: Array, samples: Int) -> Float:
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
        samples: (S,) the sample of each field.

    Returns:
        (R, K) in units of ``missing`` per unit of ``columns``.
    """
    with_constant = np.concatenate([columns, np.ones((1, columns.shape[1]), columns.dtype)])
    moments = Moments.of(with_constant, samples)
    parts = [samples % 2 == parity for parity in (0, 1)]
    cross = [_product(missing[:, part], with_constant[:, part]) for part in parts]
    gained, spent = np.zeros(len(missing)), np.zeros(len(missing))
    for own, other in ((0, 1), (1, 0)):
        change = _ridge(moments.halves[own], cross[own], moments.sizes[own])
        gained += (cross[other] * change).sum(axis=1)
        spent += (change @ moments.halves[other] * change).sum(axis=1)
    share = np.clip(gained / np.where(spent > 0, spent, 1.0), 0.0, 1.0)
    both = _ridge(moments.total, cross[0] + cross[1], sum(moments.sizes))
    paying: Float = share[:, None] * both[:, :-1]
    return paying


def _product(a: Array, b: Array) -> Float:
    """Sums over fields of products, (A, B), of (A, S) and (B, S)."""
    product: Float = kernels.matmul(a, b.T).astype(np.float64)
    return product


def _ridge(moments: Float, cross: Float, n_fields: int) -> Float:
    """Regression coefficients (R, K); the last input is a constant and not pulled to 0.

    The fewer fields there are for each weight, the stronger the pull.
    """
    power = np.diag(moments)[:-1]
    n_weights = len(power)
    if not n_fields or not power.any():
        return np.zeros_like(cross)
    power = np.maximum(power, FLOOR * power.mean())
    pulled = moments.copy()
    pulled[np.arange(n_weights), np.arange(n_weights)] = power * (1 + RIDGE + n_weights / n_fields)
    return np.linalg.solve(pulled, cross.T).T.astype(np.float64)
