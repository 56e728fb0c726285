"""The populations of the network in fixed point: each class states its neuron's equations.

No floats. ``sim/neurons.py`` executes these equations and ``docs/explanation/arithmetic.md`` is the
same text for people. Notation: ``a`` is the summed synaptic input of one time step, ``>>`` an
arithmetic shift and ``//`` a division, both rounding down.

There are three families. Graded and clip-floor neurons answer one sum with one integer. Sync and
sigma-delta neurons are the same two, spread over time (``ir/schedule.py``). Integrate-and-fire
neurons, signed ones and leaky ones answer each time step as it comes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Overflow, QFormat, QTensor
from snn_compile.ir.graph import Node
from snn_compile.ir.spiking import Reset

STATE = QFormat(24)
"""Membrane potentials and synaptic currents of Loihi: 24 bits, signed."""
STOCK_SUM = QFormat(18)
"""What a potential of 24 bits holds in units of the weight: six bits are below it."""
FRACTION_BITS = 6
"""Bits of a Loihi neuron's current and potential below the unit of its weights."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GradedNeurons(Node):
    """``V = a + bias; q = min((max(V, 0) * multiplier) >> shift, payload.max)``. No state.

    The rounding constant (half a payload step) is part of the bias: nothing is added after the
    product. ``multiplier`` has 12 bits, like the factor of Loihi's decay unit, so that the product
    is one the chip is known to have; ``(x >> 12) >> e == x >> (12 + e)``.

    Attributes:
        bias: broadcasts to the shape.
        multiplier: (C,), 2**11 <= multiplier < 2**12.
        shift: (C,), >= 0.
        payload: unsigned format of the message.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    multiplier: QTensor
    shift: QTensor
    payload: QFormat
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, self.payload.max


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipFloorNeurons(Node):
    """``V = a + bias; q = clip(V // threshold, 0, levels)``. No state.

    The activation of an integer network whose values are counts (the clip-floor-shift function of
    Bu et al. 2022, with the shift, half a threshold, in the bias). It is what layer-synchronous
    neurons compute in a window: :class:`SyncIFNeurons` is how a chip runs it.

    Attributes:
        threshold: (C,), >= 1.
        bias: broadcasts to the shape.
        levels: largest count.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    threshold: QTensor
    bias: QTensor
    levels: int
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, self.levels


@dataclass(frozen=True, eq=False, kw_only=True)
class IFNeurons(Node):
    """Integrate and fire with binary spikes.

    At the first step of each window ``V = initial_potential``. Every step::

        V = V + a + bias                      saturating at the state's format
        s = V >= threshold
        V = V - threshold where s             reset by subtraction
        V = 0             where s             reset to zero

    With bursts, a potential of several thresholds leaves at once, as a payload (Li, Zeng 2022)::

        s = clip(V // threshold, 0, burst)
        V = V - threshold * s

    Attributes:
        threshold: (C,), >= 1.
        bias: added at every step; broadcasts to the shape.
        initial_potential: (C,), or broadcasts to the shape.
        reset: what a spike does.
        burst: most spikes of one step; more than 1 only with reset by subtraction.
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

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, self.burst


@dataclass(frozen=True, eq=False, kw_only=True)
class SignedIFNeurons(Node):
    """Integrate and fire with spikes of both signs: a negative one takes a positive one back.

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

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return -1, 1


@dataclass(frozen=True, eq=False, kw_only=True)
class SyncIFNeurons(Node):
    """Layer-synchronous integrate and fire: listen for a window, then fire for a window.

    ``A`` collects what arrives while the sources have their window. When that is over::

        V = A + bias;  A = 0                  saturating at the state's format

    and at each of the T steps of the neuron's own window::

        s = V >= threshold
        V = V - threshold where s

    so that the spikes of a window are ``clip((A + bias) // threshold, 0, T)``, all of them at its
    beginning: exactly what :class:`ClipFloorNeurons` compute. ``A`` and ``V`` are two states; the
    next window is collected while this one fires.

    Attributes:
        threshold: (C,), >= 1.
        bias: added once a window; broadcasts to the shape.
        relay: whether the neurons only carry another population's values.
        state: format of A and V.
        overflow: what they would do at the ends of the range; shown never to happen.
    """

    threshold: QTensor
    bias: QTensor
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, 1


@dataclass(frozen=True, eq=False, kw_only=True)
class RadixIFNeurons(Node):
    """As :class:`SyncIFNeurons`, but a spike at step t carries ``2**(T - 1 - t)``: binary digits.

    With ``V = A + bias`` at the first step of the neuron's own window, at each of its T steps::

        s = V >= threshold << (T - 1 - t)
        V = V - (threshold << (T - 1 - t)) where s
        sends s << (T - 1 - t)

    so that a window's messages add up to ``clip((A + bias) // threshold, 0, 2**T - 1)``: T steps
    distinguish ``2**T`` activations (the few-spikes conversion of Stoeckl and Maass 2021 for a
    rectifier, its input complete before it fires).

    Attributes:
        threshold: (C,), >= 1.
        bias: added once a window; broadcasts to the shape.
        payload: unsigned format of a window's sum: T bits.
        relay: whether the neurons only carry another population's values.
        state: format of A and V.
        overflow: what they would do at the ends of the range; shown never to happen.
    """

    threshold: QTensor
    bias: QTensor
    payload: QFormat
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, 1 << (self.payload.bits - 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class SigmaDeltaNeurons(Node):
    """Graded neurons that send only what has changed since the frame before.

    ``S`` adds up all that has ever arrived, ``q`` is what was sent in total; both start at 0 and
    are never reset. Every step::

        S = S + a
        q' = min((max(S + bias, 0) * multiplier) >> shift, payload.max)
        s = q' - q;  q = q'

    Sums of what was sent are the payloads of :class:`GradedNeurons`, exactly: the network answers
    each frame of a stream as a graded network would, with one message for each neuron whose
    payload changed (sigma-delta networks, O'Connor and Welling 2017). Lava's stock SigmaDelta has
    no multiplier and loses the bits below its power-of-two scale, so it cannot do this.

    Attributes:
        bias: broadcasts to the shape.
        multiplier: (C,), 2**11 <= multiplier < 2**12.
        shift: (C,), >= 0.
        payload: unsigned format of q.
        relay: whether the neurons only carry another population's values.
        state: format of S + bias.
        overflow: what it would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    multiplier: QTensor
    shift: QTensor
    payload: QFormat
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return -self.payload.max, self.payload.max


@dataclass(frozen=True, eq=False, kw_only=True)
class CubaLIFNeurons(Node):
    """Loihi's current-based leaky integrate-and-fire neuron, as Lava 0.10.0 computes it.

    And two things more, for networks that were trained with spikes, which no stock neuron has:
    reset by subtraction, and a bias that flows through the current's filter.

    At the first step of each window ``u = v = 0``. Every step (``proc/lif/models.py``)::

        u = tz(u * (4096 - (current_decay + 1)))   the chip's ds_offset register is always 1 in Lava
        u = u + (a << 6)                           wraps once into (-2**23, 2**23]
        v = tz(v * (4096 - voltage_decay)) + u + bias     dm_offset is 0
        v = clip(v, -(2**23 - 1), 2**23 - 1)
        s = v > threshold << 6                     strict
        v = 0 where s                              u is untouched
        v = v - drop where s                       reset by subtraction

    A filtered bias is added to ``u`` before that wraps, and not to ``v``.

    There ``tz(x) = sign(x) * (abs(x) >> 12)``, truncation toward zero.

    Attributes:
        threshold: (C,), in units of the synaptic weight.
        bias: in units of 2**-6 of the weight; broadcasts to the shape.
        current_decay: Loihi's du, 0 to 4095 (4095: no memory of the current).
        voltage_decay: Loihi's dv, 0 to 4095 (0: no leak).
        reset: what a spike does to v.
        drop: (C,), what a spike takes with reset by subtraction, in units of 2**-6 of the weight;
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.drop is None) != (self.reset is Reset.ZERO):
            raise ValueError(f"'{self.id}' needs a drop with reset by subtraction, and only then")

    @property
    def is_stock(self) -> bool:
        """Whether it is the chip's own neuron, with nothing added."""
        return self.reset is Reset.ZERO and not self.filtered_bias

    @property
    def integrates(self) -> bool:
        """Whether the current has no memory and the potential no leak: ``v = v + (a << 6) + bias``.

        Then only the current can wrap. The potential saturates, far below zero where nothing is
        near, and above the threshold where it is reset anyway.
        """
        return self.current_decay == 4095 and self.voltage_decay == 0

    @property
    def messages(self) -> tuple[int, int]:
        """Smallest and largest message."""
        return 0, 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Node):
    """``V = V + a + bias`` from zero at the start of each window; the last V is an output.

    Attributes:
        bias: added at every step; broadcasts to the shape.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbedReadout(Readout):
    """A readout that Lava's own LIF can be: it never fires, and a probe reads its potential.

    The equation is that of :class:`Readout`. The potential has 18 bits: a LIF has 24, six of them
    below the unit of the weights, and spikes beyond 17 bits and a sign.
    """

    state: QFormat = STOCK_SUM


@dataclass(frozen=True, eq=False, kw_only=True)
class SyncReadout(Readout):
    """``V = A + bias`` with ``A`` as in :class:`SyncIFNeurons`; held for T steps, an output."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SigmaDeltaReadout(Readout):
    """``S = S + a`` as in :class:`SigmaDeltaNeurons`; ``S + bias`` is an output."""


Neurons = (
    GradedNeurons
    | ClipFloorNeurons
    | IFNeurons
    | SignedIFNeurons
    | SyncIFNeurons
    | RadixIFNeurons
    | SigmaDeltaNeurons
    | CubaLIFNeurons
)
Population = Neurons | Readout


def bits_below_weights(population: Population) -> int:
    """Bits that a population's states have below the unit of its weights."""
    return FRACTION_BITS if isinstance(population, CubaLIFNeurons) else 0


def along_channels(values: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """A parameter of shape (C,), or one that broadcasts already, as a view of the full shape."""
    if values.ndim == 1 and len(shape) > 1:
        values = values.reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(values, shape)
