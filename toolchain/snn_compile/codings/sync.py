"""Synchronous coding: the activation is a number of spikes, and layers wait for each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from snn_compile.codings.coding import Coding
from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import (
    ClipFloorNeurons,
    PiecewiseLinearNeurons,
    PiecewiseLinearWindowNeurons,
    Readout,
    SyncIFNeurons,
    SyncReadout,
)
from snn_compile.ir.spiking import Float, InputCoding, Neurons, Schedule


def _first_steps(values: Int, n_steps: int) -> Int:
    """A spike in each of the first ``value`` steps."""
    steps = np.arange(n_steps).reshape(-1, *[1] * (values.ndim - 2))
    return np.less(steps, values).astype(np.int8)


@dataclass(frozen=True)
class Sync(Coding):
    """Layer-synchronous: a neuron listens for a window, then sends its activation as a count.

    Nothing can be sent too early or too late, so that the counts are those of an integer network
    exactly. A layer takes a window: a network of depth d, ``(d + 1) * n_steps`` steps. The input is
    a frame at the first step, as a payload or a current.
    """

    name: ClassVar[str] = "sync"
    summary: ClassVar[str] = "counts of spikes, one layer after the other"
    single_step: ClassVar[bool] = True
    input: ClassVar[InputCoding] = InputCoding.GRADED
    schedule: ClassVar[Schedule | None] = Schedule(
        input=InputCoding.FRAME,
        forms={
            ClipFloorNeurons: SyncIFNeurons,
            PiecewiseLinearNeurons: PiecewiseLinearWindowNeurons,
            Readout: SyncReadout,
        },
        sent=_first_steps,
    )
    stock_obstacle: ClassVar[str] = (
        "no stock neuron waits for a window, and none resets by subtraction"
    )

    n_steps: int = 32

    @property
    def size(self) -> int:
        """Steps of a window, and the largest number of spikes in it."""
        return self.n_steps

    def neurons(
        self, common_fields: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Clip-floor neurons, one count being ``scale / levels``."""
        return spiking.ClipFloorNeurons(
            **common_fields,
            threshold=scale / self.levels,
            bias=bias,
            levels=self.levels,
            relay=relay,
        )
