"""Graded coding: a message is the activation itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from snn_compile.codings.coding import Coding
from snn_compile.ir.spiking import Float, GradedNeurons, InputCoding, Neurons, ProductNeurons


@dataclass(frozen=True)
class Graded(Coding):
    """One event per active neuron whose payload is the activation, rounded to ``bits`` bits."""

    name: ClassVar[str] = "graded"
    summary: ClassVar[str] = "payloads, once a frame"
    takes: ClassVar[tuple[str, ...]] = ("payload_bits",)
    at_once: ClassVar[bool] = True
    payloads: ClassVar[bool] = True
    multiplies: ClassVar[bool] = True
    input: ClassVar[InputCoding] = InputCoding.GRADED
    not_stock: ClassVar[str] = "no stock neuron rescales a payload"
    most: ClassVar[int] = 8

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
        self, place: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Requantizing neurons, one payload step being ``scale / levels``."""
        return GradedNeurons(
            **place,
            threshold=scale / self.levels,
            bias=bias,
            levels=self.levels,
            relay=relay,
        )

    def product(
        self, place: Mapping[str, Any], *, scale: Float, step: Float, signed: bool
    ) -> Neurons:
        """Product neurons, one payload step being ``scale / levels``."""
        return ProductNeurons(
            **place,
            threshold=scale / self.levels,
            bias=np.zeros((len(scale), 1, 1)),
            step=step,
            low=-self.levels if signed else 0,
            high=self.levels,
        )
