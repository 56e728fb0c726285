"""How far values are from others, beside how far they are apart."""

from __future__ import annotations

import numpy as np

from snn_compile.numerics import products
from snn_compile.numerics.products import Float


def power(x: Float) -> float:
    """The mean square."""
    return float(products.mean(np.square(x).ravel(), axis=0))


def spread(x: Float) -> float:
    """The variance over samples (N, ...); of values that do not vary, their mean square, or 1."""
    variance, square = power(x - products.mean(x, axis=0)), power(x)
    return variance if variance > square * float(np.finfo(np.float64).eps) else square or 1.0
