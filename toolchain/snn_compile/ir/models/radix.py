"""Neurons that send a count in binary digits: clip-floor neurons, spread over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models.answers import LavaProcess, Range
from snn_compile.ir.models.arithmetic import bound, over_window, parameter
from snn_compile.ir.models.population import STATE, OneSumNeurons


@dataclass(frozen=True, eq=False, kw_only=True)
class RadixIFNeurons(OneSumNeurons):
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

    conformance = "radix-if"
    trait = "neurons that listen for a window before they fire"
    sums_windows = True
    soft_reset = True
    in_engine = None
    trained = None

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return 0, 1 << (self.payload.bits - 1)

    def total(self, n_steps: int) -> Range:
        """All digits 1."""
        del n_steps
        return 0, self.payload.max

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias, threshold = (parameter(p, self) for p in (self.bias, self.threshold))
        v = over_window(a, n_steps) + bias
        bound(v, self)
        sent = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int32)
        for t in range(n_steps):
            place = n_steps - 1 - t
            fired = v >= threshold << place
            sent[..., t, :] = fired.astype(np.int32) << place
            v -= (threshold << place) * fired
        return sent

    @property
    def in_lava(self) -> LavaProcess:
        """A process of its own."""
        reason = "Lava has no neuron that waits for a window, and none that sends digits"
        return LavaProcess("RadixIF", reason, ("bias", "threshold"))
