"""Integers of weights as mantissas of 2 to 8 bits and an exponent."""

from __future__ import annotations

import numpy as np

from snn_compile.errors import Origin, UnsupportedError
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.quantized import WEIGHT_BITS

WIDEST = QFormat(WEIGHT_BITS[-1])
LOW, HIGH = 2 * WIDEST.min, 2 * WIDEST.max + 1
"""Ends of a weight in the chip's format: 8 bits and a sign."""


def mantissas(weight: Int, origin: Origin) -> list[tuple[QTensor, int]]:
    """Mantissas and exponents whose products add up to the weights.

    lava-dl trains even numbers from -256 to 254: 8 bits and the exponent 1. Odd ones beyond 8 bits
    are two groups, the second of single bits.

    Raises:
        UnsupportedError: a weight is beyond the chip's format; lava-dl's reader would clip it.
    """
    low, high = int(weight.min()), int(weight.max())
    if low < LOW or high > HIGH:
        raise UnsupportedError(
            f"its weights go from {low:,} to {high:,}; a synapse has {LOW} to {HIGH}",
            code="net-range",
            origin=origin,
            hint="export a network that was trained with quantization, as its blocks do",
        )
    if WIDEST.min <= low and high <= WIDEST.max:
        return [(_tensor(weight), 0)]
    halves = weight >> 1
    rest = weight - (halves << 1)
    return [(_tensor(halves), 1), *([(_tensor(rest), 0)] if rest.any() else [])]


def _tensor(values: Int) -> QTensor:
    found = QFormat.holding(min(int(values.min()), -1), int(values.max()))
    return QTensor(np.ascontiguousarray(values), QFormat(max(found.bits, WEIGHT_BITS[0])))
