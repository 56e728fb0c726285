"""Product neurons: the product of two payloads, once or spread over the frames of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import EngineForm, LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import WIDE, bound, broadcast_steps, parameter
from snn_compile.ir.models.population import STATE, ChangeNeurons, OneSumNeurons, Population
from snn_compile.ir.spiking import Float

OPERAND_BITS = 12
"""Bits of an operand, sign included: two of them fill a potential."""
MAX_OPERAND = (1 << (OPERAND_BITS - 1)) - 1
"""Operands are symmetric, so that no potential leaves ``VOLTAGE_LIMIT``."""
MAX_PAYLOAD = (1 << 20) - 1
MAX_SHIFT = 32
"""From here on every product of two operands and a multiplier is rounded to 0."""
REASON = "Lava's ProdNeuron has no multiplier: it scales by a power of two and rounds down"


class _Product(OneSumNeurons):
    """What product neurons of both kinds answer."""

    bias: QTensor
    multiplier: QTensor
    shift: QTensor
    low: int
    high: int

    soft_reset = False
    trained = None

    def multiplied(self, a: Int) -> Int:
        """The payload of every sum; see :class:`ProductNeurons`."""
        bias, factor, places = (
            parameter(p, self)[..., None, :] for p in (self.bias, self.multiplier, self.shift)
        )
        v: Int = a.astype(WIDE) + bias
        bound(v, self)
        x = (v + (1 << (OPERAND_BITS - 1))) >> OPERAND_BITS
        y = v - (x << OPERAND_BITS)
        product: Int = x * y * factor  # 22 bits and a sign, times 12
        payload: Int = np.clip((product + ((1 << places) >> 1)) >> places, self.low, self.high)
        return payload

    @property
    def threshold_steps(self) -> Float:
        """Steps of the product of the operands in a payload step."""
        steps: Float = 2.0**self.shift.values / self.multiplier.values
        return steps

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another scale."""
        for variant in variants.of_scale(self, self.multiplier, self.shift):
            if not tuple(variant.part.misfits()):
                yield variant

    def misfits(self) -> Iterator[str]:
        """Numbers with which a product is exact, in a double too."""
        for name, tensor, largest in (
            ("shift", self.shift, MAX_SHIFT),
            ("multiplier", self.multiplier, (1 << 12) - 1),
        ):
            values = tensor.values
            if values.size and not 0 <= values.min() <= values.max() <= largest:
                yield f"its {name} is out of range"
        if not -MAX_PAYLOAD <= self.low <= 0 <= self.high <= MAX_PAYLOAD:
            yield f"its messages from {self.low} to {self.high} are out of range"


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductNeurons(_Product):
    """The product of two operands that arrive in one sum. No state.

    The synapses of the operand x have 2**12 times the weight of those of y, so that one sum carries
    both, each with 12 bits and a sign among them; ``|y| <= 2047`` tells them apart::

        V = a + bias
        x = (V + 2**11) >> 12
        y = V - (x << 12)                  the lower 12 bits, signed
        q = clip((x * y * multiplier + (2**shift >> 1)) >> shift, low, high)

    The product has at most 22 bits, with the multiplier 34.

    Attributes:
        bias: 2**12 times what is added to x, and what is added to y; broadcasts to the shape.
        multiplier: (C,), multiplier < 2**12.
        shift: (C,), 0 <= shift <= 32.
        low: smallest message, <= 0.
        high: largest message, >= 0.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    multiplier: QTensor
    shift: QTensor
    low: int
    high: int
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "product"
    trait = "neurons that multiply two payloads"
    sums_windows = False

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return self.low, self.high

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        return broadcast_steps(self.multiplied(a), n_steps)

    @property
    def in_engine(self) -> EngineForm:
        """Kind 9."""
        scale = {"multiplier": self.multiplier, "shift": self.shift}
        return EngineForm(9, scale, is_stateless=True, sends_integers=True)

    @property
    def in_lava(self) -> LavaProcess:
        """Two products and a shift."""
        arrays = ("bias", "multiplier", "shift")
        return LavaProcess(
            "Product", REASON, arrays, {"payload_min": self.low, "payload_max": self.high}
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ProductDeltaNeurons(_Product, ChangeNeurons):
    """Product neurons that send only the change since the frame before.

    ``S`` is the sum of all input: 2**12 times one operand and the other. ``q`` is the sum of all
    messages; both start at 0 and are never reset. Every step::

        S = S + a
        q' = the answer of ProductNeurons to S
        s = q' - q;  q = q'

    Attributes:
        bias: as in :class:`ProductNeurons`, like all that is not stated here.
        multiplier: (C,).
        shift: (C,).
        low: of q.
        high: of q.
        relay: whether the neurons only carry another population's values.
        state: format of S + bias.
        overflow: what it would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    multiplier: QTensor
    shift: QTensor
    low: int
    high: int
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "product-delta"
    trait = "neurons that send changes of a product"

    @property
    def payloads(self) -> Range:
        """Smallest and largest q."""
        return self.low, self.high

    def payload_of(self, sums: Int) -> Int:
        """q; see the class."""
        return self.multiplied(sums)

    @property
    def in_lava(self) -> LavaProcess:
        """As ``ProductNeurons``, and what was sent before."""
        arrays = ("bias", "multiplier", "shift")
        ends = {"payload_min": self.low, "payload_max": self.high}
        return LavaProcess("ProductDelta", REASON, arrays, ends)
