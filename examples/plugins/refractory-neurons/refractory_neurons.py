"""A neuron model that no part of the compiler knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import Interval, Range, Variant
from snn_compile.ir.models.arithmetic import at_step, bound, integrate, parameter
from snn_compile.ir.models.population import STATE, Neurons, Population
from snn_compile.ir.spiking import Float


@dataclass(frozen=True, eq=False, kw_only=True)
class RefractoryIFNeurons(Neurons):
    """Integrate and fire that neither listens nor fires for some steps after a spike.

    At the first step of each window ``V = 0; r = 0``. Every step::

        V = V + a + bias      where r = 0     saturating at the state's format
        s = V >= threshold    where r = 0
        V = 0                 where s
        r = refractory        where s, else max(r - 1, 0)

    Attributes:
        threshold: (C,), >= 1.
        bias: added at every step in which the neuron listens; broadcasts to the shape.
        refractory: steps after a spike, >= 1.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    threshold: QTensor
    bias: QTensor
    refractory: int
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "refractory-if"
    trait = "neurons that rest after a spike"
    sums_windows = False
    window_reset = True
    soft_reset = False
    trained = None

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return 0, 1

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias, threshold = (parameter(p, self, a.dtype) for p in (self.bias, self.threshold))
        v = np.zeros((*a.shape[:-2], a.shape[-1]), a.dtype)
        rests = np.zeros(v.shape, np.int64)
        spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
        for t in range(n_steps):
            listens = rests == 0
            v += np.where(listens, at_step(a, t) + bias, 0)
            bound(v, self)
            fired = listens & (v >= threshold)
            spikes[..., t, :] = fired
            v[fired] = 0
            rests = np.where(fired, self.refractory, np.maximum(rests - 1, 0))
        return spikes

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Those of neurons that always listen: a rest only leaves steps out."""
        zero = np.zeros(self.shape[0], np.int64)
        return integrate(Interval(zero, zero), self.threshold, drive, n_steps, None)

    @property
    def threshold_steps(self) -> Float:
        """The threshold."""
        return self.threshold.values.astype(np.float64)

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> None:
        """Not known: what arrives during a rest is lost."""

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another threshold, or no rest."""
        yield from variants.of_threshold(self, self.threshold)
        one = self.changed(refractory=self.refractory + 1)
        yield Variant("refractory", "the rest is one step too long", one)

    def misfits(self) -> Iterator[str]:
        """At least one step of rest."""
        if self.refractory < 1:
            yield f"its refractory is {self.refractory}"
