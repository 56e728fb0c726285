"""Two codings from outside the compiler: spikes in bursts, and activations of one bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from snn_compile.codings import Correction
from snn_compile.codings.rate import Rate
from snn_compile.codings.sync import Sync
from snn_compile.ir.spiking import Float, IFNeurons, Neurons, Reset
from snn_compile.options import CompileOptions


@dataclass(frozen=True)
class Burst(Rate):
    """A neuron sends up to ``burst`` spikes in a step: T steps tell ``burst * T + 1`` activations.

    As a rate, but a spike stands for less: bursts are what is usual, not a way to catch up.
    """

    name: ClassVar[str] = "burst"
    summary: ClassVar[str] = "bursts of up to 7 spikes, all layers at work at once"
    relevant_options: ClassVar[tuple[str, ...]] = ("timesteps",)
    stock_obstacle: ClassVar[str] = "no stock neuron sends several spikes in a step"

    n_steps: int = 8
    burst: int = 7

    @classmethod
    def from_options(cls, options: CompileOptions) -> Self:
        """Windows of ``--timesteps``."""
        return cls(options.number("timesteps"))

    @classmethod
    def levels_of(cls, size: int) -> int:
        """Spikes in a window in which every burst is full."""
        return cls.burst * size

    def correction(self, options: CompileOptions) -> Correction:
        """None of those there are, which suppose one spike a step."""
        del options
        return Correction.NOTHING

    def neurons(
        self, common_fields: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Integrate-and-fire neurons; a full burst in every step stands for ``scale``."""
        return IFNeurons(
            **common_fields,
            threshold=scale / self.burst,
            bias=bias,
            initial_potential=self.initial_potential,
            reset=Reset.SUBTRACT,
            burst=self.burst,
            relay=relay,
        )


@dataclass(frozen=True)
class Binary(Sync):
    """An activation is a spike or none: layers wait for each other, for a step each."""

    name: ClassVar[str] = "binary"
    summary: ClassVar[str] = "a spike or none, one layer after the other"
    relevant_options: ClassVar[tuple[str, ...]] = ()

    n_steps: int = 1
