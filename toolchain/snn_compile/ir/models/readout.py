"""Readouts that add up what arrives: an output of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models.answers import LIF, EngineForm, Interval, LavaProcess, Variant
from snn_compile.ir.models.arithmetic import WIDE, at_step, bound, parameter
from snn_compile.ir.models.population import FRACTION_BITS, STATE, Population

MOST_THRESHOLD = (1 << 17) - 1
"""The largest threshold of Loihi's own neuron."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Population):
    """``V = V + a + bias`` from zero at the start of each window; the last V is an output.

    Attributes:
        bias: added at every step; broadcasts to the shape.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "readout"
    trait = "outputs of this coding"
    sums_windows = False
    window_reset = True
    soft_reset = False
    threshold_steps = None
    trained: ClassVar[tuple[str, ...] | None] = ("bias",)

    @property
    def kind(self) -> str:
        """Of all readouts."""
        return "Readout"

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias = parameter(self.bias, self)
        v = np.zeros((*a.shape[:-2], a.shape[-1]), WIDE)
        potentials = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), WIDE)
        for t in range(n_steps):
            v += at_step(a, t) + bias
            bound(v, self)
            potentials[..., t, :] = v
        return potentials

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Nothing resets it."""
        return Interval(n_steps * np.minimum(drive.low, 0), n_steps * np.maximum(drive.high, 0))

    @property
    def in_engine(self) -> EngineForm | str | None:
        """Kind 7."""
        return EngineForm(7)

    @property
    def as_lif(self) -> LIF | str:
        """A neuron that never fires."""
        never = np.full(self.shape[:1], MOST_THRESHOLD)
        return LIF(4095, 0, never, self.bias.values << FRACTION_BITS)

    @property
    def in_lava(self) -> LavaProcess | str:
        """A process of its own."""
        return LavaProcess("Readout", "Lava has no neuron that sends its potential", ("bias",))

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float:
        """Sums have no order."""
        del counts, arrived, n_steps
        return 0.0

    def own_variants(self) -> Iterator[Variant[Population]]:
        """None that are known."""
        return iter(())
