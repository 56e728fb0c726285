"""Layer-synchronous integrate-and-fire neurons: clip-floor neurons, spread over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import bound, over_window, parameter
from snn_compile.ir.models.population import STATE, OneSumNeurons, Population


@dataclass(frozen=True, eq=False, kw_only=True)
class SyncIFNeurons(OneSumNeurons):
    """Layer-synchronous integrate and fire: listen for a window, then fire for a window.

    ``A`` accumulates the input during the window of the sources. After that::

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

    conformance = "sync-if"
    trait = "neurons that listen for a window before they fire"
    sums_windows = True
    soft_reset = True
    in_engine = None
    trained = None

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return 0, 1

    def total(self, n_steps: int) -> Range:
        """At most one spike per step."""
        return 0, n_steps

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias, threshold = (parameter(p, self) for p in (self.bias, self.threshold))
        v = over_window(a, n_steps) + bias
        bound(v, self)
        spikes = np.empty((*a.shape[:-2], n_steps, a.shape[-1]), np.int8)
        for t in range(n_steps):
            fired = v >= threshold
            spikes[..., t, :] = fired
            v -= threshold * fired
        return spikes

    @property
    def in_lava(self) -> LavaProcess:
        """A process of its own."""
        reason = "Lava has no neuron that waits for a window, and no reset by subtraction"
        return LavaProcess("SyncIF", reason, ("bias", "threshold"))

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another threshold, or another comparison with it."""
        yield from variants.of_threshold(self, self.threshold)
        yield variants.strict(self.changed(bias=variants.increase(self.bias, -1)))
