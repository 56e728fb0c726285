"""Sigma-delta neurons with a threshold, as Lava and lava-dl compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import EngineForm, Interval, LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import (
    VOLTAGE_LIMIT,
    WIDE,
    at_step,
    parameter,
    saturate,
    saturated,
)
from snn_compile.ir.models.population import STATE, Neurons, Population


@dataclass(frozen=True, eq=False, kw_only=True)
class ThresholdDeltaNeurons(Neurons):
    """Neurons that send changes of their activation, as soon as these reach a threshold.

    At the first step of each window ``S = 0`` and ``q = sent``. Every step
    (``proc/sdn/models.py`` of Lava 0.10.0, without ``cum_error``)::

        S = S + a                                  or S = a, of frames
        A = max(S + bias, 0)                       or A = S + bias, of frames
        A = clip(A, -(2**23 - 1), 2**23 - 1)
        d = A - q
        s = d where abs(d) >= threshold, else 0
        q = q + s
        sends s >> shift                           the low bits are lost: q keeps them

    What stays below the threshold waits, so the messages depend on the order of the input, and
    these neurons are no schedule of graded ones. Lava's CPU model has no end of ``A``; the chip's
    state has 24 bits.

    Attributes:
        bias: in units of the state; broadcasts to the shape. It includes the sum of the input
            before the window.
        threshold: (C,), in units of the state.
        sent: q before the window; broadcasts to the shape.
        shift: bits of the state below a message.
        of_frames: whether the input is a value, not its change; then it may be negative.
        relay: whether the neurons only carry another population's values.
        state: format of A.
    """

    bias: QTensor
    threshold: QTensor
    sent: QTensor
    shift: int
    of_frames: bool = False
    relay: bool = False
    state: QFormat = STATE

    conformance = "threshold-delta"
    trait = "neurons that send changes above a threshold"
    sums_windows = False
    window_reset = True
    soft_reset = False
    wraps = True
    trained = None

    @property
    def kind(self) -> str:
        """As other neurons that send changes."""
        return "SigmaDelta"

    @property
    def messages(self) -> Range:
        """Differences between any two activations."""
        span = VOLTAGE_LIMIT << int(self.of_frames)
        return -span >> self.shift, span >> self.shift

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        messages = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), WIDE)
        for t, (change, _) in enumerate(self._steps(a, n_steps)):
            messages[..., t, :] = change >> self.shift
        return messages

    def known_after(self, a: Int) -> Int:
        """Q of the first sample after all steps of an input, (*shape,)."""
        known = np.broadcast_to(parameter(self.sent, self), (*self.shape, a.shape[-1]))
        found: Int = [known, *(q for _, q in self._steps(a, a.shape[-2]))][-1][..., 0]
        return found

    def _steps(self, a: Int, n_steps: int) -> Iterator[tuple[Int, Int]]:
        """S and q of every step, (*shape, B) each."""
        bias, threshold, sent = (parameter(p, self) for p in (self.bias, self.threshold, self.sent))
        total = np.zeros((*a.shape[:-2], a.shape[-1]), WIDE)
        known = np.broadcast_to(sent, total.shape).astype(WIDE)
        for t in range(n_steps):
            arriving = at_step(a, t).astype(WIDE)
            total = arriving if self.of_frames else total + arriving
            active = total + bias
            if not self.of_frames:
                np.maximum(active, 0, out=active)
            saturate(active, self.state)
            change = active - known
            change[np.abs(change) < threshold] = 0
            known = known + change
            yield change, known

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Undefined: the activation saturates by definition."""
        raise TypeError("the activation saturates by definition")

    def states(self, arriving: Interval, drive: Interval, n_steps: int) -> Interval:
        """Bounds of the activation: the whole range of the state."""
        del arriving, drive, n_steps
        whole = saturated(self)
        return whole if self.of_frames else Interval(0 * whole.high, whole.high)

    @property
    def in_engine(self) -> EngineForm:
        """Kind 10."""
        parameters = {"threshold": self.threshold}
        numbers = self.shift, int(self.of_frames)
        return EngineForm(10, parameters, self.sent, numbers, sends_integers=True)

    @property
    def in_lava(self) -> LavaProcess:
        """Stock SigmaDelta is never reset and has no rest to start a window from."""
        return LavaProcess(
            "ThresholdDelta",
            "stock SigmaDelta is never reset, so that samples would not be independent",
            ("bias", "threshold", "sent"),
            {"message_shift": self.shift, "of_frames": int(self.of_frames)},
        )

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> None:
        """Unknown."""
        del counts, arrived, n_steps

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another threshold."""
        return variants.of_threshold(self, self.threshold)

    def features(self) -> set[str]:
        """Whether it takes frames."""
        return {"of-frames"} if self.of_frames else set()

    def misfits(self) -> Iterator[str]:
        """A shift of the state's width."""
        if not 0 <= self.shift < STATE.bits:
            yield f"its shift is {self.shift}"
