"""Transcendental functions of arrays from single IEEE operations, in a fixed order."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from snn_compile.numerics.products import Float, bit_length

LN2_HIGH, LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
"""``log 2`` in two parts, the first of 32 bits: its products with exponents are exact."""
EXP_TERMS = tuple(1 / math.factorial(n) for n in range(14))
LOG_TERMS = tuple(2 / (2 * n + 1) for n in range(11))
LOG2_OF_E = float.fromhex("0x1.71547652b82fep+0")
EXPONENTS = (-745.0, 709.0)
"""Arguments at which ``exp`` reaches the smallest and the largest float."""


def all_finite(x: npt.ArrayLike) -> bool:
    """Whether no number is NaN or infinite: either is the largest or the smallest of all."""
    value = np.asarray(x)
    return not value.size or bool(np.isfinite(value.max()) and np.isfinite(value.min()))


def exp(x: npt.ArrayLike) -> Float:
    """``e**x``, within three units of the last place; x is clipped to -745 and 709."""
    value = np.clip(np.asarray(x, np.float64), *EXPONENTS)
    power = np.rint(value * LOG2_OF_E)
    rest = value - power * LN2_HIGH
    rest -= power * LN2_LOW
    found: Float = np.ldexp(_polynomial(rest, EXP_TERMS), power.astype(np.int64))
    return found


def log2(x: npt.ArrayLike) -> Float:
    """``log2(x)`` for positive x, within three units of the last place; exact for powers of two."""
    value = np.asarray(x, np.float64)
    mantissa, exponent = np.frexp(value)
    low = mantissa < math.sqrt(0.5)
    mantissa, exponent = mantissa * (1 + low), exponent - low
    ratio = (mantissa - 1) / (mantissa + 1)
    # log m = 2 artanh((m - 1) / (m + 1))
    found: Float = exponent + ratio * _polynomial(ratio * ratio, LOG_TERMS) * LOG2_OF_E
    return found


def power(x: npt.ArrayLike, exponent: float) -> Float:
    """``x**exponent`` for positive x, within ``1e-13`` of it for exponents about 1; 1 is exact."""
    if exponent == 1:
        return np.array(x, np.float64)
    return exp(log2(x) * (exponent * math.log(2)))


def floor_log2(x: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """``floor(log2(x))`` for positive x, exactly."""
    return bit_length(x).astype(np.int64) - 1


def ceil_log2(x: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """``ceil(log2(x))`` for positive x, exactly."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    found: npt.NDArray[np.int64] = exponent.astype(np.int64) - (mantissa == 0.5)
    return found


def geometric(first: float, last: float, n: int) -> Float:
    """Numbers from ``first`` to ``last`` with a constant ratio, to 32 bits.

    Powers of the library are rounded so that their last bits do not matter.
    """
    ratio = math.log(last / first) / (n - 1)
    return np.array([first, *(_short(first * math.exp(ratio * k)) for k in range(1, n - 1)), last])


def _short(x: float) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(math.ldexp(mantissa, 32)), exponent - 32)


def _polynomial(x: Float, terms: tuple[float, ...]) -> Float:
    """``sum terms[n] x**n`` by Horner's rule; products and sums are not contracted."""
    found: Float = np.full_like(x, terms[-1])
    for term in reversed(terms[:-1]):
        found = found * x + term
    return found
