"""Integrate-and-fire neurons with binary spikes or bursts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import LIF, EngineForm, Interval, LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import (
    along_channels,
    at_step,
    bound,
    ends,
    integrate,
    parameter,
    unevenness,
)
from snn_compile.ir.models.population import FRACTION_BITS, STATE, Neurons, Population
from snn_compile.ir.spiking import Reset


@dataclass(frozen=True, eq=False, kw_only=True)
class IFNeurons(Neurons):
    """Integrate and fire with binary spikes.

    At the first step of each window ``V = initial_potential``. Every step::

        V = V + a + bias                      saturating at the state's format
        s = V >= threshold
        V = V - threshold where s             reset by subtraction
        V = 0             where s             reset to zero

    With bursts, a potential of several thresholds is sent at once, as a payload (Li, Zeng 2022)::

        s = clip(V // threshold, 0, burst)
        V = V - threshold * s

    Attributes:
        threshold: (C,), >= 1.
        bias: added at every step; broadcasts to the shape.
        initial_potential: (C,), or broadcasts to the shape.
        reset: reset after a spike.
        burst: maximal number of spikes per step; more than 1 only with reset by subtraction.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    threshold: QTensor
    bias: QTensor
    initial_potential: QTensor
    reset: Reset
    burst: int = 1
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "if"
    trait = "integrate-and-fire neurons"
    sums_windows = False
    window_reset = True
    trained = ("bias", "threshold", "initial_potential")

    @property
    def kind(self) -> str:
        """With its reset."""
        return f"IF-{self.reset.value}"

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return 0, self.burst

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias, threshold, initial = (
            parameter(p, self, a.dtype) for p in (self.bias, self.threshold, self.initial_potential)
        )
        v = np.broadcast_to(initial, (*a.shape[:-2], a.shape[-1])).astype(a.dtype)
        spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
        drive = a + bias[..., None, :]
        subtract = self.reset is Reset.SUBTRACT
        for t in range(n_steps):
            v += at_step(drive, t)
            bound(v, self)
            fired = np.greater_equal(v, threshold)
            if self.burst > 1:
                fired = np.clip(v // threshold, 0, self.burst)
            spikes[..., t, :] = fired
            if subtract:
                v -= threshold * fired
            else:
                v[fired] = 0
        return spikes

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Bounds for a drive in [low, high] at every step.

        - downwards, nothing stops a negative drive: ``V >= min(v0, 0) + n_steps * min(low, 0)``
          (a spike leaves ``V >= 0``);
        - upwards, a spike subtracts ``threshold``, so the potential after a step is at most
          ``max(v0, threshold - 1)`` plus the excess of the drive over the threshold, each step.
        """
        most = self.burst if self.reset is Reset.SUBTRACT else None
        return integrate(ends(self.initial_potential, self), self.threshold, drive, n_steps, most)

    @property
    def in_engine(self) -> EngineForm | str:
        """Kind 4."""
        if self.burst > 1:
            return "the engine has no bursts"
        return EngineForm(
            4,
            {"threshold": self.threshold},
            self.initial_potential,
            (int(self.reset is Reset.ZERO),),
            moves=(self.threshold, self.initial_potential),
        )

    @property
    def as_lif(self) -> LIF | str:
        """Without memory of the current and without leak, if it resets to and starts at zero."""
        if self.reset is not Reset.ZERO:
            return "reset by subtraction; Loihi's LIF resets to zero"
        if self.initial_potential.values.any():
            return "potentials that do not start at 0"
        fine = self.bias.values << FRACTION_BITS
        return LIF(4095, 0, self.threshold.values - 1, fine)

    @property
    def soft_reset(self) -> bool:
        """Whether the reset is by subtraction."""
        return self.reset is Reset.SUBTRACT

    @property
    def in_lava(self) -> LavaProcess:
        """One process per way to fire and to reset."""
        arrays = ("bias", "threshold", "initial_potential")
        if self.burst > 1:
            reason = "Lava has no neuron that sends several spikes at once"
            return LavaProcess("BurstIF", reason, arrays, {"burst": self.burst})
        if self.reset is Reset.SUBTRACT:
            return LavaProcess("SubtractIF", "Lava has no reset by subtraction", arrays)
        return LavaProcess("ZeroIF", "stock LIF has narrower numbers", arrays)

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float | None:
        """Unknown for reset to zero, whose own loss is larger."""
        if self.reset is Reset.ZERO:
            return None
        start, bias, threshold = (
            along_channels(p.values, self.shape)
            for p in (self.initial_potential, self.bias, self.threshold)
        )
        most = self.burst * n_steps
        return unevenness(counts, arrived() + start + n_steps * bias, threshold, most)

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another threshold, start or reset."""
        yield from variants.of_threshold(self, self.threshold)
        if self.reset is Reset.SUBTRACT:
            # V > threshold is V - 1 >= threshold, and a potential that starts one lower stays so.
            start = variants.increase(self.initial_potential, -1)
            yield variants.strict(self.changed(initial_potential=start))
        yield from variants.of_start(self, self.initial_potential)
        if self.burst > 1:
            yield Variant("no-burst", "a step has one spike at most", self.changed(burst=1))
            return
        other = Reset.ZERO if self.reset is Reset.SUBTRACT else Reset.SUBTRACT
        how = "to zero" if other is Reset.ZERO else "by subtraction"
        yield Variant("reset", f"a spike resets {how}", self.changed(reset=other))

    def features(self) -> set[str]:
        """Its reset, and bursts."""
        return {f"reset:{self.reset.value}", *(["burst"] if self.burst > 1 else [])}

    def misfits(self) -> Iterator[str]:
        """At least one spike."""
        if self.burst < 1:
            yield f"its burst is {self.burst}"
