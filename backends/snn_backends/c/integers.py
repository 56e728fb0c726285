"""Integer types of C, and constants in them."""

from __future__ import annotations

from dataclasses import dataclass

WIDTHS = (8, 16, 32, 64)
INT32_MAX, INT64_MAX = (1 << 31) - 1, (1 << 63) - 1


@dataclass(frozen=True)
class CType:
    """An exact-width integer type.

    Attributes:
        bits: 8, 16, 32 or 64.
        signed: whether it has negative values.
    """

    bits: int
    signed: bool = True

    @property
    def name(self) -> str:
        """As in ``stdint.h``."""
        return f"{'' if self.signed else 'u'}int{self.bits}_t"

    @property
    def short(self) -> str:
        """For the names of functions."""
        return f"{'i' if self.signed else 'u'}{self.bits}"

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.bits // 8


def holding(low: int, high: int) -> CType:
    """The narrowest type for all integers from low to high.

    Unsigned only where C computes with it as a signed integer.

    Raises:
        OverflowError: there is none.
    """
    for bits in WIDTHS:
        if low >= 0 and high < 1 << bits and bits < 32:
            return CType(bits, signed=False)
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
            return CType(bits)
    raise OverflowError(f"no type holds {low} to {high}")


def accumulator(magnitude: int) -> CType:
    """A type in which sums of at most this magnitude are exact: 32 bits, or 64.

    Raises:
        OverflowError: there is none.
    """
    if magnitude <= INT32_MAX:
        return CType(32)
    if magnitude <= INT64_MAX:
        return CType(64)
    raise OverflowError(f"sums of up to {magnitude} have no type")


def literal(value: int) -> str:
    """A constant, of a type that holds it."""
    if abs(value) < 1 << 15:
        return str(value)
    if abs(value) <= INT32_MAX:
        return f"INT32_C({value})"
    return f"INT64_C({value})" if abs(value) <= INT64_MAX else "INT64_MIN"
