"""Constant arrays: in the narrowest type, weights of few bits several to a byte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn_backends.c.integers import CType, holding, literal
from snn_compile.ir.fixedpoint import Int

COLUMNS = 96


@dataclass(frozen=True, eq=False)
class Constant:
    """An array in flash.

    Attributes:
        name: in C.
        type: of its elements.
        values: flat.
    """

    name: str
    type: CType
    values: Int

    @property
    def bytes(self) -> int:
        """Its size."""
        return int(self.values.size) * self.type.bytes

    @property
    def lines(self) -> list[str]:
        """The elements as C writes them, in lines of at most ``COLUMNS``."""
        return wrapped(words(self.values))


def words(values: Int) -> list[str]:
    """Constants for values, flat; equal ones are one string."""
    flat = np.ravel(values)
    distinct, places = np.unique(flat, return_inverse=True)
    texts = [literal(value) for value in distinct.tolist()]
    return [texts[place] for place in places.tolist()]


def wrapped(words: list[str]) -> list[str]:
    """Words and commas in lines of at most ``COLUMNS``."""
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) + 2 > COLUMNS:
            lines.append(line + ",")
            line = word
        else:
            line = f"{line}, {word}" if line else word
    return [*lines, line] if line else lines


def constant(name: str, values: Int) -> Constant:
    """Values in the narrowest type."""
    flat = np.ravel(values).astype(np.int64)
    low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    return Constant(name, holding(low, high), flat)


def packed_bits(weights: Int) -> int:
    """Bits that a weight takes in flash: 2, 4 or 8."""
    low, high = (int(weights.min()), int(weights.max())) if weights.size else (0, 0)
    return next(b for b in (2, 4, 8) if -(1 << (b - 1)) <= low and high < 1 << (b - 1))


def packed(name: str, weights: Int) -> Constant:
    """Weights, those of fewer than 8 bits several to a byte, the first in the lowest bits."""
    bits, flat = packed_bits(weights), np.ravel(weights).astype(np.int64)
    if bits == 8:
        return Constant(name, CType(8), flat)
    each = 8 // bits
    rows = np.pad(flat & ((1 << bits) - 1), (0, -flat.size % each)).reshape(-1, each)
    return Constant(name, CType(8, signed=False), (rows << (bits * np.arange(each))).sum(axis=1))
