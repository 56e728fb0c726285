"""Readouts of networks whose layers wait for each other's windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.models.answers import LIF, Interval, LavaProcess
from snn_compile.ir.models.arithmetic import bound, over_window, parameter
from snn_compile.ir.models.population import no_lif
from snn_compile.ir.models.readout import Readout


@dataclass(frozen=True, eq=False, kw_only=True)
class SyncReadout(Readout):
    """``V = A + bias`` with ``A`` as in :class:`SyncIFNeurons`; held for T steps, an output."""

    conformance = "sync-readout"
    sums_windows = True
    window_reset = False
    at_once = True
    in_engine = None
    trained = None

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        v = over_window(a, n_steps) + parameter(self.bias, self)
        bound(v, self)
        return np.broadcast_to(v[..., None, :], (*v.shape[:-1], n_steps, v.shape[-1]))

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Those of the window's sum."""
        del n_steps
        return drive

    @property
    def in_lava(self) -> LavaProcess | str:
        """A process of its own."""
        return LavaProcess("SyncReadout", "Lava has no neuron that sends its potential", ("bias",))

    @property
    def as_lif(self) -> LIF | str:
        """It waits for a window."""
        return no_lif(self)
