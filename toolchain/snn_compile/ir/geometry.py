"""The geometry of a two-dimensional convolution, shared by every stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """Geometry of a kernel over a map.

    One-dimensional convolutions are two-dimensional ones over maps of height 1.

    Attributes:
        stride: steps in y and x.
        padding: zeros added at the top, left, bottom and right.
        dilation: distance of neighbouring taps in y and x.
        groups: number of independent channel groups.

    Raises:
        ValueError: a stride, a dilation or the number of groups is less than 1.
    """

    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        if min(*self.stride, *self.dilation, self.groups) < 1:
            raise ValueError(f"strides, dilations and groups must be at least 1: {self}")

    def output_size(self, size: Pair, kernel: Pair) -> Pair:
        """Height and width of the result for a map of the given height and width."""
        top, left, bottom, right = self.padding
        out = tuple(
            (n + before + after - d * (k - 1) - 1) // s + 1
            for n, before, after, k, s, d in zip(
                size, (top, left), (bottom, right), kernel, self.stride, self.dilation, strict=True
            )
        )
        return out[0], out[1]

    def channels_read(self, n_out: int, per_group: int) -> npt.NDArray[np.int64]:
        """The input channel of each weight, (n_out, per_group), for a kernel of this shape."""
        group = np.arange(n_out)[:, None] // (n_out // self.groups)
        return group * per_group + np.arange(per_group)
