"""Integrate-and-fire neurons with spikes of both signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import EngineForm, Interval, LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import (
    along_channels,
    at_step,
    bound,
    ends,
    integrate,
    parameter,
    unevenness,
)
from snn_compile.ir.models.population import STATE, Neurons, Population


@dataclass(frozen=True, eq=False, kw_only=True)
class SignedIFNeurons(Neurons):
    """Integrate and fire with spikes of both signs: a negative one cancels a positive one.

    At the first step of each window ``V = initial_potential; n = 0``. Every step::

        V = V + a + bias                      saturating at the state's format
        s = (V >= threshold) - (V < 0 and n > 0)
        V = V - threshold * s
        n = n + s

    A spike that came too early is corrected, so that the sum of a neuron's spikes settles on the
    activation of the quantized network (signed neurons of Fast-SNN, Hu et al. 2023). ``n`` is the
    sum so far and never negative.

    Attributes:
        threshold: (C,), >= 1.
        bias: added at every step; broadcasts to the shape.
        initial_potential: (C,), or broadcasts to the shape.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    threshold: QTensor
    bias: QTensor
    initial_potential: QTensor
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "signed-if"
    trait = "spikes of both signs"
    sums_windows = False
    window_reset = True
    soft_reset = True
    trained = ("bias", "threshold", "initial_potential")

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return -1, 1

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias, threshold, initial = (
            parameter(p, self, a.dtype) for p in (self.bias, self.threshold, self.initial_potential)
        )
        v = np.broadcast_to(initial, (*a.shape[:-2], a.shape[-1])).astype(a.dtype)
        sent = np.zeros(v.shape, a.dtype)
        spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
        drive = a + bias[..., None, :]
        for t in range(n_steps):
            v += at_step(drive, t)
            bound(v, self)
            fired = (v >= threshold).astype(np.int8) - ((v < 0) & (sent > 0))
            spikes[..., t, :] = fired
            v -= threshold * fired
            sent += fired
        return spikes

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Bounds of neurons with positive spikes only.

        A negative spike adds a threshold to a negative potential, which stays below the threshold.
        """
        return integrate(ends(self.initial_potential, self), self.threshold, drive, n_steps, 1)

    @property
    def in_engine(self) -> EngineForm:
        """Kind 5."""
        return EngineForm(
            5,
            {"threshold": self.threshold},
            self.initial_potential,
            moves=(self.threshold, self.initial_potential),
        )

    @property
    def in_lava(self) -> LavaProcess:
        """A process of its own."""
        reason = "Lava has no neuron that takes a spike back, and no reset by subtraction"
        return LavaProcess("SignedIF", reason, ("bias", "threshold", "initial_potential"))

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float:
        """Spikes that could not be cancelled in time."""
        start, bias, threshold = (
            along_channels(p.values, self.shape)
            for p in (self.initial_potential, self.bias, self.threshold)
        )
        return unevenness(counts, arrived() + start + n_steps * bias, threshold, n_steps)

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another threshold or start."""
        yield from variants.of_threshold(self, self.threshold)
        yield from variants.of_start(self, self.initial_potential)
