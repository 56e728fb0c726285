"""How activations become spikes. A coding is one class; nothing else knows which ones exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from snn_compile.convert.linear import Float
from snn_compile.errors import UsageError
from snn_compile.ir.spiking import (
    ClipFloorNeurons,
    GradedNeurons,
    IFNeurons,
    InputCoding,
    Neurons,
    Reset,
    SignedIFNeurons,
    Window,
)
from snn_compile.options import AUTO, CompileOptions


class Coding(Protocol):
    """A coding as the rest of the compiler sees it."""

    name: ClassVar[str]
    at_once: ClassVar[bool]
    """Whether an activation is computed from one sum, by an integer network of one step, however
    it is sent. Such a network needs no simulation over time, and its spikes have no error of their
    own: they add up to its integers."""

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
    at_once: ClassVar[bool] = True
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
class SigmaDelta(Graded):
    """Graded, but a neuron sends only by how much its payload differs from the frame before."""

    name: ClassVar[str] = "sigma-delta"


@dataclass(frozen=True)
class Sync:
    """Layer-synchronous: a neuron listens for a window, then sends its activation as a count.

    Nothing can be sent too early or too late, so that the counts are those of an integer network
    exactly. A layer takes a window: a network of depth d, ``(d + 1) * n_steps`` steps.
    """

    name: ClassVar[str] = "sync"
    at_once: ClassVar[bool] = True
    n_steps: int = 32

    @property
    def window(self) -> Window:
        """``n_steps`` steps for every layer, one layer after the other."""
        return Window(self.name, self.n_steps)

    @property
    def levels(self) -> int:
        """Largest number of spikes."""
        return self.n_steps

    @property
    def input(self) -> InputCoding:
        """A frame at the first step, as a payload or a current."""
        return InputCoding.GRADED

    def neurons(
        self, place: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Clip-floor neurons, one count being ``scale / levels``."""
        return ClipFloorNeurons(
            **place,
            threshold=scale / self.levels,
            bias=bias,
            levels=self.levels,
            relay=relay,
        )


@dataclass(frozen=True)
class Radix(Sync):
    """Layer-synchronous, but a window's spikes are the binary digits of the activation.

    A spike at step t carries ``2**(n_steps - 1 - t)``: as many levels as a payload of ``n_steps``
    bits has, with one spike for each digit that is 1.
    """

    name: ClassVar[str] = "radix"
    n_steps: int = 8

    @property
    def levels(self) -> int:
        """Largest sum of the digits."""
        return (1 << self.n_steps) - 1


MOST_DIGITS = 16
"""Steps of a radix window: the bits of the widest payload."""


@dataclass(frozen=True)
class Rate:
    """The activation is the share of time steps in which a binary spike is sent."""

    name: ClassVar[str] = "rate"
    at_once: ClassVar[bool] = False
    n_steps: int = 32
    reset: Reset = Reset.SUBTRACT
    initial_potential: float = 0.5
    burst: int = 1

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
            burst=self.burst,
            relay=relay,
        )


@dataclass(frozen=True)
class Signed(Rate):
    """Rate, with negative spikes that take back those which came too early."""

    name: ClassVar[str] = "signed"

    def neurons(
        self, place: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Signed integrate-and-fire neurons; a spike in every step stands for ``scale``."""
        return SignedIFNeurons(
            **place,
            threshold=scale,
            bias=bias,
            initial_potential=self.initial_potential,
            relay=relay,
        )


def coding_of(options: CompileOptions, default: str) -> Coding:
    """The coding that the options ask for, or the target's.

    Raises:
        UsageError: there is no such coding, or it cannot do what the other options ask for.
    """
    name = options.coding or default
    coding = _coding(name, options)
    if coding.at_once and options.input == InputCoding.POISSON.value:
        raise UsageError(
            f"--coding {name} takes each frame at once; Poisson spikes need time to arrive in",
            code="bad-option",
            hint="use --coding rate or signed",
        )
    if options.input == InputCoding.EVENTS.value:
        raise UsageError(
            "events are for networks that were trained with spikes; this one takes whole frames",
            code="bad-option",
            hint="use --input current, poisson or graded",
        )
    return coding


def _coding(name: str, options: CompileOptions) -> Coding:
    n_steps, bits = options.number("timesteps"), options.number("payload_bits")
    initial, reset = options.initial_potential, Reset(options.reset)
    if initial is None:
        # Half a threshold makes the rounding of counts unbiased (Bu et al. 2022). A reset to zero
        # wipes it out with the first spike, and Loihi's own reset neuron starts at zero.
        initial = 0.0 if name == Rate.name and reset is Reset.ZERO else 0.5
    match name:
        case Graded.name:
            return Graded(bits)
        case SigmaDelta.name:
            return SigmaDelta(bits)
        case Sync.name:
            return Sync(n_steps)
        case Radix.name:
            if options.timesteps == AUTO or not options.is_given("timesteps"):
                return Radix()
            if n_steps > MOST_DIGITS:
                raise UsageError(
                    f"--coding radix takes at most {MOST_DIGITS} steps, not {n_steps}",
                    code="bad-option",
                    hint="8 steps are as good as 8-bit payloads",
                )
            return Radix(n_steps)
        case Signed.name:
            return Signed(n_steps, Reset.SUBTRACT, initial)
        case Rate.name:
            return Rate(n_steps, reset, initial, options.burst)
    raise UsageError(f"there is no coding '{name}'", code="bad-option")
