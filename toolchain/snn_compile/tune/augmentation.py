"""Augmentation: every epoch sees each sample slightly changed, drawn anew from the seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UnsupportedError
from snn_compile.tune.augment import FLIP, NOISE, SHIFT, parse

Array = npt.NDArray[Any]


class Augmentation:
    """Random changes of samples (N, *shape) of real numbers.

    A shift moves the last two axes of a map, or the last one of a sequence of channels, by up to
    that many positions each way; the border's values are repeated. A flip mirrors the last axis.
    Noise is Gaussian.

    Args:
        kinds: as of the option.
        shape: of a sample.
        deviation: standard deviation of the data, for noise.

    Raises:
        UnsupportedError: samples of this shape cannot be shifted or flipped.
    """

    def __init__(self, kinds: Sequence[str], shape: Sequence[int], deviation: float) -> None:
        self.sizes = dict(map(parse, kinds))
        self.axes = {2: (2,), 3: (2, 3), 4: (3, 4)}.get(len(shape), ())
        self.deviation = deviation
        if not self.axes and {SHIFT, FLIP} & set(self.sizes):
            raise UnsupportedError(
                f"samples of shape {'x'.join(map(str, shape))} have no axis to shift or to flip",
                code="tune-augment",
                hint="use --augment noise, or samples with a channel axis and one or two more",
            )

    def __call__(self, x: Array, random: np.random.Generator) -> Array:
        """Changed copies of samples."""
        if most := int(self.sizes.get(SHIFT, 0)):
            for axis in self.axes:
                x = _shifted(x, axis, random.integers(-most, most + 1, len(x)))
        if share := self.sizes.get(FLIP, 0):
            chosen = random.random(len(x)) < share
            x = np.where(_along(chosen, x), np.flip(x, axis=self.axes[-1]), x)
        if spread := self.sizes.get(NOISE, 0):
            noisy = x + random.normal(0, spread * self.deviation, x.shape)
            if x.dtype.kind in "iu":  # pixels stay pixels
                noisy = np.clip(np.rint(noisy), x.min(), x.max())
            x = noisy.astype(x.dtype)
        return x


def _shifted(x: Array, axis: int, by: npt.NDArray[np.integer]) -> Array:
    """Each sample moved by its own number of positions; values of the border are repeated."""
    last = x.shape[axis] - 1
    index = np.clip(np.arange(last + 1) - by[:, None], 0, last)
    shape = [len(x) if k == 0 else last + 1 if k == axis else 1 for k in range(x.ndim)]
    return np.take_along_axis(x, index.reshape(shape), axis=axis)


def _along(values: Array, x: Array) -> Array:
    return values.reshape(-1, *[1] * (x.ndim - 1))
