"""Neurons that pass every message on, some steps later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.models.answers import Interval, LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import WIDE, at_step
from snn_compile.ir.models.population import STATE, OneSumNeurons, Population

MOST = 62
"""Steps of the longest delay of a synapse on Loihi."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DelayNeurons(OneSumNeurons):
    """``s[t] = a[t - delay]``, and 0 in the first steps of a window.

    They stand for delays of the synapses that read them. Unlike a relay, which carries a message to
    a later row of the clock, they carry it to a later step of the window. What is late at the
    window's end is lost.

    Attributes:
        bias: 0.
        delay: steps, 0 to 62.
        low: smallest message of their source, at most 0.
        high: its largest message, at least 0.
        relay: whether the neurons only carry another population's values.
        state: format of a message that waits.
    """

    bias: QTensor
    delay: int
    low: int
    high: int
    relay: bool = False
    state: QFormat = STATE

    conformance = "delay"
    trait = "neurons that send messages later"
    sums_windows = False
    window_reset = True
    soft_reset = False
    trained = None

    @property
    def messages(self) -> Range:
        """Those of their source."""
        return self.low, self.high

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        messages = np.zeros((*a.shape[:-2], n_steps, a.shape[-1]), WIDE)
        for t in range(self.delay, n_steps):
            messages[..., t, :] = at_step(a, t - self.delay)
        return messages

    def potential(self, drive: Interval, n_steps: int) -> Interval:
        """Bounds of a message."""
        del n_steps
        return drive

    @property
    def in_lava(self) -> LavaProcess:
        """A row of messages that wait."""
        reason = "Lava's delays are of whole synapse groups, and outlast a window"
        return LavaProcess("Delay", reason, (), {"delay": self.delay})

    def unevenness(self, counts: Int, arrived: Callable[[], Int], n_steps: int) -> float:
        """0: nothing is added up."""
        del counts, arrived, n_steps
        return 0.0

    def own_variants(self) -> Iterator[Variant[Population]]:
        """A delay of one step more or less."""
        for other in (self.delay - 1, self.delay + 1):
            if 0 <= other <= MOST:
                text = f"messages are {other} steps late"
                yield Variant("delay", text, self.changed(delay=other))

    def features(self) -> set[str]:
        """None but their kind."""
        return set()

    def misfits(self) -> Iterator[str]:
        """A delay that synapses have, messages that include 0, and no bias."""
        if not 0 <= self.delay <= MOST:
            yield f"its delay is {self.delay}"
        if not self.low <= 0 <= self.high:
            yield f"its messages go from {self.low} to {self.high}"
        if self.bias.values.any():
            yield "it has a bias"
