"""Sums and matrix products that do not depend on the order of their additions.

A sum of multiples of ``u`` whose partial sums all stay below ``2**53 u`` is exact in float64,
in any order and with or without contraction of products. Operands are therefore rounded to such
multiples, as coarse as the length of the sum requires, and multiplied by BLAS: the error-free
transformation of Ozaki, Ogita, Oishi and Rump (Numerical Algorithms 59, 2012). If one such slice of
an operand is not enough, the remainder is rounded in turn and multiplied separately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import iadd
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Real = npt.NDArray[np.floating]
Product = Callable[[Float, Float], Real]

MANTISSA_BITS = 53
"""Mantissa of float64: integers up to ``2**53`` are exact."""
INPUT_BITS, WEIGHT_BITS = 22, 31
"""Bits of a layer's input, relative to its largest magnitude, and of the sum of the magnitudes of a
neuron's weights. Their products add up to at most ``2**53``."""


def bit_length(x: npt.ArrayLike) -> npt.NDArray[np.intc]:
    """The least ``e`` with ``abs(x) < 2**e``, element by element; 0 for 0."""
    exponent: npt.NDArray[np.intc] = np.frexp(np.abs(np.asarray(x, np.float64)))[1]
    return exponent


def rounded(x: npt.NDArray[np.number], exponent: npt.ArrayLike) -> Float:
    """The nearest multiples of ``2**exponent``, ties to even, as a new array.

    Args:
        x: values below ``2**(exponent + 51)`` in magnitude.
        exponent: integers that broadcast to ``x``.
    """
    # Adding a number whose last bit is worth 2**exponent rounds; subtracting it again is exact.
    shift = np.ldexp(1.5, np.asarray(exponent) + MANTISSA_BITS - 1)
    nearest: Float = x + shift
    nearest -= shift
    return nearest


@dataclass(frozen=True, eq=False)
class Columns:
    """The right operand of several products, (K, N), in slices once."""

    slices: list[Float]

    @staticmethod
    def of(b: Float, slices: int = 2) -> Columns:
        """So many slices of a matrix, as :func:`matmul` takes them."""
        largest = np.abs(b).max(axis=0, keepdims=True, initial=0)
        return Columns(_slices(b, largest, _slice_bits(len(b)), slices))


def _slice_bits(length: int) -> int:
    return (MANTISSA_BITS - int(bit_length(length))) // 2


def matmul(a: Float, b: Float | Columns, *, slices: int = 2) -> Float:
    """``a @ b``, with the same bits on any BLAS.

    Args:
        a: (M, K).
        b: (K, N), or its slices.
        slices: number of slices per operand. Relative to the largest magnitude of a row of ``a``
            and of a column of ``b``, the operands are exact to ``slices * (53 - log2 K) / 2`` bits.

    Returns:
        (M, N) float64.
    """
    columns = (b if isinstance(b, Columns) else Columns.of(b, slices)).slices
    largest = np.abs(a).max(axis=1, keepdims=True, initial=0)
    rows = _slices(a, largest, _slice_bits(a.shape[1]), len(columns))
    return _multiplied(rows, columns, blas).astype(np.float64, copy=False)


def outer(a: Float) -> Float:
    """``a @ a.T``, the same bits as :func:`matmul` with two slices, for half of its work.

    Args:
        a: (M, K).
    """
    largest = np.abs(a).max(axis=1, keepdims=True, initial=0)
    high, low = _slices(a, largest, _slice_bits(a.shape[1]), 2)
    mixed = blas(high, low.T)  # exact: the other mixed term is its transpose
    found: Float = mixed + mixed.T
    found += blas(high, high.T)
    return found


def _slices(x: Real, largest: Real, bits: int, count: int) -> list[Float]:
    """Parts of decreasing size with sum x, each of ``bits`` bits below its largest values."""
    exponent = bit_length(largest).astype(np.int64)
    found: list[Float] = []
    for k in range(count):
        rest = x - found[-1] if k else x
        found.append(rounded(rest, exponent - (k + 1) * bits))
        x = rest
    return found


def _multiplied(left: Sequence[Float], right: Sequence[Float], product: Product) -> Real:
    """The product of two operands in equally many slices, without terms below the last slice."""
    orders = reversed(range(len(left)))  # the smallest terms first
    return reduce(iadd, (product(left[i], right[k - i]) for k in orders for i in range(k + 1)))


@dataclass(frozen=True, eq=False)
class Integers:
    """Integers as an operand of several products, widened and measured once.

    Attributes:
        wide: (K, N), integers in float64.
    """

    wide: Float

    @staticmethod
    def of(b: npt.NDArray[np.integer]) -> Integers:
        """Widened.

        Raises:
            TypeError: these are no integers.
        """
        if not np.issubdtype(b.dtype, np.integer):
            raise TypeError(f"requires integers, not {b.dtype}")
        return Integers(b.astype(np.float64))

    @cached_property
    def bits(self) -> int:
        """Bits of the largest sum of the magnitudes in a column."""
        magnitudes = np.abs(self.wide) if self.wide.min(initial=0) < 0 else self.wide
        return int(bit_length(magnitudes.sum(axis=0).max(initial=1)))


def times_integers(a: npt.NDArray[np.number], b: npt.NDArray[np.integer] | Integers) -> Float:
    """``a @ b`` for integers ``b``, with the same bits on any BLAS.

    The precision of ``a`` is what the sums of magnitudes in the columns of ``b`` permit (24 bits
    and more for spikes or payloads).

    Args:
        a: (M, K) real numbers.
        b: (K, N) integers; their magnitudes in a column add up to less than ``2**51``.

    Returns:
        (M, N) float64.
    """
    operand = b if isinstance(b, Integers) else Integers.of(b)
    exponent = bit_length(np.abs(a).max(axis=1, keepdims=True, initial=0))
    unit = exponent + operand.bits - MANTISSA_BITS + 1
    found: Float = blas(rounded(a, unit), operand.wide)
    return found


def gram(b: npt.NDArray[np.integer] | Integers) -> Float:
    """``b @ b.T`` for integers b, with the same bits on any BLAS.

    Raises:
        OverflowError: the sums are not exact in float64.
    """
    wide = (b if isinstance(b, Integers) else Integers.of(b)).wide
    largest = float(max(wide.max(initial=0), -wide.min(initial=0)))
    if largest * largest * wide.shape[1] >= 1 << MANTISSA_BITS:
        raise OverflowError(f"sums of squares of {largest:.0f} are not exact in float64")
    found: Float = blas(wide, wide.T)  # symmetric: BLAS saves half of the work
    return found


def on_grid(weight: Real, slices: int = 1) -> tuple[Float, ...]:
    """The weights (O, ...) of a layer for :func:`linear`: parts that add up to them.

    The magnitudes of a neuron's weights, in a part, add up to ``2**31`` of its units at most.
    """
    parts = []
    for _ in range(slices):
        magnitude = total(np.abs(weight.reshape(len(weight), -1)), axis=1)
        exponent = bit_length(magnitude) - (WEIGHT_BITS - 1)
        parts.append(rounded(weight, exponent.reshape(-1, *[1] * (weight.ndim - 1))))
        weight = weight - parts[-1]
    return tuple(parts)


def linear(kernels: tuple[Float, ...], x: Real, product: Product) -> Real:
    """The output of a layer, with the same bits in any order of sums.

    Args:
        kernels: its weights, from :func:`on_grid`. The input is split into as many slices, so that
            both are exact to 22 bits for each of them.
        x: (..., B); each sample is rounded relative to its own largest magnitude, so that its
            result does not depend on other samples.
        product: product of kernel and input, linear in both: convolution, matrix product.

    Returns:
        The result of ``product``, (O, ..., B).
    """
    return _multiplied(kernels, _slices(x, peaks(x), INPUT_BITS, len(kernels)), product)


def peaks(x: Real) -> Real:
    """Largest magnitude of each sample (..., B), (B,)."""
    longest: Real = np.abs(x).max(axis=0, initial=0)  # one axis first: its inner loops are long
    found: Real = longest.reshape(-1, x.shape[-1]).max(axis=0, initial=0)
    return found


def total(x: npt.NDArray[np.number], axis: int) -> Float:
    """Sums along an axis, the same bits in any order; exact to ``52 - log2 n`` bits of the largest.

    Args:
        x: values of any type.
        axis: an axis of n values.
    """
    largest = np.abs(x).max(axis=axis, keepdims=True, initial=0)
    room = MANTISSA_BITS - 1 - int(bit_length(x.shape[axis]))
    sums: Float = rounded(x, bit_length(largest) - room).sum(axis=axis)
    return sums


def mean(x: npt.NDArray[np.number], axis: int) -> Float:
    """:func:`total` divided by the number of values; 0 for an empty axis."""
    found: Float = total(x, axis) / max(x.shape[axis], 1)
    return found


def mean_of_parts(parts: Callable[[], Iterable[npt.NDArray[np.number]]]) -> Float:
    """:func:`mean` along axis 0 of an array in parts, with the same bits.

    Args:
        parts: gives the parts in order, twice.
    """
    largest, n = np.zeros(()), 0
    for part in parts():
        largest = np.maximum(largest, np.abs(part).max(axis=0, initial=0))
        n += len(part)
    exponent = bit_length(largest) - (MANTISSA_BITS - 1 - int(bit_length(n)))
    sums: Float = reduce(iadd, (rounded(part, exponent).sum(axis=0) for part in parts()))
    return sums / max(n, 1)


def blas(a: Real, b: Real, out: Real | None = None) -> Any:
    """The BLAS product of two matrices, or of one with each of a stack, in one floating type.

    It is the same on every machine if all partial sums are exact, and only then. OpenBLAS's kernels
    for the edges of a matrix may compute on padding and set floating-point flags unrelated to the
    result, for which numpy would occasionally warn.
    """
    with np.errstate(all="ignore"):
        return np.matmul(a, b, out=out)
