"""Weights of few bits: their unit and their integers, by what is left of a layer's error."""

from __future__ import annotations

import numpy as np

from snn_compile.ir.fixedpoint import Int, round_half_even
from snn_compile.ir.spiking import Float
from snn_compile.numerics import products
from snn_compile.numerics.functions import geometric
from snn_compile.quantize.refit import DAMPING, Cancelling, Moments
from snn_compile.quantize.rounding import compensated

RATIOS = np.append(1.0, geometric(0.7, 1.4, 14))
"""Units that are tried, as multiples of the one with the least error of the weights themselves."""
ROUNDS = 2
"""Changes by one step that each row may make, as multiples of its number of weights."""


def least_error(
    exact: Float, step: Float, moments: Moments, limit: int, *, centred: bool = True
) -> tuple[Float, Int]:
    """A unit for each neuron's weights, and integers, whose error varies least over the samples.

    With w the weights, q their integers in units of u, and C the covariance of the receptive
    fields, the variance of the error is ``(u q - w) C (u q - w)``; its mean is left to the bias.
    Many weights of eight bits have errors that cancel whatever the unit is. Nine weights of four
    bits do not: the best unit for their sum is another one than for each of them. For every unit,
    weights are rounded one after the other (``compensated``), and then changed by single steps as
    long as the variance falls. Units are compared on the half of the samples that the rounding
    has not seen.

    Args:
        exact: (R, K) real weights.
        step: (R,) real value of a step, for a ratio of 1.
        moments: moments of the receptive fields.
        limit: largest magnitude of an integer.
        centred: whether the mean error is corrected elsewhere; else it counts.

    Returns:
        (R,) multiples of the steps, and (R, K) integers in steps of these.
    """
    seen, unseen = (_covariance(h) if centred else h[:-1, :-1] for h in moments.halves)
    damped = seen / max(moments.sizes[0], 1)
    diagonal = np.diag(damped)
    if not diagonal.any():
        return np.ones(len(step)), round_half_even(np.clip(exact / step[:, None], -limit, limit))
    damped[np.diag_indices_from(damped)] += DAMPING * np.maximum(
        diagonal, products.mean(diagonal, axis=0)
    )
    size = (RATIOS[:, None] * step).ravel()[:, None]
    target = np.tile(exact, (len(RATIOS), 1)) / size
    integers = _polished(compensated(target, Cancelling.of(damped), limit), target, damped, limit)
    off = (integers - target) * size
    error = products.total(products.matmul(off, unseen) * off, axis=1)
    which = error.reshape(len(RATIOS), -1).argmin(axis=0)
    rows = np.arange(len(step))
    return RATIOS[which], integers.reshape(len(RATIOS), *exact.shape)[which, rows]


def _covariance(half: Float) -> Float:
    """Sums of products of deviations, from sums of products of values and a constant 1."""
    total, n = half[-1, :-1], max(float(half[-1, -1]), 1.0)
    covariance: Float = half[:-1, :-1] - total[:, None] * total / n
    return covariance


def _polished(integers: Float, target: Float, covariance: Float, limit: int) -> Int:
    """Steps of one weight of each row at a time, always the one that gains most."""
    chosen = integers.copy()
    slope = products.matmul(chosen - target, covariance)
    power, rows = np.diag(covariance), np.arange(len(chosen))
    for _ in range(ROUNDS * chosen.shape[1]):
        direction = -np.sign(slope)
        gain = 2 * np.abs(slope) - power
        gain[np.abs(chosen + direction) > limit] = 0
        which = gain.argmax(axis=1)
        step = np.where(gain[rows, which] > 1e-9 * power[which], direction[rows, which], 0.0)
        if not step.any():
            break
        chosen[rows, which] += step
        slope += step[:, None] * covariance[which]
    return round_half_even(chosen)
