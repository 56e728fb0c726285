"""A piecewise linear function per channel: the origin of a piecewise linear neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """Lines of all channels of a function, in the units of its argument and its value.

    Attributes:
        breakpoints: starts of all lines but the first, (C, S - 1); infinite for missing lines.
        anchor: a point of each line, (C, S).
        value: value at the anchor, (C, S).
        slope: slope, (C, S).
        error: largest distance from the function in the fitted range, (C,).
        low: smallest value in that range, (C,).
    """

    breakpoints: Float
    anchor: Float
    value: Float
    slope: Float
    error: Float
    low: Float

    def of(self, index: Sequence[int]) -> Curve:
        """The curve of other channels, by indices into these."""
        return Curve(*(getattr(self, item.name)[list(index)] for item in fields(self)))

    def __call__(self, x: npt.NDArray[np.floating]) -> Float:
        """Values for arguments (C, ...)."""
        found = np.empty(x.shape)
        rows = zip(x, self.breakpoints, self.anchor, self.value, self.slope, strict=True)
        for to, (here, breakpoints, anchor, value, slope) in zip(found, rows, strict=True):
            k = np.searchsorted(breakpoints, here, side="right")
            to[...] = value[k] + slope[k] * (here - anchor[k])
        return found
