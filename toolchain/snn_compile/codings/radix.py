"""Radix coding: the spikes of a window are the binary digits of the activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from snn_compile.codings.sync import Sync
from snn_compile.errors import UsageError
from snn_compile.ir.fixedpoint import Int, QFormat
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    PiecewiseLinearNeurons,
    PiecewiseLinearWindowNeurons,
    RadixIFNeurons,
    Readout,
    SyncReadout,
)
from snn_compile.ir.spiking import InputCoding, Schedule
from snn_compile.options import AUTO, CompileOptions


def _digits(values: Int, n_steps: int) -> Int:
    """The binary digits of each value, the largest first."""
    places = np.arange(n_steps)[::-1].reshape(-1, *[1] * (values.ndim - 2))
    return values & (1 << places).astype(values.dtype)


@dataclass(frozen=True)
class Radix(Sync):
    """Layer-synchronous, but a window's spikes are the binary digits of the activation.

    A spike at step t carries ``2**(n_steps - 1 - t)``: as many levels as a payload of ``n_steps``
    bits has, with one spike for each digit that is 1.
    """

    name: ClassVar[str] = "radix"
    summary: ClassVar[str] = "binary digits, one layer after the other"
    schedule: ClassVar[Schedule | None] = Schedule(
        input=InputCoding.FRAME,
        forms={
            ClipFloorNeurons: RadixIFNeurons,
            PiecewiseLinearNeurons: PiecewiseLinearWindowNeurons,
            Readout: SyncReadout,
        },
        parameters=lambda n_steps: {"payload": QFormat(n_steps, signed=False)},
        sent=_digits,
        spikes=np.bitwise_count,
    )
    stock_obstacle: ClassVar[str] = "no stock neuron waits for a window, and none sends digits"
    max_size: ClassVar[int] = 16
    """The bits of the widest payload."""

    n_steps: int = 8

    @classmethod
    def from_options(cls, options: CompileOptions) -> Self:
        """As many digits as ``--timesteps``, if they were given."""
        if options.timesteps == AUTO or not options.is_given("timesteps"):
            return cls()
        n_steps = options.number("timesteps")
        if n_steps > cls.max_size:
            raise UsageError(
                f"--coding radix takes at most {cls.max_size} steps, not {n_steps}",
                code="bad-option",
                hint="8 steps are as good as 8-bit payloads",
            )
        return cls(n_steps)

    @classmethod
    def levels_of(cls, size: int) -> int:
        """Largest sum of the digits."""
        return (1 << size) - 1
