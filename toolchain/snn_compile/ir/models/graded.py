"""Graded neurons: one sum, one payload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import EngineForm, LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import broadcast_steps, requantize, shift_misfits
from snn_compile.ir.models.population import STATE, OneSumNeurons, Population
from snn_compile.ir.spiking import Float


@dataclass(frozen=True, eq=False, kw_only=True)
class GradedNeurons(OneSumNeurons):
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

    conformance = "graded"
    trait = "spikes with payloads; its neurons send 0 or 1"
    sums_windows = False
    soft_reset = False
    trained = ("bias",)

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return 0, self.payload.max

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        return broadcast_steps(
            requantize(self, a, self.multiplier, self.shift, self.payload), n_steps
        )

    @property
    def in_engine(self) -> EngineForm:
        """Kind 2."""
        scale = {"multiplier": self.multiplier, "shift": self.shift}
        return EngineForm(2, scale, is_stateless=True, sends_integers=True)

    @property
    def in_lava(self) -> LavaProcess:
        """A product and a shift."""
        reason = "Lava has no neuron that rescales a payload"
        arrays = ("bias", "multiplier", "shift")
        return LavaProcess("Requantize", reason, arrays, {"payload_max": self.payload.max})

    @property
    def threshold_steps(self) -> Float:
        """Steps of the potential in a payload step."""
        steps: Float = 2.0**self.shift.values / self.multiplier.values
        return steps

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another scale."""
        return variants.of_scale(self, self.multiplier, self.shift)

    def misfits(self) -> Iterator[str]:
        """Shifts of int64."""
        return shift_misfits(self.shift)
