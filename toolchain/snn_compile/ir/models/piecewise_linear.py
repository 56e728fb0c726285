"""Piecewise linear neurons: one sum, one payload of either sign, by a table of lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from snn_compile.ir.fixedpoint import Int, Overflow, QFormat, QTensor
from snn_compile.ir.models import variants
from snn_compile.ir.models.answers import EngineForm, LavaProcess, Range, Variant
from snn_compile.ir.models.arithmetic import (
    WIDE,
    broadcast_steps,
    on_lines,
    over_window,
    table_misfits,
)
from snn_compile.ir.models.population import STATE, ChangeNeurons, OneSumNeurons, Population
from snn_compile.ir.spiking import Float

TABLES = ("breakpoints", "multiplier", "offset", "shift")
"""Parameters with a row per channel."""


class Lines(OneSumNeurons):
    """Base of both models below: the table, and its consequences."""

    breakpoints: QTensor
    multiplier: QTensor
    offset: QTensor
    shift: QTensor
    low: int
    high: int

    soft_reset = False
    trained = None
    tables: ClassVar[tuple[str, ...]] = TABLES

    def on_its_lines(self, a: Int) -> Int:
        """The payload of every sum; see :class:`PiecewiseLinearNeurons`."""
        ends = self.low, self.high
        return on_lines(self, a, self.breakpoints, self.multiplier, self.offset, self.shift, ends)

    @property
    def sends_sums(self) -> bool:
        """With a single line through the origin, one payload step for each of the potential."""
        parts = (self.multiplier.values - 1, self.offset.values, self.shift.values)
        return not self.breakpoints.values.size and not any(
            part.any() for part in (*parts, self.bias.values)
        )

    @property
    def threshold_steps(self) -> Float:
        """Steps of the potential in a payload step where the function is steepest."""
        slopes = np.ldexp(np.abs(self.multiplier.values).astype(np.float64), -self.shift.values)
        steepest: Float = slopes.max(axis=1)
        return 1.0 / np.where(steepest > 0, steepest, 1.0)

    def own_variants(self) -> Iterator[Variant[Population]]:
        """Another scale, or another line at a breakpoint."""
        yield from variants.of_scale(self, self.multiplier, self.shift)
        if self.breakpoints.values.size:
            part = self.changed(breakpoints=variants.increase(self.breakpoints, 1))
            yield Variant("breakpoint", "lines begin one step too late", part)

    def features(self) -> set[str]:
        """Whether there are several lines."""
        return {"lines:several"} if self.breakpoints.values.size else {"lines:one"}

    def misfits(self) -> Iterator[str]:
        """A table with inconsistent parts, and payloads without 0."""
        yield from table_misfits(self.breakpoints, self.multiplier, self.offset, self.shift)
        if not self.low <= 0 <= self.high:
            yield f"its messages from {self.low} to {self.high} leave out 0"


@dataclass(frozen=True, eq=False, kw_only=True)
class PiecewiseLinearNeurons(Lines):
    """``V = a + bias; q = clip((V * multiplier[k] + offset[k]) >> shift[k], low, high)``.

    k is the number of the channel's breakpoints that V has reached: ``sum_j V >= breakpoints[j]``.
    No state. Half a payload step, for rounding, is part of the offset; nothing is added after the
    shift. A product has 24 x 12 bits and a sign, as in Loihi's decay unit; the offset and the sum
    have up to 48 bits.

    Attributes:
        bias: broadcasts to the shape.
        breakpoints: (C, S - 1), ascending; beyond the state where a channel has fewer lines.
        multiplier: (C, S), signed, of at most 13 bits.
        offset: (C, S).
        shift: (C, S), >= 0.
        low: smallest message, <= 0.
        high: largest message, >= 0.
        relay: whether the neurons only carry another population's values.
        state: format of V.
        overflow: what V would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    breakpoints: QTensor
    multiplier: QTensor
    offset: QTensor
    shift: QTensor
    low: int
    high: int
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "piecewise-linear"
    trait = "neurons with a table of lines"
    sums_windows = False

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return self.low, self.high

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        return broadcast_steps(self.on_its_lines(a), n_steps)

    @property
    def in_engine(self) -> EngineForm:
        """Kind 8, and a table."""
        never = np.full((self.shape[0], 1), 0)
        columns = (
            np.concatenate([never, self.breakpoints.values], axis=1),
            self.multiplier.values,
            self.offset.values,
            self.shift.values,
        )
        table = np.stack(columns, axis=-1)
        return EngineForm(
            8, numbers=(table.shape[1],), table=table, is_stateless=True, sends_integers=True
        )

    @property
    def in_lava(self) -> LavaProcess:
        """Comparisons, a product and a shift."""
        return LavaProcess(
            "PiecewiseLinear",
            "Lava has no neuron with a table of lines",
            ("bias", *TABLES),
            {"lowest": self.low, "highest": self.high},
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class PiecewiseLinearDeltaNeurons(Lines, ChangeNeurons):
    """Piecewise linear neurons that send only the change since the frame before.

    ``S`` is the sum of all input, ``q`` the sum of all messages; both start at 0 and
    are never reset. Every step, with k the number of breakpoints that ``V = S + bias`` has
    reached::

        S = S + a
        q' = clip((V * multiplier[k] + offset[k]) >> shift[k], low, high)
        s = q' - q;  q = q'

    Attributes:
        bias: broadcasts to the shape.
        breakpoints: (C, S - 1), ascending; beyond the state where a channel has fewer lines.
        multiplier: (C, S), signed, of at most 13 bits.
        offset: (C, S).
        shift: (C, S), >= 0.
        low: smallest q, <= 0.
        high: largest q, >= 0.
        relay: whether the neurons only carry another population's values.
        state: format of S + bias.
        overflow: what it would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    breakpoints: QTensor
    multiplier: QTensor
    offset: QTensor
    shift: QTensor
    low: int
    high: int
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "piecewise-linear-delta"
    trait = "neurons with a table of lines that send changes"

    @property
    def payloads(self) -> Range:
        """Smallest and largest q."""
        return self.low, self.high

    def payload_of(self, sums: Int) -> Int:
        """q; see the class."""
        return self.on_its_lines(sums)

    @property
    def in_lava(self) -> LavaProcess:
        """The same, with the sum sent before."""
        return LavaProcess(
            "PiecewiseLinearDelta",
            "Lava has no neuron with a table of lines",
            ("bias", *TABLES),
            {"lowest": self.low, "highest": self.high},
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class PiecewiseLinearWindowNeurons(Lines):
    """Piecewise linear neurons between layers that wait for a window: one payload in each.

    ``A`` collects what arrives while the sources have their window. When that is over, with k the
    number of breakpoints that ``V = A + bias`` has reached::

        s = clip((V * multiplier[k] + offset[k]) >> shift[k], low, high);  A = 0

    at the first step of the neuron's own window, and nothing at the others: readers that collect a
    window collect the payload.

    Attributes:
        bias: broadcasts to the shape.
        breakpoints: (C, S - 1), ascending; beyond the state where a channel has fewer lines.
        multiplier: (C, S), signed, of at most 13 bits.
        offset: (C, S).
        shift: (C, S), >= 0.
        low: smallest message, <= 0.
        high: largest message, >= 0.
        relay: whether the neurons only carry another population's values.
        state: format of A and V.
        overflow: what they would do at the ends of its range; shown never to happen.
    """

    bias: QTensor
    breakpoints: QTensor
    multiplier: QTensor
    offset: QTensor
    shift: QTensor
    low: int
    high: int
    relay: bool = False
    state: QFormat = STATE
    overflow: Overflow = Overflow.SATURATE

    conformance = "piecewise-linear-window"
    trait = "neurons that listen for a window before they send a payload"
    sums_windows = True
    in_engine = None

    @property
    def messages(self) -> Range:
        """Smallest and largest message."""
        return self.low, self.high

    def respond(self, a: Int, n_steps: int) -> Int:
        """See the class."""
        payload = self.on_its_lines(over_window(a, n_steps)[..., None, :])
        sent = np.zeros((*payload.shape[:-2], n_steps, payload.shape[-1]), WIDE)
        sent[..., :1, :] = payload
        return sent

    @property
    def in_lava(self) -> LavaProcess:
        """Once a window, of what it has collected."""
        return LavaProcess(
            "PiecewiseLinearWindow",
            "Lava has no neuron that waits for a window, and none with a table of lines",
            ("bias", *TABLES),
            {"lowest": self.low, "highest": self.high},
        )
