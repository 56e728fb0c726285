"""Loihi's current-based leaky integrate-and-fire neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import LIF, EngineForm, Interval, LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import (
    WIDE,
    at_step,
    ends,
    leaky_step,
    parameter,
    toward_zero,
)
from snn_compile.ir.models.population import FRACTION_BITS, STATE, Neurons, Population
from snn_compile.ir.spiking import Reset

_FAR_BEYOND = 1 << 45
_DECAY_BITS = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class CubaLIFNeurons(Neurons):
    """Loihi's current-based leaky integrate-and-fire neuron, as Lava 0.10.0 computes it.

    Two extensions for networks trained with spikes are not available in stock neurons: reset by
    subtraction, and a bias filtered like the current.

    At the first step of each window ``u = v = 0``. Every step (``proc/lif/models.py``)::

        u = tz(u * (4096 - (current_decay + 1)))   the chip's ds_offset register is always 1 in Lava
        u = u + (a << 6)                           wraps once into (-2**23, 2**23]
        v = tz(v * (4096 - voltage_decay)) + u + bias     dm_offset is 0
        v = clip(v, -(2**23 - 1), 2**23 - 1)
        s = v > threshold << 6                     strict
        v = 0 where s                              u is untouched
        v = v - drop where s                       reset by subtraction

    A filtered bias is added to ``u`` before that wraps, and not to ``v``.

    Here ``tz(x) = sign(x) * (abs(x) >> 12)``, truncation toward zero.

    Attributes:
        threshold: (C,), in units of the synaptic weight.
        bias: in units of 2**-6 of the weight; broadcasts to the shape.
        current_decay: Loihi's du, 0 to 4095 (4095: no memory of the current).
        voltage_decay: Loihi's dv, 0 to 4095 (0: no leak).
        reset: reset of v after a spike.
        drop: (C,), amount of a reset by subtraction, in units of 2**-6 of the weight;
            None with reset to zero.
        filtered_bias: whether the bias is added to the current.
        relay: whether the neurons only carry another population's values.
        state: format of u and v.
    """

    threshold: QTensor
    bias: QTensor
    current_decay: int
    voltage_decay: int
    reset: Reset = Reset.ZERO
    drop: QTensor | None = None
    filtered_bias: bool = False
    relay: bool = False
    state: QFormat = STATE

    conformance = "cuba-lif"
    trait = "leaky neurons whose decays truncate; their spikes would differ"
    sums_windows = False
    window_reset = False  # no hypothesis: the current persists, too
    soft_reset = False
    wraps = True
    bits_below_weights = FRACTION_BITS
    trained = ("bias", "threshold")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.drop is None) != (self.reset is Reset.ZERO):
            raise ValueError(f"'{self.id}' needs a drop with reset by subtraction, and only then")

    @property
    def is_stock(self) -> bool:
        """Whether it is the chip's own neuron, without extensions."""
        return self.reset is Reset.ZERO and not self.filtered_bias

    @property
    def integrates(self) -> bool:
        """Whether the current has no memory and the potential no leak: ``v = v + (a << 6) + bias``.

        Then only the current can wrap. The potential saturates far below zero, without effect, or
        above the threshold, where it is reset anyway.
        """
        return self.current_decay == 4095 and self.voltage_decay == 0

    @property
    def kind(self) -> str:
        """With the extensions of the chip's own neuron."""
        added = ["subtract"] if self.reset is Reset.SUBTRACT else []
        return "-".join(["CubaLIF", *added, *(["filtered-bias"] if self.filtered_bias else [])])

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return 0, 1

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
        for t, (_, _, fired) in enumerate(self.steps(a, n_steps)):
            spikes[..., t, :] = fired
        return spikes

    def steps(self, a: Int, n_steps: int) -> Iterator[tuple[Int, Int, npt.NDArray[np.bool_]]]:
        """u, v and s of every step, after the reset; (*shape, B) each."""
        bias, threshold = (parameter(p, self) for p in (self.bias, self.threshold))
        nothing = np.zeros_like(bias)
        into = (bias, nothing) if self.filtered_bias else (nothing, bias)
        drop = None if self.drop is None else parameter(self.drop, self)
        decays = self.current_decay, self.voltage_decay
        u = np.zeros((*a.shape[:-2], a.shape[-1]), WIDE)
        v = np.zeros_like(u)
        for t in range(n_steps):
            u, v = leaky_step((u, v), at_step(a, t), into, decays, self.state)
            fired = v > threshold << FRACTION_BITS
            if drop is None:
                v[fired] = 0
            else:
                v -= drop * fired
            yield u, v, fired

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Undefined: see ``leaky`` and ``states``."""
        raise TypeError("leaky neurons wrap and saturate by definition")

    def states(self, arriving: Interval, drive: Interval, n_steps: int) -> Interval:
        """Bounds of both states; of the current alone if the potential only integrates.

        Saturation of such a potential is part of its definition.
        """
        if not self.integrates:
            return self.leaky(arriving, n_steps)
        bias = ends(self.bias, self)
        low, high = bias.low * self.filtered_bias, bias.high * self.filtered_bias
        unit = FRACTION_BITS
        return Interval((arriving.low << unit) + low, (arriving.high << unit) + high)

    def leaky(self, arriving: Interval, n_steps: int) -> Interval:
        """Bounds of both states per channel, in their units: 2**-6 of a weight.

        Every step is monotone in the states and the input, so the ends of an interval give the ends
        of the next one. As long as these fit 24 bits, nothing wraps or saturates.
        """
        bias = ends(self.bias, self)
        added = np.stack([bias.low, bias.high])
        a = np.stack([arriving.low, arriving.high]) << FRACTION_BITS
        into_u, into_v = (added, 0 * added) if self.filtered_bias else (0 * added, added)
        keep_u, keep_v = 4096 - (self.current_decay + 1), 4096 - self.voltage_decay
        u: Int = np.zeros((2, self.shape[0]), np.int64)
        v: Int = u
        widest: Int = u
        for _ in range(n_steps):
            before = u, v
            u = toward_zero(u * keep_u) + a + into_u
            v = toward_zero(self._after_reset(v) * keep_v) + u + into_v
            low = np.minimum(widest[0], np.minimum(u[0], v[0]))
            widest = np.stack([low, np.maximum(widest[1], np.maximum(u[1], v[1]))])
            beyond = np.abs(widest).max() > _FAR_BEYOND  # further steps add no information
            if beyond or (np.array_equal(before[0], u) and np.array_equal(before[1], v)):
                break
        return Interval(widest[0], widest[1])

    def _after_reset(self, v: Int) -> Int:
        """Bounds (2, C) of potentials after a step, from those before the reset."""
        low, high = v
        threshold = self.threshold.values << FRACTION_BITS
        silent, fires = np.minimum(high, threshold), high > threshold
        if self.drop is None:
            return np.stack([np.minimum(low, 0), np.maximum(silent, 0)])
        drop = self.drop.values
        fired_low = np.minimum(low, np.maximum(low, threshold + 1) - drop)
        fired_high = np.maximum(silent, high - drop)
        return np.stack([np.where(fires, fired_low, low), np.where(fires, fired_high, high)])

    @property
    def in_engine(self) -> EngineForm | str:
        """Kind 6."""
        if not self.is_stock:
            return "the engine has no leaky neurons with reset by subtraction or a filtered bias"
        decays = self.current_decay, self.voltage_decay
        return EngineForm(6, {"threshold": self.threshold}, numbers=decays)

    @property
    def as_lif(self) -> LIF | str:
        """Itself."""
        if not self.is_stock:
            return "neurons that reset by subtraction or filter their bias"
        decays = self.current_decay, self.voltage_decay
        return LIF(*decays, self.threshold.values, self.bias.values)

    @property
    def in_lava(self) -> LavaProcess:
        """For neurons other than the chip's own, or with biases beyond its registers."""
        decays = {"du": self.current_decay, "dv": self.voltage_decay}
        if self.is_stock:
            reason = "the bias does not fit LIF's 16-bit mantissa"
            return LavaProcess("WindowedCubaLIF", reason, ("bias", "threshold"), decays)
        reason = "stock LIF has no reset by subtraction and no bias of the current"
        arrays = ("bias", "threshold", *self.kept)
        numbers = decays | {"filtered_bias": int(self.filtered_bias)}
        return LavaProcess("WindowedCubaLIF", reason, arrays, numbers)

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float:
        """0: indistinguishable from the loss to leak and reset."""
        del counts, arrived, n_steps
        return 0.0

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another threshold."""
        return variants.of_threshold(self, self.threshold)

    @property
    def kept(self) -> tuple[str, ...]:
        """The drop of a spike: a fixed share of the trained threshold."""
        return () if self.drop is None else ("drop",)

    def features(self) -> set[str]:
        """Its reset, and the place of the bias."""
        filtered = {"bias:filtered"} if self.filtered_bias else set[str]()
        return {f"reset:{self.reset.value}"} | filtered

    def misfits(self) -> Iterator[str]:
        """Decays of 12 bits."""
        for name in ("current_decay", "voltage_decay"):
            if not 0 <= (value := getattr(self, name)) < 1 << _DECAY_BITS:
                yield f"its {name} is {value}"
