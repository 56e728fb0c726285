"""The interface of a coding, and the selection of one by the options."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from snn_compile.coding_registry import coding_class, guard_call
from snn_compile.errors import UnsupportedError, UsageError
from snn_compile.ir.curve import Curve
from snn_compile.ir.spiking import Float, InputCoding, Neurons, Schedule, Window
from snn_compile.options import CompileOptions


class Correction(enum.Enum):
    """Corrections by calibration data, for codings whose full scale is one spike per step."""

    NOTHING = "nothing"
    POTENTIALS = "potentials"
    """Spikes come too early or too late: the potentials that neurons start a window with."""
    RESETS = "resets"
    """A reset to zero throws potential away: thresholds and biases."""


class Coding(ABC):
    """The interface of a coding to the compiler, its reports and its command line.

    A coding is a frozen dataclass that extends this class, with its parameters as fields. A package
    adds one by an entry point of the group ``snn_compile.codings``, whose name is that of the
    coding; nothing else has to know that it exists.

    Attributes:
        name: as ``--coding`` takes it.
        summary: what a message means, in a few words.
        relevant_options: options that mean something in it, of those that do not in all codings.
        single_step: whether an activation is computed from one sum, so that an integer network of
            one step computes it. Such a network needs no simulation over time, and its spikes
            have no error of their own: they add up to its integers.
        payloads: whether a message is a payload of ``--payload-bits``; else ``--timesteps`` decides
            how many values an activation has.
        multiplies: whether neurons can multiply two messages, which must be payloads for it.
        input: how the input arrives unless the user says otherwise.
        schedule: how an integer network is spread over time; None if it is not.
        stock_obstacle: why no neuron of Intel's extension of Lava computes it; empty if one does.
        max_size: where the search for the fewest steps or bits ends.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    relevant_options: ClassVar[tuple[str, ...]] = ("timesteps",)
    single_step: ClassVar[bool] = False
    payloads: ClassVar[bool] = False
    multiplies: ClassVar[bool] = False
    input: ClassVar[InputCoding]
    schedule: ClassVar[Schedule | None] = None
    stock_obstacle: ClassVar[str] = "no stock neuron sends such messages"
    max_size: ClassVar[int] = 256

    @classmethod
    def from_options(cls, options: CompileOptions) -> Self:
        """The coding with the parameters that the options give it: so many steps or bits.

        Options outside ``relevant_options`` have their default values.

        Raises:
            UsageError: it cannot do what they ask for.
        """
        name = cls.resolution()
        return cls(*([options.number(name)] if name in cls.relevant_options else []))

    @property
    @abstractmethod
    def size(self) -> int:
        """Time steps of a window, or bits of a payload."""

    @abstractmethod
    def neurons(
        self, common_fields: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """The population that stands for a rectifier whose activations reach ``scale``.

        Args:
            common_fields: id, inputs, shape and origin (see ``Node.common_fields``).
            scale: largest activation per channel, (C,).
            bias: added at every step; broadcasts to the shape.
            relay: whether it only carries another population's values.
        """

    def of_function(
        self, common_fields: Mapping[str, Any], curve: Curve, *, scale: Float, bias: Float
    ) -> Neurons:
        """The population that stands for a function of one activation, given as lines.

        Args:
            common_fields: id, inputs, shape and origin (see ``Node.common_fields``).
            curve: the lines of each channel.
            scale: largest magnitude per channel, (C,).
            bias: added to what arrives; broadcasts to the shape.

        Raises:
            UnsupportedError: its messages are no payloads.
        """
        del curve, scale, bias
        raise self.no_function(common_fields)

    def no_function(self, common_fields: Mapping[str, Any]) -> UnsupportedError:
        """The complaint about a function that is no sum of rectifiers."""
        return UnsupportedError(
            f"is no sum of a few rectifiers, and --coding {self.name} has no other neurons",
            code="function-coding",
            origin=common_fields["origin"],
            hint="use --coding graded, whose neurons have tables of lines",
        )

    def product(
        self, common_fields: Mapping[str, Any], *, scale: Float, step: Float, signed: bool
    ) -> Neurons:
        """The population that multiplies two payloads; ``multiplies`` says that there is one.

        Args:
            common_fields: id, inputs, shape and origin (see ``Node.common_fields``).
            scale: largest magnitude of a product per channel, (C,).
            step: real value of a product of one payload step of each operand, (C,).
            signed: whether products may be negative.
        """
        del common_fields, scale, step, signed
        raise TypeError(f"{self.name} coding has no product neurons")

    def with_payloads(self, bits: int | None) -> Coding:
        """The coding with payloads of so many bits, if it has payloads; of its own for None."""
        del bits
        return self

    def finer(self, bits: int | None) -> Coding:
        """The coding with payloads of so many bits, if it has payloads and these are more."""
        del bits
        return self

    def on_levels(self, levels: int) -> Coding:
        """The coding with payloads of at most ``levels``, if it has payloads and these are fewer.

        A network with quantized activations states the grid of each population.
        """
        del levels
        return self

    @classmethod
    def levels_of(cls, size: int) -> int:
        """Largest activation in units of the smallest, for so many steps or bits."""
        return size

    @property
    def levels(self) -> int:
        """Largest activation in units of the smallest: activations have ``levels + 1`` values."""
        return self.levels_of(self.size)

    @property
    def window(self) -> Window:
        """Name and time steps; payloads take one."""
        return Window(self.name, 1 if self.payloads else self.size)

    def correction(self, options: CompileOptions) -> Correction:
        """What calibration data can set right about the timing of spikes."""
        del options
        return Correction.NOTHING

    @classmethod
    def resolution(cls) -> str:
        """The option that decides how many values an activation has."""
        return "payload_bits" if cls.payloads else "timesteps"

    @classmethod
    def with_narrow_payloads(cls, bits: int) -> str:
        """The option that makes messages no wider than so many bits, for people."""
        return f"--{cls.resolution().replace('_', '-')} {bits}"

    @classmethod
    def format_size(cls, size: object) -> str:
        """So many steps or bits, for people."""
        return f"{size} bit" if cls.payloads else f"T = {size}"

    def describe(self) -> str:
        """What kind of network it makes, for people."""
        return f"{self.name}, {self.format_size(self.size)}"


def coding_of(options: CompileOptions, default: str) -> Coding:
    """The coding that the options ask for, or the target's.

    Raises:
        UsageError: there is no such coding, or it cannot do what the other options ask for.
    """
    name = options.coding or default
    kind = coding_class(name)
    with guard_call(name, "from_options"):
        coding: Coding = kind.from_options(options.relevant_to(name))
    if coding.single_step and options.input == InputCoding.POISSON.value:
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
