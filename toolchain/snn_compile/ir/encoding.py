"""Conversion between real numbers and the network's integers; run by the host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class InputEncoding:
    """``encoded = clip(round(x / unit), low, high)``.

    Attributes:
        unit: real value of one step; one per entry of the first axis of the input, or one for all.
        low: smallest encoded value, at most 0.
        high: largest encoded value, at least 1.
        shape: shape of one sample in the user's data.
        maps: (C, H, W) of the network's input population.
    """

    unit: Float
    low: int
    high: int
    shape: Shape
    maps: Shape

    @property
    def parts(self) -> tuple[InputEncoding, ...]:
        """The encoding of each input."""
        return (self,)

    @staticmethod
    def spanning(low: Float, high: Float, bits: int, shape: Shape, maps: Shape) -> InputEncoding:
        """An encoding on ``2**bits`` levels that holds 0 exactly, so that padding stays 0.

        Args:
            low: smallest input per entry of the first axis, <= 0.
            high: largest input, >= 0.
            bits: width.
            shape: of one sample. Maps get a unit per channel; the features of a vector share one,
                because a single feature says little about its own range.
            maps: shape of the input population.
        """
        if int(np.prod(shape[1:])) == 1:
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        span = high - low
        span = np.where(span > 0, span, max(float(span.max()), 1.0))
        unit = span / ((1 << bits) - 1)
        # A range that exceeds a step by a rounding error must not gain a level.
        least = int(np.floor((low / unit + 1e-6).min()))
        most = int(np.ceil((high / unit - 1e-6).max()))
        return InputEncoding(unit, min(least, 0), max(most, 1), shape, maps)

    def __call__(self, x: npt.NDArray[np.number]) -> Int:
        """Encode (N, *shape) real values as (N, *maps) integers."""
        with np.errstate(over="ignore"):  # infinity exceeds the highest level anyway
            levels = np.clip(np.rint(x / _column(self)), self.low, self.high)
        encoded: Int = levels.astype(np.int64).reshape(len(x), *self.maps)
        return encoded

    def noise(self, n: int, generator: np.random.Generator) -> Int:
        """Random encoded samples over the whole range, (n, *maps)."""
        shape = (n, *self.maps)
        return generator.integers(self.low, self.high, shape, np.int64, endpoint=True)


@dataclass(frozen=True, eq=False)
class JoinedEncoding:
    """The encodings of several inputs; a sample is one row, real as encoded (``ir.inputs``).

    Attributes:
        parts: the encoding of each input.
    """

    parts: tuple[InputEncoding, ...]

    @property
    def unit(self) -> Float:
        """Real value of one step of each value of a sample."""
        units = [np.broadcast_to(_column(part), part.shape).ravel() for part in self.parts]
        return np.concatenate(units)

    @property
    def low(self) -> int:
        """Smallest encoded value."""
        return min(part.low for part in self.parts)

    @property
    def high(self) -> int:
        """Largest encoded value."""
        return max(part.high for part in self.parts)

    @property
    def shape(self) -> Shape:
        """Shape of one sample in real values."""
        return (sum(prod(part.shape) for part in self.parts),)

    @property
    def maps(self) -> Shape:
        """Shape of an encoded sample."""
        return self.shape

    def __call__(self, x: npt.NDArray[np.number]) -> Int:
        """Encode (N, *shape) real values as (N, *maps) integers."""
        encoded, start = [], 0
        for part in self.parts:
            stop = start + prod(part.shape)
            values = part(x[:, start:stop].reshape(len(x), *part.shape))
            encoded.append(values.reshape(len(x), stop - start))
            start = stop
        return np.concatenate(encoded, axis=1)

    def noise(self, n: int, generator: np.random.Generator) -> Int:
        """Random encoded samples over the whole range of each input, (n, *maps)."""
        drawn = [part.noise(n, generator) for part in self.parts]
        return np.concatenate(
            [values.reshape(n, prod(values.shape[1:])) for values in drawn], axis=1
        )


def join_encodings(parts: Iterable[InputEncoding]) -> Encoding:
    """The encoding of a sample from those of the inputs, in order."""
    listed = tuple(parts)
    return listed[0] if len(listed) == 1 else JoinedEncoding(listed)


def _column(encoding: InputEncoding) -> Float:
    return encoding.unit.reshape(-1, *[1] * (len(encoding.shape) - 1))


Encoding = InputEncoding | JoinedEncoding


@dataclass(frozen=True, eq=False)
class OutputDecoding:
    """``y = potential * unit``.

    Attributes:
        unit: real value of one step of the output potential, (C,).
        shape: shape of one output in the user's network.
    """

    unit: Float
    shape: Shape

    def __call__(self, potential: Int) -> Float:
        """Decode (N, C, H, W) potentials as (N, *shape) real values."""
        y: Float = potential * self.unit[:, None, None]
        return y.reshape(len(potential), *self.shape)
