"""Clip-floor neurons: one sum, one count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import EngineForm, Range, Variant
from snn_compile.ir.models.arithmetic import WIDE, bound, broadcast_steps, parameter
from snn_compile.ir.models.population import STATE, OneSumNeurons, Population


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipFloorNeurons(OneSumNeurons):
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

    conformance = "clip-floor"
    trait = "neurons that send counts"
    sums_windows = False
    soft_reset = False
    counts = True
    trained = ("bias", "threshold")

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return 0, self.levels

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        bias, threshold = (parameter(p, self)[..., None, :] for p in (self.bias, self.threshold))
        v = a.astype(WIDE) + bias
        bound(v, self)
        v //= threshold
        np.clip(v, 0, self.levels, out=v)
        return broadcast_steps(v, n_steps)

    @property
    def in_engine(self) -> EngineForm:
        """Kind 3."""
        own = {"threshold": self.threshold}
        moves = (self.threshold,)
        return EngineForm(3, own, moves=moves, is_stateless=True, sends_integers=True)

    @property
    def in_lava(self) -> str:
        """Only as its scheduled forms."""
        return "counts are sent as spikes over time: coding sync or radix"

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another threshold, or another comparison with it."""
        yield from variants.of_threshold(self, self.threshold)
        yield variants.strict(self.changed(bias=variants.increase(self.bias, -1)))

    def misfits(self) -> Iterator[str]:
        """At least one level."""
        if self.levels < 1:
            yield f"its levels is {self.levels}"
