"""Integers with their format: fixed-point tensors, rounding and overflow."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]


class Overflow(enum.Enum):
    """Behaviour of a state at the ends of its range."""

    SATURATE = "saturate"
    WRAP = "wrap"


MAX_INTEGER = 2.0**62
PIECE = 1 << 17
"""Values summed at once, so that they stay in the cache."""


@dataclass(frozen=True)
class QFormat:
    """An integer format.

    Attributes:
        bits: total width, sign included.
        signed: two's complement if true.
    """

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 63:
            raise ValueError(f"a format has 1 to 63 bits, not {self.bits}")

    @property
    def min(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """Largest value."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}"

    @staticmethod
    def holding(low: int, high: int) -> QFormat:
        """The narrowest format for all integers from low to high."""
        if low >= 0:
            return QFormat(max(1, int(high).bit_length()), signed=False)
        return QFormat(max(int(max(high, 0)).bit_length(), int(-low - 1).bit_length()) + 1)


@dataclass(frozen=True, eq=False)
class QTensor:
    """Integers together with their format on the device.

    Attributes:
        values: int64 array, every element within the format.
        format: the format.
    """

    values: Int
    format: QFormat

    def __post_init__(self) -> None:
        if not np.issubdtype(self.values.dtype, np.integer):
            raise TypeError(f"a QTensor holds integers, not {self.values.dtype}")
        values = np.ascontiguousarray(self.values, dtype=np.int64)
        if values.size and (values.min() < self.format.min or values.max() > self.format.max):
            raise ValueError(
                f"values {values.min()}..{values.max()} do not fit {self.format}"
                f" ({self.format.min}..{self.format.max})"
            )
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.values.shape

    @cached_property
    def sums(self) -> tuple[Int, Int]:
        """Sums of the positive and of the negative values of each row."""
        rows = self.values.reshape(len(self.values), -1)
        total, magnitude = np.zeros((2, len(rows)), np.int64)
        step = max(PIECE // max(rows.shape[1], 1), 1)
        for part in (slice(k, k + step) for k in range(0, len(rows), step)):
            total[part] = rows[part].sum(axis=1)
            magnitude[part] = np.abs(rows[part]).sum(axis=1)
        return (magnitude + total) // 2, (total - magnitude) // 2

    @staticmethod
    def of(values: npt.ArrayLike) -> QTensor:
        """Integers in the narrowest sufficient format."""
        array = np.asarray(values, dtype=np.int64)
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        return QTensor(array, QFormat.holding(low, high))


class RangeError(ArithmeticError):
    """A number is so large, in units of its grid, that it is no integer of 64 bits."""


def to_int64(x: npt.NDArray[np.float64]) -> Int:
    """Whole numbers as int64.

    Raises:
        RangeError: some have no place there.
    """
    if not (np.abs(x) < MAX_INTEGER).all():
        raise RangeError(f"{np.abs(x).max():.3g} units")
    return x.astype(np.int64)


def round_half_even(x: npt.ArrayLike) -> Int:
    """Nearest integer, ties to even, as int64. The rounding rule of the compiler."""
    return to_int64(np.rint(np.asarray(x, dtype=np.float64)))


def round_half_up(x: npt.ArrayLike) -> Int:
    """Nearest integer, ties upwards, as int64: where a tie must always go the same way."""
    return to_int64(np.floor(np.asarray(x, dtype=np.float64) + 0.5))


def arithmetic_shift(x: Int, exponent: int) -> Int:
    """``floor(x * 2**exponent)``: a left shift, or an arithmetic right one.

    This is what Loihi's synaptic weight exponent does to the accumulated sum in Lava's fixed-point
    models (``proc/dense/models.py``: the shift comes after the sum, so a right shift floors once).
    """
    if exponent == 0:
        return x
    return x << exponent if exponent > 0 else x >> -exponent
