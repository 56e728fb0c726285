"""How activations become spikes. A coding is one class; nothing else knows which ones exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from snn_compile.convert.linear import Float
from snn_compile.ir.spiking import GradedNeurons, IFNeurons, InputCoding, Neurons, Reset, Window
from snn_compile.options import CompileOptions


class Coding(Protocol):
    """A coding as the rest of the compiler sees it."""

    name: ClassVar[str]

    @property
    def window(self) -> Window:
        """Name and time steps."""
        ...

    @property
    def levels(self) -> int:
        """Largest activation in units of the smallest: activations have ``levels + 1`` values."""
        ...

    @property
    def input(self) -> InputCoding:
        """How the input arrives unless the user says otherwise."""
        ...

    def neurons(
        self, place: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """The population that stands for a rectifier whose activations reach ``scale``.

        Args:
            place: id, inputs, shape and origin (see ``Node.place``).
            scale: largest activation per channel, (C,).
            bias: added at every step; broadcasts to the shape.
            relay: whether it only carries another population's values.
        """
        ...


@dataclass(frozen=True)
class Graded:
    """One event per active neuron whose payload is the activation, rounded to ``bits`` bits."""

    name: ClassVar[str] = "graded"
    bits: int = 8

    @property
    def window(self) -> Window:
        """One step: the input frame, once."""
        return Window(self.name, 1)

    @property
    def levels(self) -> int:
        """Largest payload."""
        return (1 << self.bits) - 1

    @property
    def input(self) -> InputCoding:
        """Payloads, like everything else."""
        return InputCoding.GRADED

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


@dataclass(frozen=True)
class Rate:
    """The activation is the share of time steps in which a binary spike is sent."""

    name: ClassVar[str] = "rate"
    n_steps: int = 32
    reset: Reset = Reset.SUBTRACT
    initial_potential: float = 0.5

    @property
    def window(self) -> Window:
        """``n_steps`` steps for every layer, all layers at work at once."""
        return Window(self.name, self.n_steps)

    @property
    def levels(self) -> int:
        """Largest number of spikes."""
        return self.n_steps

    @property
    def input(self) -> InputCoding:
        """A constant current."""
        return InputCoding.CURRENT

    def neurons(
        self, place: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Integrate-and-fire neurons; a spike in every step stands for ``scale``."""
        return IFNeurons(
            **place,
            threshold=scale,
            bias=bias,
            initial_potential=self.initial_potential,
            reset=self.reset,
            relay=relay,
        )


def coding_of(options: CompileOptions, default: str) -> Coding:
    """The coding that the options ask for, or the target's."""
    name = options.coding or default
    if name == Graded.name:
        return Graded(options.payload_bits)
    reset = Reset(options.reset)
    initial = options.initial_potential
    if initial is None:
        # Half a threshold makes the rounding of counts unbiased (Bu et al. 2022). A reset to zero
        # wipes it out with the first spike, and Loihi's own reset neuron starts at zero.
        initial = 0.5 if reset is Reset.SUBTRACT else 0.0
    return Rate(options.timesteps, reset, initial)
