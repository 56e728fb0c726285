"""Sigma-delta coding: a message is by how much the activation has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snn_compile.codings.graded import Graded
from snn_compile.ir.quantized import (
    GradedNeurons,
    PiecewiseLinearDeltaNeurons,
    PiecewiseLinearNeurons,
    ProductDeltaNeurons,
    ProductNeurons,
    Readout,
    SigmaDeltaNeurons,
    SigmaDeltaReadout,
)
from snn_compile.ir.spiking import InputCoding, Schedule


@dataclass(frozen=True)
class SigmaDelta(Graded):
    """Graded, but a neuron sends only by how much its payload differs from the frame before."""

    name: ClassVar[str] = "sigma-delta"
    summary: ClassVar[str] = "changes of payloads from frame to frame"
    schedule: ClassVar[Schedule | None] = Schedule(
        input=InputCoding.CHANGES,
        forms={
            GradedNeurons: SigmaDeltaNeurons,
            PiecewiseLinearNeurons: PiecewiseLinearDeltaNeurons,
            ProductNeurons: ProductDeltaNeurons,
            Readout: SigmaDeltaReadout,
        },
    )
    stock_obstacle: ClassVar[str] = (
        "stock SigmaDelta has no multiplier: it loses the bits below a power of two,"
        " and its error grows from frame to frame"
    )
