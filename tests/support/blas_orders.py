"""Products that add up in other orders, as those of another BLAS do."""

from __future__ import annotations

import numpy as np


def shuffled_blas(seed):
    """A product that adds up in an order of its own, as another BLAS would."""

    def product(a, b, out=None):
        order = np.random.default_rng(seed).permutation(a.shape[-1])
        stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        total = np.zeros((*stack, a.shape[-2], b.shape[-1]), a.dtype)
        for k in order:
            total = total + a[..., :, k, None] * b[..., k, None, :]
        if out is None:
            return total
        out[...] = total
        return out

    return product
