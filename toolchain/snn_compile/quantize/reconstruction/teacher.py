"""What the float network answers to samples, and samples that nobody has to provide: mixtures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics import products
from snn_compile.numerics.products import Float
from snn_compile.quantize.sites import readers_of
from snn_compile.samples.rows import Rows
from snn_compile.sim import ann
from snn_compile.sim.kernels import Array
from snn_compile.sim.reproducible import Reproducible

Numbers = npt.NDArray[np.number]
Integers = npt.NDArray[np.integer]


MIRRORED = 0.25
"""Mirrored samples are used if the squared error of their answers is at most this share of the
power: 0.10 for cifar10_resnet20, 0.82 for the digits of the examples."""


class Teacher:
    """Drives of the float network, with the same bits everywhere.

    Args:
        folded: the float network.
        x: (N, *input shape) samples.
        shapes: rectifiers and outputs, with the (C, H, W) of their populations.

    Attributes:
        most: (C,) caps of the rectifiers that have one.
    """

    def __init__(self, folded: ANNGraph, x: Rows, shapes: Mapping[NodeId, Shape]) -> None:
        self._folded, self._shapes = folded, shapes
        self._operators = Reproducible(folded, x)
        self._readers = readers_of(folded, shapes)
        self.most: dict[NodeId, Float] = {}
        for name, shape in shapes.items():
            node = folded.graph[name]
            if isinstance(node, ops.Relu) and node.cap is not None:
                self.most[name] = np.full(shape[0], float(node.cap))

    def drives(self, x: Numbers) -> dict[NodeId, Array]:
        """Of samples (B, *input shape), (C, H, W, B) float32 each."""
        found: dict[NodeId, Array] = {}

        def observe(node: AnnNode, value: Array) -> Array:
            for reader in self._readers.get(node.id, ()):
                shape = (*self._shapes[reader], value.shape[-1])
                found[reader] = value.reshape(shape).astype(np.float32)
            return value

        ann.forward(self._folded, ann.batch_last(x), observe, self._operators)
        return found

    def answers_mirrored(self, x: Numbers, names: Iterable[NodeId]) -> bool:
        """Whether outputs, or drives, hardly change if maps (B, C, H, W) are mirrored."""
        drives, turned = self.drives(x), self.drives(np.ascontiguousarray(x[..., ::-1]))
        for name in names:
            target = drives[name].astype(np.float64)
            error, power = (
                float(products.total(np.square(values).ravel(), axis=0))
                for values in (turned[name] - target, target)
            )
            if error > MIRRORED * power:
                return False
        return True


def mixed(
    draw: np.random.Generator, x: Numbers, frames: Integers, other: Numbers, others: Integers
) -> tuple[Numbers, Integers]:
    """Samples between two: what the float network answers to them is known as well.

    One half are weighted means with uniform weights (Zhang et al. 2018, "mixup"). The other half
    are the first sample with a rectangle of the second (Yun et al. 2019, "CutMix"), if samples are
    maps; means otherwise.

    Args:
        draw: random numbers.
        x: (B, *input shape) samples.
        frames: the same, encoded, (B, C, H, W).
        other: what they are mixed with.
        others: the same, encoded.

    Returns:
        Samples in float32 and encoded; both are mixed alike.
    """
    n = len(x)
    weight = draw.random(n)
    pasted = draw.random(n) < 0.5
    side, at = np.sqrt(draw.random(n)), draw.random((n, 2))
    share = np.broadcast_to(weight[:, None, None, None], (n, 1, *frames.shape[2:])).copy()
    maps = x.shape == frames.shape and min(frames.shape[2:]) > 1
    for k in np.flatnonzero(pasted) if maps else ():
        share[k] = 1.0
        height, width = (
            _part(length, side[k], place)
            for length, place in zip(frames.shape[2:], at[k], strict=True)
        )
        share[k, 0, height, width] = 0.0
    if not maps:
        share = weight[:, None, None, None]
    encoded = np.rint(share * frames + (1 - share) * others).astype(frames.dtype)
    if not maps:
        share = weight.reshape(-1, *[1] * (x.ndim - 1))
    return (share * x + (1 - share) * other).astype(np.float32), encoded


def mirrored(draw: np.random.Generator, x: Numbers, frames: Integers) -> tuple[Numbers, Integers]:
    """A random half of samples that are maps from right to left, as they are and encoded."""
    turned = draw.random(len(x)) < 0.5
    turned = turned[:, None, None, None]
    return np.where(turned, x[..., ::-1], x), np.where(turned, frames[..., ::-1], frames)


def _part(length: int, share: float, place: float) -> slice:
    """A stretch of a relative length at a relative place."""
    wide = max(round(length * share), 1)
    start = int(place * (length - wide + 1))
    return slice(start, start + wide)
