"""Which inputs the taps of a kernel read, by arithmetic on its geometry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from snn_compile.mapping.block import Span

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

MAX_CODE_BITS = 62
"""Taps of a kernel whose use is coded in one integer."""


class Along:
    """The taps of a kernel along one axis.

    Args:
        n_taps: their number.
        stride: between outputs.
        dilation: between taps.
        padding: positions of the first tap before the first input.
        n_inputs: their number.
        n_outputs: their number.
    """

    def __init__(
        self, n_taps: int, stride: int, dilation: int, padding: int, n_inputs: int, n_outputs: int
    ) -> None:
        self.n_inputs = n_inputs
        self.at = np.arange(n_outputs) * stride + dilation * np.arange(n_taps)[:, None] - padding
        """(taps, outputs): the input that is read, or a position in the padding."""
        self.is_input = (self.at >= 0) & (self.at < n_inputs)
        self._up_to = np.zeros((n_taps, n_outputs + 1), dtype=np.int64)
        np.cumsum(self.is_input, axis=1, out=self._up_to[:, 1:])
        self._is_gapless = dilation == 1
        self._outputs: dict[Span, Int] = {}
        self._reached: dict[Span, Bool] = {}
        self._any: dict[Span, Bool] = {}
        self._extents: dict[Span, Span] = {}

    @cached_property
    def _begun_and_ended(self) -> tuple[list[int], list[int]]:
        """Inputs whose first reader, and whose last reader, is before each output."""
        tap, output = np.nonzero(self.is_input)
        n_outputs = self.at.shape[1]
        first, last = np.full(self.n_inputs, n_outputs), np.full(self.n_inputs, n_outputs)
        position = self.at[tap, output]
        np.minimum.at(first, position, output)
        last[position] = -1
        np.maximum.at(last, position, output)
        before = (np.bincount(each, minlength=n_outputs + 1) for each in (first, last))
        begun, ended = (np.concatenate([[0], n[:n_outputs].cumsum()]).tolist() for n in before)
        return begun, ended

    def n_read(self, span: Span) -> int:
        """Number of inputs that a span of outputs reads.

        Without gaps between taps, the outputs that read an input are adjacent: it is read unless
        all of them come before the span, or after it.
        """
        if self._is_gapless:
            begun, ended = self._begun_and_ended
            return begun[span[1]] - ended[span[0]] if span[1] > span[0] else 0
        return int(np.count_nonzero(self.any(span)))

    def n_read_each(self, starts: Int, stops: Int) -> Int:
        """The same of many spans."""
        if self._is_gapless:
            begun, ended = (np.array(each) for each in self._begun_and_ended)
            return np.asarray(begun[stops] - ended[starts])
        spans = zip(starts.tolist(), stops.tolist(), strict=True)
        return np.array([self.n_read(span) for span in spans], dtype=np.int64)

    def outputs(self, span: Span) -> Int:
        """For each tap, at how many outputs of a span it reads an input, not padding."""
        known = self._outputs.get(span)
        if known is None:
            known = self._outputs[span] = self._up_to[:, span[1]] - self._up_to[:, span[0]]
        return known

    def reached(self, span: Span) -> Bool:
        """(taps, inputs): whether a tap reads an input, from a span of outputs."""
        known = self._reached.get(span)
        if known is None:
            tap, output = np.nonzero(self.is_input[:, slice(*span)])
            known = np.zeros((len(self.at), self.n_inputs), dtype=np.bool_)
            known[tap, self.at[tap, output + span[0]]] = True
            self._reached[span] = known
        return known

    def any(self, span: Span) -> Bool:
        """Which inputs a span of outputs reads."""
        known = self._any.get(span)
        if known is None:
            known = self._any[span] = np.asarray(self.reached(span).any(axis=0))
        return known

    def extent(self, span: Span) -> Span:
        """The half-open range that encloses the inputs that a span of outputs reads."""
        known = self._extents.get(span)
        if known is None:
            where = np.flatnonzero(self.any(span))
            known = (int(where[0]), int(where[-1]) + 1) if where.size else (0, 0)
            self._extents[span] = known
        return known

    def forget(self) -> None:
        """Free what is kept of spans."""
        for kept in (self._outputs, self._reached, self._any, self._extents):
            kept.clear()


@dataclass(frozen=True)
class Kernels:
    """The kernels that read each source channel, over a span of output channels."""

    first: int
    """First source channel."""
    counts: Int
    """(source channels, kh, kw): weights of each tap that are not zero."""

    @cached_property
    def total(self) -> Int:
        """(kh, kw): the same, summed over the source channels."""
        return np.asarray(self.counts.sum(axis=0), dtype=np.int64)

    @cached_property
    def n_weights(self) -> int:
        """Number of weights that are not zero."""
        return int(self.total.sum())

    @cached_property
    def full(self) -> Int:
        """Source channels of which every tap is in use."""
        return np.flatnonzero((self.counts > 0).all(axis=(1, 2)))

    @cached_property
    def n_full(self) -> int:
        """Number of source channels of which every tap is in use."""
        return len(self.full)

    @cached_property
    def patterns(self) -> list[tuple[Bool, Int]]:
        """The other sets of taps in use, each with its source channels."""
        if self.n_full == len(self.counts):
            return []
        used = self.counts > 0
        partly = np.flatnonzero(used.any(axis=(1, 2)) & ~used.all(axis=(1, 2)))
        if not partly.size:
            return []
        flat = used[partly].reshape(len(partly), -1)
        masks, which = _distinct(flat)
        shape = self.counts.shape[1:]
        return [(mask.reshape(shape), partly[which == index]) for index, mask in enumerate(masks)]


def _distinct(rows: Bool) -> tuple[Bool, Int]:
    """The distinct rows, and which of them each row is."""
    if rows.shape[1] > MAX_CODE_BITS:
        masks, which = np.unique(rows, axis=0, return_inverse=True)
        return masks, which.ravel()
    codes = rows @ (1 << np.arange(rows.shape[1] - 1, -1, -1, dtype=np.int64))
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return rows[first], which


def n_used(used: Bool) -> Int:
    """How often each place is used: in bytes, which many fewer instructions add up."""
    total = np.zeros(used.shape[1:], np.int64)
    for start in range(0, len(used), 255):
        total += np.add.reduce(used[start : start + 255].view(np.uint8), axis=0, dtype=np.uint8)
    return total


def reach(mask: Bool, rows: Bool, columns: Bool) -> Bool:
    """The map of inputs that a set of taps reads, each along rows and columns as stated."""
    return (rows.T.astype(np.int64) @ mask.astype(np.int64) @ columns.astype(np.int64)) > 0
