"""Result types of neuron models: bounds, and forms in other executors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from snn_compile.ir.fixedpoint import Int, QTensor

T = TypeVar("T")
Range = tuple[int, int]
"""Smallest and largest value."""


@dataclass(frozen=True)
class Interval:
    """Smallest and largest value per channel, (C,) each."""

    low: Int
    high: Int

    @property
    def magnitude(self) -> int:
        """Largest absolute value over all channels."""
        return int(max(-self.low.min(initial=0), self.high.max(initial=0)))


@dataclass(frozen=True, eq=False)
class EngineForm:
    """A population in the form of ``toolchain/engine``.

    Attributes:
        kind: number of the neuron model in ``neurons.hpp``.
        per_channel: parameters (C,), by their names in the engine.
        initial: potential at the start of a window, if the model has one.
        numbers: further arguments of the model, at most four, in the order of ``neurons.hpp``.
        table: rows of four integers for each channel, (C, S, 4), if the model has one.
        moves: parameters that are added to a potential or subtracted from it.
        is_stateless: whether messages depend on the current input only.
        sends_integers: whether messages may need more than 8 bits.
    """

    kind: int
    per_channel: Mapping[str, QTensor] = field(default_factory=dict)
    initial: QTensor | None = None
    numbers: tuple[int, ...] = ()
    table: Int | None = None
    moves: tuple[QTensor, ...] = ()
    is_stateless: bool = False
    sends_integers: bool = False


@dataclass(frozen=True, eq=False)
class LIF:
    """A population as the chip's own neuron.

    Attributes:
        du, dv: decays.
        threshold: (C,) in units of the weight; the comparison is strict.
        bias: in units of 2**-6 of the weight; broadcasts to the shape.
    """

    du: int
    dv: int
    threshold: Int
    bias: Int


@dataclass(frozen=True)
class LavaProcess:
    """A process of ``snn_backends/lava/templates/processes`` that computes a population.

    Attributes:
        name: its class.
        reason: why no process of Lava's own is suitable.
        arrays: parameters passed under their own names.
        numbers: its other arguments, apart from the window and the range of the state.
    """

    name: str
    reason: str
    arrays: tuple[str, ...]
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant(Generic[T]):
    """A part of the network with a hypothetical fault.

    Attributes:
        kind: stable name of the fault.
        text: description of the fault.
        part: the population or the synapse group.
    """

    kind: str
    text: str
    part: T
