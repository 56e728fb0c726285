"""Least squares for a layer whose input differs from that in training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.spiking import Float
from snn_compile.numerics import products
from snn_compile.numerics.factors import cholesky, solve_factored, upper_factor_of_inverse
from snn_compile.numerics.products import Integers

RIDGE = 0.03
"""Regularization towards the given weights, relative to the power of each weight's input."""
FLOOR = 0.01
"""Least power of a weight's input, relative to the mean: silent inputs carry no information."""
DAMPING = 0.01
"""Added to the diagonal of moments whose inverse is factored, relative to it."""


Real = npt.NDArray[np.floating]


class Ridge:
    """A regression; the last input is a constant and not regularized.

    The fewer fields per weight, the stronger the regularization. The factor is computed once, for
    all that is regressed.

    Args:
        moments: sums of products of the inputs, (K + 1, K + 1).
        n_fields: receptive fields in them.
    """

    def __init__(self, moments: Float, n_fields: int) -> None:
        self._moments = moments
        self._n_fields = n_fields

    def coefficients(self, cross: Float) -> Float:
        """Coefficients (R, K + 1) of what has the sums of products ``cross`` with the inputs."""
        if self._factor is None:
            return np.zeros_like(cross)
        return solve_factored(self._factor, np.ascontiguousarray(cross.T)).T

    @cached_property
    def _factor(self) -> Float | None:
        """Of the regularized moments; None without any input."""
        power = np.diag(self._moments)[:-1]
        n_weights = len(power)
        if not self._n_fields or not power.any():
            return None
        power = np.maximum(power, FLOOR * products.mean(power, axis=0))
        pulled = self._moments.copy()
        pull = 1 + RIDGE + n_weights / self._n_fields
        pulled[np.arange(n_weights), np.arange(n_weights)] = power * pull
        return cholesky(pulled)


@dataclass(frozen=True, eq=False)
class Cancelling:
    """How rounding moves weights that are not rounded yet, so that errors cancel.

    Attributes:
        order: of the K weights, the most significant first.
        factor: (K, K), the upper one of the inverse of the moments in that order.
    """

    order: Int
    factor: Float

    @staticmethod
    def of(moments: Float) -> Cancelling:
        """That of moments (K, K), positive definite."""
        order = np.argsort(-np.diag(moments), kind="stable")
        return Cancelling(order, upper_factor_of_inverse(moments[np.ix_(order, order)]))


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of some neurons' inputs, on two halves of the samples.

    Samples are not divided, since positions of one sample are correlated: a half would not be
    independent of the other.

    What is computed from them alone is computed once, for as many targets as there are.

    Attributes:
        halves: sums of products of the K inputs and a constant 1, (K + 1, K + 1) float64 each.
        fields: the receptive fields, (K, S) integers, those of the first half first.
        sizes: receptive fields in each half.
    """

    halves: tuple[Float, Float]
    fields: Integers
    sizes: tuple[int, int]

    @staticmethod
    def of(fields: Float, n_first: int) -> Moments:
        """Moments of receptive fields (K, S), integers, of which so many form the first half."""
        first, second = (
            _with_constant(part) for part in (fields[:, :n_first], fields[:, n_first:])
        )
        return Moments((first, second), Integers(fields), (n_first, fields.shape[1] - n_first))

    @property
    def parts(self) -> tuple[slice, slice]:
        """The fields of each half."""
        return slice(0, self.sizes[0]), slice(self.sizes[0], None)

    @cached_property
    def by_field(self) -> tuple[Integers, Integers]:
        """The fields of each half, (S, K)."""
        first, second = (Integers(self.fields.wide[:, part].T) for part in self.parts)
        return first, second

    @cached_property
    def ridges(self) -> tuple[Ridge, Ridge, Ridge]:
        """The regressions on each half and on both."""
        first, second = self.halves
        n, m = self.sizes
        return Ridge(first, n), Ridge(second, m), Ridge(np.add(first, second), n + m)

    @cached_property
    def cancelling(self) -> Cancelling | None:
        """Of the first half's moments; None without any input.

        They are shrunk towards their diagonal the more, the fewer fields there are; with a diagonal
        alone no weight moves.
        """
        seen, n_seen = self.halves[0][:-1, :-1], self.sizes[0]
        n_weights = len(seen)
        diagonal = np.diag(seen) / max(n_seen, 1)
        if not diagonal.any():
            return None
        diagonal = np.maximum(diagonal, DAMPING * products.mean(diagonal, axis=0))
        shrink = n_weights / (n_weights + n_seen)
        shrunk = seen * ((1 - shrink) / max(n_seen, 1))
        np.fill_diagonal(shrunk, (1 + DAMPING) * diagonal)
        return Cancelling.of(shrunk)


def _with_constant(fields: Float) -> Float:
    """Sums of products of receptive fields (K, S), integers, and of a constant 1."""
    n_weights, n_fields = fields.shape
    sums = np.full((n_weights + 1, n_weights + 1), float(n_fields))
    sums[:-1, :-1] = products.gram(Integers(fields))
    sums[-1, :-1] = sums[:-1, -1] = fields.sum(axis=1)  # exact, as sums of integers
    return sums


def refit(missing: Real, moments: Moments) -> Float:
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
        missing: (R, S) target drive less present drive.
        moments: the receptive fields and their moments.

    Returns:
        (R, K) in units of ``missing`` per unit of the fields.
    """
    pairs = zip(moments.parts, moments.by_field, strict=True)
    cross = [_cross(missing[:, part], fields) for part, fields in pairs]
    gained, spent = np.zeros(len(missing)), np.zeros(len(missing))
    for own, other in ((0, 1), (1, 0)):
        change = moments.ridges[own].coefficients(cross[own])
        gained += products.total(cross[other] * change, axis=1)
        spent += products.total(products.matmul(change, moments.halves[other]) * change, axis=1)
    share = np.clip(gained / np.where(spent > 0, spent, 1.0), 0.0, 1.0)
    both = moments.ridges[2].coefficients(np.add(*cross))
    paying: Float = share[:, None] * both[:, :-1]
    return paying


def _cross(missing: Real, fields: Integers) -> Float:
    """Sums over fields of products of (R, S) with (S, K) and a column of ones, (R, K + 1)."""
    by_weight = products.times_integers(missing, fields)
    return np.column_stack([by_weight, products.total(missing, axis=1)])
