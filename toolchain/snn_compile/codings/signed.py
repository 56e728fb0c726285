"""Signed coding: rates, and spikes that take back what came too early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from snn_compile.codings.coding import Correction
from snn_compile.codings.rate import Rate
from snn_compile.ir.spiking import Float, Neurons, SignedIFNeurons
from snn_compile.options import CompileOptions


@dataclass(frozen=True)
class Signed(Rate):
    """Rate, with negative spikes that take back those which came too early."""

    name: ClassVar[str] = "signed"
    summary: ClassVar[str] = "spikes, and negative ones that take them back"
    relevant_options: ClassVar[tuple[str, ...]] = ("timesteps", "initial_potential")
    stock_obstacle: ClassVar[str] = "no stock neuron takes a spike back"

    def correction(self, options: CompileOptions) -> Correction:
        """Spikes that are taken back need none."""
        del options
        return Correction.NOTHING

    def neurons(
        self, common_fields: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Signed integrate-and-fire neurons; a spike in every step stands for ``scale``."""
        return SignedIFNeurons(
            **common_fields,
            threshold=scale,
            bias=bias,
            initial_potential=self.initial_potential,
            relay=relay,
        )
