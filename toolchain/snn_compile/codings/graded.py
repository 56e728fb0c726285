"""Graded coding: a message is the activation itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from snn_compile.codings.coding import Coding
from snn_compile.ir.spiking import Float, GradedNeurons, InputCoding, Neurons


@dataclass(frozen=True)
class Graded(Coding):
    """One event per active neuron whose payload is the activation, rounded to ``bits`` bits."""

    name: ClassVar[str] = "graded"
    summary: ClassVar[str] = "payloads, once a frame"
    relevant_options: ClassVar[tuple[str, ...]] = ("payload_bits",)
    single_step: ClassVar[bool] = True
    payloads: ClassVar[bool] = True
    input: ClassVar[InputCoding] = InputCoding.GRADED
    stock_obstacle: ClassVar[str] = "no stock neuron rescales a payload"
    max_size: ClassVar[int] = 8

    bits: int = 8

    @property
    def size(self) -> int:
        """Bits of a payload."""
        return self.bits

    @classmethod
    def levels_of(cls, size: int) -> int:
        """Largest payload."""
        return (1 << size) - 1

    def neurons(
        self, common_fields: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Requantizing neurons, one payload step being ``scale / levels``."""
        return GradedNeurons(
            **common_fields,
            threshold=scale / self.levels,
            bias=bias,
            levels=self.levels,
            relay=relay,
        )
