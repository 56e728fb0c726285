"""Functions of activations from single IEEE operations: hyperbolic, circular, and the error one."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from snn_compile.numerics.functions import exp, log2
from snn_compile.numerics.products import Float

LN2 = float.fromhex("0x1.62e42fefa39efp-1")
HALF_PI = (float.fromhex("0x1.921fb544p+0"), float.fromhex("0x1.0b4611a626331p-34"))
"""In two parts, the first of 32 bits: its products with small integers are exact."""
SINE_TERMS = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(9))
COSINE_TERMS = tuple((-1) ** n / math.factorial(2 * n) for n in range(10))
FLAT = 6.0
"""Argument above which the error function rounds to 1."""
APART = 8
"""Expansion points of the error function per unit."""
ERROR_TERMS = 11


def log(x: npt.ArrayLike) -> Float:
    """Natural logarithm; NaN for non-positive numbers."""
    value = np.asarray(x, np.float64)
    positive = value > 0
    return np.where(positive, log2(np.where(positive, value, 1.0)) * LN2, np.nan)


def sigmoid(x: npt.ArrayLike) -> Float:
    """``1 / (1 + e**-x)``."""
    return 1.0 / (1.0 + exp(-np.asarray(x, np.float64)))


def tanh(x: npt.ArrayLike) -> Float:
    """``2 / (1 + e**-2x) - 1``; odd, bit for bit."""
    value = np.asarray(x, np.float64)
    found: Float = np.sign(value) * (2.0 / (1.0 + exp(-2.0 * np.abs(value))) - 1.0)
    return found


def softplus(x: npt.ArrayLike) -> Float:
    """``log(1 + e**x)``."""
    value = np.asarray(x, np.float64)
    return np.maximum(value, 0.0) + log2(1.0 + exp(-np.abs(value))) * LN2


def erf(x: npt.ArrayLike) -> Float:
    """The error function, within a few units of 1e-16; odd, bit for bit."""
    value = np.asarray(x, np.float64)
    size = np.minimum(np.abs(value), FLAT)
    known = np.where(np.isnan(size), 0.0, size)
    index = np.rint(known * APART).astype(np.int64)
    rest = size - index / APART
    terms = _error_expansions()
    found = terms[-1][index]
    for term in terms[-2::-1]:
        found = found * rest + term[index]
    odd: Float = np.sign(value) * found
    return odd


@cache
def _error_expansions() -> Float:
    """Taylor coefficients of the error function at each point, (terms, points).

    The value is Kummer's series, whose terms are all positive; the derivatives are Hermite
    polynomials times ``e**-x**2``.
    """
    points = np.arange(int(FLAT * APART) + 1) / APART
    bell = 2.0 / math.sqrt(math.pi) * exp(-(points * points))
    term = points * bell
    total = term.copy()
    for n in range(1, 160):
        term = term * (2.0 * points * points) / (2 * n + 1)
        total = total + term
    terms = [total, bell]
    before, hermite = np.zeros_like(points), np.ones_like(points)
    sign, factorial = 1.0, 1.0
    for n in range(1, ERROR_TERMS):
        before, hermite = hermite, 2.0 * points * hermite - 2.0 * (n - 1) * before
        sign, factorial = -sign, factorial * (n + 1)
        terms.append(sign * hermite * bell / factorial)
    return np.stack(terms)


def sin(x: npt.ArrayLike) -> Float:
    """Sine, for angles up to about a million."""
    return _circular(x, 0)


def cos(x: npt.ArrayLike) -> Float:
    """Cosine, for angles up to about a million."""
    return _circular(x, 1)


def _circular(x: npt.ArrayLike, ahead: int) -> Float:
    value = np.asarray(x, np.float64)
    quarters = np.rint(value / HALF_PI[0])
    rest = value - quarters * HALF_PI[0]
    rest = rest - quarters * HALF_PI[1]
    square = rest * rest
    phase = np.mod(quarters + ahead, 4)
    odd, even = rest * _horner(square, SINE_TERMS), _horner(square, COSINE_TERMS)
    return np.where(phase % 2 == 0, odd, even) * np.where(phase >= 2, -1.0, 1.0)


def _horner(x: Float, terms: tuple[float, ...]) -> Float:
    found: Float = np.full_like(x, terms[-1])
    for term in terms[-2::-1]:
        found = found * x + term
    return found
