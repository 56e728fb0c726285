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
from snn_compile.sim.reproducible import Coarse, Reproducible

Numbers = npt.NDArray[np.number]
Integers = npt.NDArray[np.integer]


FIRST = 64
"""Samples for the power of answers, and for what is decided once."""
COARSE = 0.05
"""Answers to mixtures may be rough if their squared error, over their power, is at most this over
the square of the number of levels: a part of what rounding to levels does."""
MIRRORED = 0.25
"""Mirrored samples are used if the squared error of their answers is at most this share of the
power: 0.10 for cifar10_resnet20, 0.82 for the digits of the examples."""


class Teacher:
    """Drives of the float network, with the same bits everywhere.

    Args:
        folded: the float network.
        x: (N, *input shape) samples.
        shapes: rectifiers and outputs, with the (C, H, W) of their populations.
        levels: the largest number of levels that drives are rounded to.

    Attributes:
        first: drives of the first samples.
        most: (C,) caps of the rectifiers that have one.
    """

    def __init__(
        self, folded: ANNGraph, x: Rows, shapes: Mapping[NodeId, Shape], levels: int
    ) -> None:
        self._folded, self._shapes, self._x = folded, shapes, np.asarray(x[:FIRST])
        self._readers = readers_of(folded, shapes)
        self._exact = Reproducible(folded, x)
        self.first = self._drives(self._x, self._exact)
        coarse = Coarse(self._exact)
        errors = self._errors(self._drives(self._x, coarse), self.first)
        enough = sum(errors) * levels**2 <= COARSE * len(errors)
        self._rough: ann.Operators = coarse if enough else self._exact
        self.most: dict[NodeId, Float] = {}
        for name, shape in shapes.items():
            node = folded.graph[name]
            if isinstance(node, ops.Relu) and node.cap is not None:
                self.most[name] = np.full(shape[0], float(node.cap))

    def drives(self, x: Numbers, *, rough: bool = False) -> dict[NodeId, Array]:
        """Of samples (B, *input shape), (C, H, W, B) float32 each; rough ones may do."""
        return self._drives(x, self._rough if rough else self._exact)

    def _drives(self, x: Numbers, operators: ann.Operators) -> dict[NodeId, Array]:
        found: dict[NodeId, Array] = {}

        def observe(node: AnnNode, value: Array) -> Array:
            for reader in self._readers.get(node.id, ()):
                shape = (*self._shapes[reader], value.shape[-1])
                found[reader] = value.reshape(shape).astype(np.float32, copy=False)
            return value

        ann.forward(self._folded, ann.batch_last(x), observe, operators)
        return found

    def answers_mirrored(self, names: Iterable[NodeId]) -> bool:
        """Whether outputs, or drives, hardly change if maps (N, C, H, W) are mirrored."""
        turned = self.drives(np.ascontiguousarray(self._x[..., ::-1]))
        return all(error <= MIRRORED for error in self._errors(turned, names))

    def _errors(self, drives: Mapping[NodeId, Array], names: Iterable[NodeId]) -> list[float]:
        """Squared errors of drives of the first samples, over their power."""
        found = []
        for name in names:
            target = self.first[name].astype(np.float64)
            error, power = (
                float(products.total(np.square(values).ravel(), axis=0))
                for values in (drives[name] - target, target)
            )
            found.append(error / power if power else float(error > 0))
        return found


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
