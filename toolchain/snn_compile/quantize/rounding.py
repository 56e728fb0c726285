"""Rounding of a layer's weights so that their errors cancel on the layer's actual input."""

from __future__ import annotations

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.spiking import Float
from snn_compile.numerics import products
from snn_compile.quantize.refit import Cancelling, Moments

BLOCK = 32
"""Weights that are rounded before the others are updated."""


def compensate(target: Float, nearest: Int, moments: Moments, limit: int) -> Int:
    """Integer weights whose errors cancel on given receptive fields, where that generalizes.

    For a neuron with weights w and receptive fields x, the error that matters is
    ``(q - w) H (q - w)`` with ``H = E x x'``, not ``|q - w|**2``. Weights are rounded one after the
    other; after each one, the remaining ones move to the optimum given its error (optimal brain
    surgeon; Frantar et al. 2022, "GPTQ", arXiv 2210.17323).

    Args:
        target: (R, K) real weights in steps of the grid.
        nearest: (R, K) their nearest integers, inside the limits.
        moments: moments of the receptive fields; the second half is held out.
        limit: largest magnitude of an integer.

    Returns:
        (R, K) integers; rows of ``nearest`` where those are better on the held-out half.
    """
    if moments.cancelling is None:
        return nearest
    chosen = compensated(target, moments.cancelling, limit).astype(nearest.dtype)
    unseen = moments.halves[1][:-1, :-1]
    before, after = (_error(found - target, unseen) for found in (nearest, chosen))
    return np.where((after < before)[:, None], chosen, nearest)


def compensated(target: Float, cancelling: Cancelling, limit: int) -> Float:
    """Integers whose errors cancel: one weight after the other, the most significant first.

    Args:
        target: (R, K) real weights in steps of the grid.
        cancelling: of the moments of the receptive fields.
        limit: largest magnitude of an integer.
    """
    chosen = np.empty_like(target)
    chosen[:, cancelling.order] = _one_by_one(target[:, cancelling.order], cancelling.factor, limit)
    return chosen


def _error(off: Float, moments: Float) -> Float:
    """Squared error of each row's drive, summed, for an error ``off`` of its weights."""
    return products.total(products.matmul(off, moments) * off, axis=1)


def _one_by_one(target: Float, factor: Float, limit: int) -> Float:
    """Rounds column after column of (R, K); row i of the factor updates the later ones.

    Weights of a block are updated at once, those beyond it after the block, in one product.
    """
    moving = np.ascontiguousarray(target.T)
    chosen = np.empty_like(moving)
    for start in range(0, len(moving), BLOCK):
        block = slice(start, min(start + BLOCK, len(moving)))
        errors = np.empty_like(moving[block])
        for k, i in enumerate(range(block.start, block.stop)):
            chosen[i] = np.clip(np.rint(moving[i]), -limit, limit)
            errors[k] = (moving[i] - chosen[i]) / factor[i, i]
            moving[i + 1 : block.stop] -= factor[i, i + 1 : block.stop, None] * errors[k]
        moving[block.stop :] -= products.matmul(factor[block, block.stop :].T, errors)
    return chosen.T
