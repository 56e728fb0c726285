"""Readouts of networks that send changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.models.answers import LIF, Interval, LavaProcess
from snn_compile.ir.models.arithmetic import bound, parameter
from snn_compile.ir.models.population import no_lif
from snn_compile.ir.models.readout import Readout


@dataclass(frozen=True, eq=False, kw_only=True)
class SigmaDeltaReadout(Readout):
    """``S = S + a`` as in :class:`SigmaDeltaNeurons`; ``S + bias`` is an output."""

    conformance = "sigma-delta-readout"
    sums_windows = True
    window_reset = False
    at_once = True
    in_engine = None
    trained = None

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        del n_steps  # one a frame
        v: Int = a.cumsum(axis=-1, dtype=np.int64) + parameter(self.bias, self)[..., None, :]
        bound(v, self)
        return v

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Those of all changes so far."""
        del n_steps
        return drive

    @property
    def in_lava(self) -> LavaProcess | str:
        """A process of its own."""
        reason = "stock Sigma has no bias and no 24-bit state"
        return LavaProcess("SigmaDeltaReadout", reason, ("bias",))

    @property
    def as_lif(self) -> LIF | str:
        """It is never reset."""
        return no_lif(self)
