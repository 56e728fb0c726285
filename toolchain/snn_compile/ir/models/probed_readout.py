"""Readouts that are neurons of the chip, whose potential a probe reads."""

from __future__ import annotations

from dataclasses import dataclass

from snn_compile.ir.fixedpoint import QFormat
from snn_compile.ir.models.population import STOCK_SUM
from snn_compile.ir.models.readout import Readout


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbedReadout(Readout):
    """A readout that Lava's own LIF can be: it never fires, and a probe reads its potential.

    The equation is that of :class:`Readout`. The potential has 18 bits: a LIF has 24, six of them
    below the unit of the weights, and spikes beyond 17 bits and a sign.
    """

    state: QFormat = STOCK_SUM

    conformance = "probed-readout"
