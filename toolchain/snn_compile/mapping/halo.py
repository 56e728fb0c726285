"""The fewest sources that any set of neurons needs, whatever its shape.

**On a line.** ``m`` outputs of a kernel of ``k`` taps and stride ``s`` read at least
``k + s (m - 1)`` positions, less those in the padding; ``m k`` where taps do not overlap. A set
that reads padding at both ends leaves a gap, which costs ``k - s`` positions more, or reads the
whole line. So ``reads(m) = min(u + v m, total)`` with ``u >= 0``, which is concave.

**On a map.** Let a set have ``m_c`` outputs in column ``c``. Column ``x`` of the source holds at
least the largest ``rows(m_c)`` of the columns ``c`` that read it. Counted by levels, the columns
with ``rows(m_c) >= t`` read at least as many source columns as ``columns`` says for their number.
So a set needs no fewer sources than ``sum_i (columns(i) - columns(i - 1)) rows(m_i)`` with the
``m_i`` in descending order. As ``rows`` is concave, the minimum over all sets of ``p`` outputs lies
at a vertex of the ordered polytope: ``a`` full columns, ``b`` equal ones, no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses
from snn_compile.mapping.block import as_map

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

EXACT = 1e-9
"""Error of a quotient that is an integer."""


class Axis(NamedTuple):
    """A kernel along one axis.

    Attributes:
        outputs: their number.
        inputs: their number.
        stride: between outputs.
        taps: adjacent ones.
        padding: positions of the first tap before the first input; negative inside.
    """

    outputs: int
    inputs: int
    stride: int
    taps: int
    padding: int


@dataclass(frozen=True)
class Line:
    """The fewest inputs that outputs on a line read: ``min(u + v m, total)``."""

    outputs: int
    u: float
    v: float
    total: float

    @staticmethod
    def of(axis: Axis) -> Line:
        """The bound for a kernel along an axis."""
        last = axis.stride * (axis.outputs - 1) - axis.padding + axis.taps
        left, right = max(0, axis.padding), max(0, last - axis.inputs)
        overlap = axis.taps - axis.stride
        v = float(min(axis.stride, axis.taps))
        if overlap < 0:
            u = -float(left + right)
            total = max(0.0, v * axis.outputs + u)
        else:
            u = overlap - max(left, right, left + right - overlap)
            total = max(0.0, float(min(last, axis.inputs) - max(0, -axis.padding)))
        if u < 0:
            u, v = 0.0, max(0.0, v + u)
        return Line(axis.outputs, u, v, total)

    @property
    def is_linear(self) -> bool:
        """Whether the total binds nowhere."""
        return self.total >= self.v * self.outputs

    def __call__(self, m: Float) -> Float:
        """At least this many inputs; linear below one output."""
        part = np.minimum(m, 1.0)
        reads: Float = np.minimum(part * self.u + m * self.v, self.total)
        return reads


@lru_cache(maxsize=256)
def map_bound(rows: Line, columns: Line, sizes: tuple[int, ...]) -> Float:
    """The fewest positions that sets of the given sizes read on a map; see above."""
    p = np.array(sizes)
    if not (rows.u or columns.u) and rows.is_linear and columns.is_linear:
        return rows.v * columns.v * p
    if rows.outputs < columns.outputs:
        rows, columns = columns, rows
    height, width = rows.outputs, columns.outputs
    reads = columns(np.arange(width + 1.0))
    full = float(rows(np.array([float(height)]))[0])
    best = np.full(len(p), np.inf)
    for a in range(width + 1):
        rest = p - a * height
        best = np.where(rest == 0, np.minimum(best, reads[a] * full), best)
        these = np.flatnonzero(rest > 0)
        if not these.size or a == width:
            continue
        b = np.arange(1, width - a + 1)
        each = rest[these, None] / b[None]
        value = reads[a] * full + (reads[a + b] - reads[a]) * rows(each)
        value[each > height] = np.inf
        best[these] = np.minimum(best[these], value.min(axis=1))
    return best


class ConvHalo:
    """The fewest sources that neurons of each channel of a convolution need.

    Weights of zero are no synapses. Of a kernel with such weights, the largest full box among a few
    is counted: without its first or last row or column, or a single tap. Where kernels do not
    overlap, no two neurons of a channel share a source, and all taps are counted.

    Args:
        synapses: the convolution.
        source: shape of the population that it reads.
        used: where its weights are not zero, if that is known.
    """

    def __init__(self, synapses: ConvSynapses, source: Shape, used: Bool | None = None) -> None:
        geometry = synapses.geometry
        _, height, width = as_map(source)
        if used is None:
            used = synapses.weight.values != 0
        self.n_channels = len(used)
        self.boxes = _boxes(used, geometry)
        outputs = as_map(synapses.shape)[1:]
        self.lines = [
            tuple(
                Line.of(
                    Axis(
                        outputs[axis],
                        (height, width)[axis],
                        geometry.stride[axis],
                        stop - start,
                        geometry.padding[axis] - geometry.dilation[axis] * start,
                    )
                )
                for axis, (start, stop) in enumerate(box)
            )
            for box, _ in self.boxes
        ]

    def __call__(self, sizes: Int) -> Float:
        """(channels, sizes): the fewest sources of so many neurons of each channel."""
        total = np.zeros((self.n_channels, len(sizes)))
        for (_, kernels), (rows, columns) in zip(self.boxes, self.lines, strict=True):
            positions = np.ceil(map_bound(rows, columns, tuple(sizes.tolist())) - EXACT)
            total += kernels[:, None] * positions[None]
        return total


Box = tuple[tuple[int, int], tuple[int, int]]


def _boxes(used: Bool, geometry: Geometry) -> list[tuple[Box, Int]]:
    """Boxes of taps, each with the kernels of every output channel that it is counted for."""
    kh, kw = used.shape[2:]
    whole = ((0, kh), (0, kw))
    if geometry.dilation == (1, 1) and used.all():
        return [(whole, np.full(len(used), used.shape[1]))]
    singles = [((y, y + 1), (x, x + 1)) for y, x in _from_the_middle(kh, kw)]
    if geometry.stride[0] >= kh and geometry.stride[1] >= kw and geometry.dilation == (1, 1):
        return [
            (((y, y + 1), (x, x + 1)), used[:, :, y, x].sum(axis=1)) for y, x in np.ndindex(kh, kw)
        ]
    tried: list[Box] = singles
    if geometry.dilation == (1, 1):
        smaller: list[Box] = [
            ((0, kh), (0, kw - 1)),
            ((0, kh), (1, kw)),
            ((0, kh - 1), (0, kw)),
            ((1, kh), (0, kw)),
        ]
        tried = [whole, *(b for b in smaller if kh > 1 and kw > 1), *singles]
    left = np.ones(used.shape[:2], dtype=np.bool_)
    found = []
    for (y0, y1), (x0, x1) in tried:
        fits = left & used[:, :, y0:y1, x0:x1].all(axis=(2, 3))
        left &= ~fits
        if not left.any() and not fits.any():
            break
        if fits.any():
            found.append((((y0, y1), (x0, x1)), fits.sum(axis=1)))
    return found


def _from_the_middle(kh: int, kw: int) -> list[tuple[int, int]]:
    """Taps, those that read the least padding first."""
    taps = [(y, x) for y in range(kh) for x in range(kw)]
    return sorted(taps, key=lambda t: (abs(2 * t[0] - kh + 1) + abs(2 * t[1] - kw + 1), t))


def classes(kernels: Bool, groups: int) -> Int:
    """(channels,) equal numbers for channels that are linked by sources in common.

    Args:
        kernels: (channels, sources of a group, kh, kw), where weights are not zero.
        groups: of the convolution.
    """
    used = np.asarray(kernels.reshape(*kernels.shape[:2], -1).any(axis=2))
    if groups == 1 and _are_linked(used):
        return np.zeros(len(used), dtype=np.int64)
    channels, per_group = used.shape
    first = np.arange(channels) // (channels // groups) * per_group
    out, into = np.nonzero(used)
    into = into + first[out]
    labels = np.arange(channels)
    while True:
        least = np.full(per_group * groups, channels)
        np.minimum.at(least, into, labels[out])
        joined = labels.copy()
        np.minimum.at(joined, out, least[into])
        if (joined == labels).all():
            return labels
        labels = joined


def _are_linked(used: Bool) -> bool:
    """Whether the readers of one source read all sources between them, and every channel reads any.

    Then all channels are linked. Nearly all kernels that are not sparse show it.
    """
    readers = used[:, int(used.sum(axis=0).argmax())]
    return bool(used[readers].any(axis=0).all() and used.any(axis=1).all())
