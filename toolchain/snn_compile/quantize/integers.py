"""The integers of the weights that feed one population."""

from __future__ import annotations

from dataclasses import dataclass

from snn_compile.ir.fixedpoint import Int, QTensor
from snn_compile.ir.spiking import Float


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """The mantissas of all groups that feed one population.

    ``weight of group k = mantissa[k] * unit[channel] * 2**exponent[k]``, up to rounding.

    Attributes:
        tensors: the mantissas of each group, in the shape of its weights.
        exponents: exponent of each group, >= 0; 0 for at least one.
        unit: (C,), the potential represented by one step of the state.
        saturated: share of all weights that were clipped.
        exact: whether nothing was rounded because the weights are small integers already.
        given: share of each group's weights that are the integers of a quantized file; empty for
            none.
    """

    tensors: tuple[QTensor, ...]
    exponents: tuple[int, ...]
    unit: Float
    saturated: float
    exact: bool
    given: tuple[float, ...] = ()

    @property
    def mantissas(self) -> tuple[Int, ...]:
        """Mantissas of each group, flat."""
        return tuple(tensor.values.ravel() for tensor in self.tensors)
