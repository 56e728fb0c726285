"""Sigma-delta neurons: graded neurons, spread over the frames of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import requantize, shift_misfits
from snn_compile.ir.models.population import STATE, ChangeNeurons, Population
from snn_compile.ir.spiking import Float


@dataclass(frozen=True, eq=False, kw_only=True)
class SigmaDeltaNeurons(ChangeNeurons):
    """Graded neurons that send only the change since the frame before.

    ``S`` is the sum of all input, ``q`` the sum of all messages; both start at 0 and
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

    conformance = "sigma-delta"
    trait = "neurons that send changes"
    soft_reset = False
    trained = None

    @property
    def payloads(self) -> Range:
        """Smallest and largest q."""
        return 0, self.payload.max

    def payload_of(self, sums: Int) -> Int:
        """q; see the class."""
        return requantize(self, sums, self.multiplier, self.shift, self.payload)

    @property
    def in_lava(self) -> LavaProcess:
        """A product and a shift, and what was sent before."""
        return LavaProcess(
            "RequantizedSigmaDelta",
            "stock SigmaDelta has no multiplier and loses the bits below its power-of-two scale",
            ("bias", "multiplier", "shift"),
            {"payload_max": self.payload.max},
        )

    @property
    def threshold_steps(self) -> Float:
        """Of a payload step."""
        steps: Float = 2.0**self.shift.values / self.multiplier.values
        return steps

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another scale."""
        return variants.of_scale(self, self.multiplier, self.shift)

    def misfits(self) -> Iterator[str]:
        """A product of int64."""
        return shift_misfits(self.shift)
