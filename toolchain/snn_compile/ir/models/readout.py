"""Readouts: populations that send no messages and hold an output of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models.answers import LIF, EngineForm, Interval, LavaProcess
from snn_compile.ir.models.arithmetic import (
    WIDE,
    at_step,
    bound,
    leaky_step,
    over_window,
    parameter,
    saturated,
)
from snn_compile.ir.models.population import FRACTION_BITS, STATE, STOCK_SUM, Population, no_lif

MAX_THRESHOLD = (1 << 17) - 1
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
        """Bounds without reset."""
        return Interval(n_steps * np.minimum(drive.low, 0), n_steps * np.maximum(drive.high, 0))

    @property
    def in_engine(self) -> EngineForm | str | None:
        """Kind 7."""
        return EngineForm(7)

    @property
    def as_lif(self) -> LIF | str:
        """A neuron that never fires."""
        never = np.full(self.shape[:1], MAX_THRESHOLD)
        return LIF(4095, 0, never, self.bias.values << FRACTION_BITS)

    @property
    def in_lava(self) -> LavaProcess | str:
        """A process of its own."""
        return LavaProcess("Readout", "Lava has no neuron that sends its potential", ("bias",))

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float:
        """0: sums are independent of order."""
        del counts, arrived, n_steps
        return 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbedReadout(Readout):
    """A readout as Lava's own LIF: it never fires, and a probe reads its potential.

    The equation is that of :class:`Readout`. The potential has 18 bits: a LIF has 24, six of them
    below the unit of the weights, and spikes beyond 17 bits and a sign.
    """

    state: QFormat = STOCK_SUM

    conformance = "probed-readout"


@dataclass(frozen=True, eq=False, kw_only=True)
class StartedReadout(Readout):
    """A :class:`Readout` whose V is ``initial_potential`` at the start of each window.

    The output of a network that was at work before its first sample. Saturation is part of the
    definition.

    Attributes:
        initial_potential: V before the window; broadcasts to the shape.
    """

    initial_potential: QTensor

    conformance = "started-readout"
    sums_windows = False
    wraps = True
    trained = None

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias = parameter(self.bias, self)
        v = np.zeros((*a.shape[:-2], a.shape[-1]), WIDE) + parameter(self.initial_potential, self)
        potentials = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), WIDE)
        for t in range(n_steps):
            v += at_step(a, t) + bias
            bound(v, self)
            potentials[..., t, :] = v
        return potentials

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Undefined: it saturates by definition."""
        raise TypeError("the potential saturates by definition")

    def states(self, arriving: Interval, drive: Interval, n_steps: int) -> Interval:
        """The whole range of the state."""
        del arriving, drive, n_steps
        return saturated(self)

    @property
    def in_engine(self) -> EngineForm | str | None:
        """Kind 7, with an initial potential."""
        return EngineForm(7, initial=self.initial_potential)

    @property
    def in_lava(self) -> LavaProcess | str:
        """A process of its own."""
        reason = "Lava has no neuron that sends its potential"
        return LavaProcess("StartedReadout", reason, ("bias", "initial_potential"))

    @property
    def as_lif(self) -> LIF | str:
        """It does not start at 0."""
        return "potentials that do not start at 0"


@dataclass(frozen=True, eq=False, kw_only=True)
class LeakyReadout(Readout):
    """Loihi's leaky neuron that never fires: its potential after the window is an output.

    At the first step of each window ``u = v = 0``. Every step, as of :class:`CubaLIFNeurons`::

        u = tz(u * (4096 - (current_decay + 1))) + (a << 6)    wraps once into (-2**23, 2**23]
        v = tz(v * (4096 - voltage_decay)) + u + bias
        v = clip(v, -(2**23 - 1), 2**23 - 1)

    Attributes:
        bias: in units of 2**-6 of the weight; broadcasts to the shape.
        current_decay: Loihi's du, 0 to 4095.
        voltage_decay: Loihi's dv, 0 to 4095.
    """

    current_decay: int
    voltage_decay: int

    conformance = "leaky-readout"
    sums_windows = False
    wraps = True
    bits_below_weights = FRACTION_BITS
    trained = None

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias, decays = parameter(self.bias, self), (self.current_decay, self.voltage_decay)
        into = np.zeros_like(bias), bias
        u = np.zeros((*a.shape[:-2], a.shape[-1]), WIDE)
        v = np.zeros_like(u)
        potentials = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), WIDE)
        for t in range(n_steps):
            u, v = leaky_step((u, v), at_step(a, t), into, decays, self.state)
            potentials[..., t, :] = v
        return potentials

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Undefined: it saturates by definition."""
        raise TypeError("leaky neurons wrap and saturate by definition")

    def states(self, arriving: Interval, drive: Interval, n_steps: int) -> Interval:
        """The whole range of the state."""
        del arriving, drive, n_steps
        return saturated(self)

    @property
    def in_engine(self) -> EngineForm | str | None:
        """None there."""
        return "the engine has no outputs that leak"

    @property
    def in_lava(self) -> LavaProcess | str:
        """A process of its own."""
        reason = "Lava has no neuron that sends its potential"
        decays = {"du": self.current_decay, "dv": self.voltage_decay}
        return LavaProcess("LeakyReadout", reason, ("bias",), decays)

    @property
    def as_lif(self) -> LIF | str:
        """Itself, with a threshold that nothing exceeds."""
        never = np.full(self.shape[:1], MAX_THRESHOLD)
        return LIF(self.current_decay, self.voltage_decay, never, self.bias.values)

    def misfits(self) -> Iterator[str]:
        """Decays of 12 bits."""
        for name in ("current_decay", "voltage_decay"):
            if not 0 <= (value := getattr(self, name)) < 1 << 12:
                yield f"its {name} is {value}"


@dataclass(frozen=True, eq=False, kw_only=True)
class SyncReadout(Readout):
    """``V = A + bias`` with ``A`` as in :class:`SyncIFNeurons`; held for T steps, an output."""

    conformance = "sync-readout"
    sums_windows = True
    window_reset = False
    single_step = True
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


@dataclass(frozen=True, eq=False, kw_only=True)
class SigmaDeltaReadout(Readout):
    """``S = S + a`` as in :class:`SigmaDeltaNeurons`; ``S + bias`` is an output."""

    conformance = "sigma-delta-readout"
    sums_windows = True
    window_reset = False
    single_step = True
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
