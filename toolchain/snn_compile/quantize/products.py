"""The synapses of product neurons, which carry two operands in one sum."""

from __future__ import annotations

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import QFormat, round_half_even
from snn_compile.ir.models.product import OPERAND_BITS
from snn_compile.quantize.weights import IntegerWeights

OPERAND_WEIGHT = QFormat(8)
"""Of the weights, whatever width the others have: they say what is wired to what."""
EXPONENT = 6
"""Of the first operand's synapses, so that a mantissa of 2**6 is worth 2**12."""


def operand_weights(groups: tuple[spiking.Synapses, ...]) -> IntegerWeights:
    """Weights of 2**12 as mantissas with an exponent, weights of 1 as they are."""
    large = [int(np.abs(group.weight).max(initial=0)) >= 1 << OPERAND_BITS for group in groups]
    exponents = tuple(EXPONENT if is_large else 0 for is_large in large)
    mantissas = tuple(
        round_half_even(np.ravel(group.weight) / (1 << exponent))
        for group, exponent in zip(groups, exponents, strict=True)
    )
    unit = np.ones(groups[0].shape[0])
    return IntegerWeights(mantissas, exponents, unit, 0.0, True)
