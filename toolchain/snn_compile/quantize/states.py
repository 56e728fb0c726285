"""Limits of a population's integers: its states, its parameters, its exponents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import FRACTION_BITS, VOLTAGE_LIMIT
from snn_compile.ir.spiking import Float
from snn_compile.numerics.functions import floor_log2
from snn_compile.quantize import stock
from snn_compile.quantize.trained import own_fraction_bits

STATE_BITS = 24
"""Bits of a potential on the chip."""
MIN_STATE_BITS = 12
"""The fewest that potentials are quantized to."""
EXPONENTS = range(-8, 8)
"""Exponents of a synapse group in Loihi's format."""
MAX_THRESHOLD = 1 << 20
"""Largest threshold in steps of a potential, before fraction bits: weights below it round to 0."""
MAX_BIAS = 1 << 21
"""Largest bias in steps of a potential, before fraction bits."""


@dataclass(frozen=True)
class States:
    """Limits of a quantized network.

    Attributes:
        bits: width of potentials, at most 24. Leaky neurons have 6 more.
        stock: whether all neurons are to be the chip's own (``stock.py``). Their current must not
            overflow, and their parameters must fit registers.
    """

    bits: int = STATE_BITS
    stock: bool = False

    def is_lif(self, node: spiking.Population) -> bool:
        """Whether integrate-and-fire neurons become stock ones."""
        return self.stock and isinstance(node, spiking.IFNeurons)

    def own_bits(self, node: spiking.Population) -> int:
        """Bits that a population's states have below the unit of its weights."""
        return FRACTION_BITS if self.is_lif(node) else own_fraction_bits(node)

    def limit(self, node: spiking.Population) -> int:
        """Largest state, in its steps."""
        bits = self.bits
        if self.stock and isinstance(node, spiking.Readout | spiking.IFNeurons):
            bits = min(bits, STATE_BITS - FRACTION_BITS)
        return min(VOLTAGE_LIMIT, ((1 << (bits - 1)) - 1) << self.own_bits(node))

    def least_exponent(self) -> int:
        """Smallest exponent of a synapse group."""
        return stock.MIN_EXPONENT if self.stock else EXPONENTS[0]

    def smallest_unit(self, node: spiking.Population) -> Float:
        """Smallest unit for which threshold and bias fit the state, whatever the weights.

        Returns:
            (C,) real value of one unit of the weights.
        """
        threshold = _threshold(node)
        bias = np.abs(np.broadcast_to(node.bias, node.shape)).reshape(node.shape[0], -1).max(axis=1)
        if self.stock:
            most_bias, most_threshold = float(stock.most_bias(threshold)), stock.MAX_THRESHOLD / 1
        else:
            share = self.limit(node) / VOLTAGE_LIMIT * 2.0 ** -self.own_bits(node)
            most_bias, most_threshold = MAX_BIAS * share, MAX_THRESHOLD * share
        smallest: Float = bias / most_bias
        return smallest if threshold is None else np.maximum(smallest, threshold / most_threshold)

    def smallest_weight(self, node: spiking.Population) -> Float:
        """Smallest useful unit of the mantissas, (C,).

        The mantissas of stock neurons may be finer by this factor than the unit of their
        thresholds.
        """
        finer = 2.0**stock.MIN_EXPONENT if self.stock else 1.0
        smallest: Float = finer * self.smallest_unit(node)
        return smallest

    def doublings(self, node: spiking.Population, unit: Float) -> Int:
        """Number of halvings of each channel's unit before a register overflows, (C,)."""
        if not self.stock:
            return np.full(len(unit), EXPONENTS[-1])
        ratio = unit / np.maximum(self.smallest_unit(node), 1e-300)
        return floor_log2(np.minimum(ratio, 2.0 ** EXPONENTS[-1]))

    def overfull(self, node: spiking.Population, unit: Float) -> npt.NDArray[np.bool_]:
        """Channels whose threshold or bias does not fit its register with this unit, (C,)."""
        if not self.stock:
            return np.zeros(len(unit), bool)
        full: npt.NDArray[np.bool_] = unit < self.smallest_unit(node)
        return full


def _threshold(node: spiking.Population) -> Float | None:
    return node.threshold if isinstance(node, spiking.Neurons) else None
