"""Graded coding: a message is the activation itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from snn_compile.codings.coding import Coding
from snn_compile.ir.curve import Curve
from snn_compile.ir.spiking import (
    Float,
    GradedNeurons,
    InputCoding,
    Neurons,
    PiecewiseLinearNeurons,
    ProductNeurons,
)


@dataclass(frozen=True)
class Graded(Coding):
    """One event per active neuron whose payload is the activation, rounded to ``bits`` bits."""

    name: ClassVar[str] = "graded"
    summary: ClassVar[str] = "payloads, once a frame"
    relevant_options: ClassVar[tuple[str, ...]] = ("payload_bits", "activation_segments")
    single_step: ClassVar[bool] = True
    payloads: ClassVar[bool] = True
    multiplies: ClassVar[bool] = True
    input: ClassVar[InputCoding] = InputCoding.GRADED
    stock_obstacle: ClassVar[str] = "no stock neuron rescales a payload"
    max_size: ClassVar[int] = 8

    bits: int = 8
    most: int | None = None

    @property
    def size(self) -> int:
        """Bits of a payload."""
        return self.bits

    @classmethod
    def levels_of(cls, size: int) -> int:
        """Largest payload."""
        return (1 << size) - 1

    @property
    def levels(self) -> int:
        """Largest payload of this network's or, on a grid of its own, this population's."""
        return self.levels_of(self.bits) if self.most is None else self.most

    def on_levels(self, levels: int) -> Coding:
        """With the payloads of a grid that the coding's cover."""
        return replace(self, most=levels) if levels < self.levels else self

    def with_payloads(self, bits: int | None) -> Coding:
        """With payloads of so many bits."""
        return self if bits is None else replace(self, bits=bits)

    def finer(self, bits: int | None) -> Coding:
        """With payloads of so many bits, if that is more."""
        return replace(self, bits=max(self.bits, bits or 0))

    def neurons(
        self, common_fields: Mapping[str, Any], *, scale: Float, bias: Float, relay: bool = False
    ) -> Neurons:
        """Requantizing neurons, one payload step being ``scale / levels``.

        Their payloads saturate at the largest number of so many bits. On a grid that ends before
        it, neurons with a table of lines compute the rectifier; a relay never saturates.
        """
        if self.levels & (self.levels + 1) and not relay:
            curve = _rectifier(len(scale))
            return self.of_function(common_fields, curve, scale=scale, bias=bias)
        return GradedNeurons(
            **common_fields,
            threshold=scale / self.levels,
            bias=bias,
            levels=self.levels,
            relay=relay,
        )

    def of_function(
        self, common_fields: Mapping[str, Any], curve: Curve, *, scale: Float, bias: Float
    ) -> Neurons:
        """Neurons with tables of lines. The largest magnitude has ``levels`` steps, and a sign."""
        step = scale / self.levels
        steepest = np.abs(curve.slope).max(axis=1)
        lowest = float(np.floor(curve.low / step + 0.5).min())
        return PiecewiseLinearNeurons(
            **common_fields,
            threshold=step / np.where(steepest > 0, steepest, 1.0),
            bias=bias,
            step=step,
            breakpoints=curve.breakpoints,
            anchor=curve.anchor,
            value=curve.value,
            slope=curve.slope,
            error=curve.error / step,
            low=int(max(min(lowest, 0.0), -self.levels)),
            high=self.levels,
        )

    def product(
        self, common_fields: Mapping[str, Any], *, scale: Float, step: Float, signed: bool
    ) -> Neurons:
        """Product neurons, one payload step being ``scale / levels``."""
        return ProductNeurons(
            **common_fields,
            threshold=scale / self.levels,
            bias=np.zeros((len(scale), 1, 1)),
            step=step,
            low=-self.levels if signed else 0,
            high=self.levels,
        )


def _rectifier(n_channels: int) -> Curve:
    zero, corner = np.zeros((n_channels, 1)), np.zeros((n_channels, 2))
    slope = np.tile([0.0, 1.0], (n_channels, 1))
    return Curve(zero, corner, corner, slope, error=zero[:, 0], low=zero[:, 0])
