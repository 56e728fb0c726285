"""Integer weights on Loihi's grid: one mantissa per synapse, one unit per output channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import MAX_INTEGER, Int, QFormat, QTensor, round_half_even, to_int64
from snn_compile.ir.graph import Shape
from snn_compile.ir.integer_weights import channel_of
from snn_compile.ir.spiking import Float
from snn_compile.numerics.functions import log2
from snn_compile.quantize.given import given_integers, with_units
from snn_compile.quantize.integers import IntegerWeights

N_RATIOS = 24
"""Clipping ratios tried per channel, from 1 down to ``MIN_RATIO``."""
MIN_RATIO = 0.4
PIECE = 1 << 16
"""Weights processed at once, few enough for a cache with their intermediate results."""
NEAR = 1e-6
"""Relative difference of two sums above which the order of additions cannot reverse them."""
MAX_EXPONENT_SPREAD = 15
"""Largest difference of two groups' exponents: the chip's range is -8 to 7."""


@dataclass(frozen=True, eq=False)
class _Weights:
    """The weights of one group by output channel.

    Attributes:
        values: (C, K), a row per channel; (K,) if their number differs between channels.
        channel: channel of each weight, in the second case.
        shape: shape of the group's weights.
    """

    values: Float
    channel: Int | None
    shape: Shape

    def integers(self, mantissas: Int, largest: int) -> QTensor:
        """Mantissas up to a magnitude, in the shape of the weights."""
        return QTensor(mantissas.reshape(self.shape), QFormat(largest.bit_length() + 1))

    @staticmethod
    def of(group: spiking.Synapses) -> _Weights:
        """The weights of a group."""
        weight = np.asarray(group.weight, np.float64)
        if isinstance(group, spiking.SparseSynapses):
            return _Weights(weight.ravel(), channel_of(group), weight.shape)
        return _Weights(weight.reshape(group.shape[0], -1), None, weight.shape)

    def pieces(self) -> Iterator[tuple[slice, Int | slice, Float]]:
        """Pieces that fit in the cache: their slice, their channels, and the weights.

        An array over channels, indexed by these channels, broadcasts to the weights.
        """
        if self.channel is not None:
            for start in range(0, len(self.values), PIECE):
                part = slice(start, start + PIECE)
                yield part, self.channel[part], self.values[part]
            return
        rows = max(PIECE // max(self.values.shape[1], 1), 1)
        for start in range(0, len(self.values), rows):
            part = slice(start, start + rows)
            yield part, part, self.values[part]

    def along(self, of_channels: Float, channels: Int | slice) -> Float:
        """A number per channel, broadcastable to a piece of the weights."""
        chosen = of_channels[channels]
        return chosen if self.channel is not None else chosen[:, None]

    def extreme(self, pick: np.ufunc, of: Callable[[Float], Float], start: Float) -> Float:
        """The minimum or maximum (``pick``) of a function of each channel's weights."""
        found = start.copy()
        for _, channels, weight in self.pieces():
            if isinstance(channels, np.ndarray):
                pick.at(found, channels, of(weight))
            elif weight.size:
                found[channels] = pick(found[channels], pick.reduce(of(weight), axis=1))
        return found

    def errors(
        self, size: Float, largest: int, selected: npt.NDArray[np.bool_], *, exactly: bool
    ) -> Float:
        """Squared errors of the weights in steps of ``size``, summed per selected channel.

        Args:
            size: size of a step, per channel.
            largest: largest magnitude of a mantissa.
            selected: selected channels; values of the others are meaningless.
            exactly: whether they are added sequentially. Otherwise the order is numpy's, which is
                many times faster, but differs between machines.
        """
        if self.channel is not None:
            squares = _squared_errors(self.values, size[self.channel], largest)
            return np.bincount(self.channel, squares, len(size)).astype(np.float64, copy=False)
        found = np.zeros(len(size))
        rows = max(PIECE // max(self.values.shape[1], 1), 1)
        which = np.flatnonzero(selected)
        for some in (which[k : k + rows] for k in range(0, len(which), rows)):
            rows_of = slice(some[0], some[-1] + 1) if len(some) == some[-1] + 1 - some[0] else some
            squares = _squared_errors(self.values[rows_of], size[some, None], largest)
            if exactly:
                row = np.repeat(np.arange(len(some)), squares.shape[1])
                found[some] = np.bincount(row, squares.ravel(), len(some))
            else:
                found[some] = squares.sum(axis=1)
        return found


def integer_weights(
    groups: tuple[spiking.Synapses, ...],
    bits: int,
    threshold: Float | None,
    smallest_unit: Float | float = 0.0,
    *,
    as_integers: bool = True,
    most_apart: int = MAX_EXPONENT_SPREAD,
) -> IntegerWeights:
    """Choose units and mantissas for the groups that feed one population.

    The unit of a channel minimizes the squared error of its weights over clipping ratios. Groups
    whose weights differ much in size (the arms of a residual join) get a power of two of their own,
    Loihi's synapse exponent, so that the smaller ones keep their bits.

    Args:
        groups: the synapse groups.
        bits: width of a mantissa, sign included; mantissas are symmetric, so that no weight is
            biased by the extra negative value.
        threshold: (C,) of the neurons. None for readouts: their potentials are compared with each
            other, so that all channels share a unit, unless a quantized file gives each its own.
        smallest_unit: of each channel; dying channels, whose weights are almost 0, need one.
        as_integers: whether weights that are already small integers are kept.
        most_apart: largest difference of two groups' exponents.
    """
    common = threshold is None
    largest = (1 << (bits - 1)) - 1
    n_channels = groups[0].shape[0]
    weights = [_Weights.of(group) for group in groups]
    peaks = np.stack([w.extreme(np.maximum, np.abs, np.zeros(n_channels)) for w in weights])
    if as_integers:
        kept = given_integers(groups, bits, smallest_unit, common=common, most_apart=most_apart)
        if kept is not None:
            return kept
    exact = _small_integers(weights, largest, threshold)
    if exact is not None and as_integers:
        unit, tensors = exact
        return IntegerWeights(tensors, (0,) * len(groups), unit, 0.0, True)
    on_grid = _on_grid(weights, largest, most_apart)
    if on_grid is not None:
        unit = np.full(n_channels, on_grid[0])
        if (unit >= smallest_unit).all():
            return _rounded(weights, on_grid[1], unit, largest)
    exponents = _exponents(peaks, most_apart)
    steps = np.ldexp(1.0, exponents)
    widest = (peaks / steps[:, None]).max(axis=0)
    if common:
        widest = np.full(n_channels, widest.max())
    widest = np.where(widest > 0, widest, max(float(widest.max()), 1.0))
    unit = _least_error(weights, peaks, steps, widest / largest, largest, common)
    unit = np.maximum(unit, np.max(smallest_unit) if common else smallest_unit)
    return _rounded(weights, exponents, unit, largest)


def with_unit(
    groups: tuple[spiking.Synapses, ...], weights: IntegerWeights, unit: Float, bits: int
) -> IntegerWeights:
    """The same weights rounded to another unit."""
    if any(weights.given):
        return with_units(groups, weights, unit, bits)
    flat = [_Weights.of(group) for group in groups]
    return _rounded(flat, weights.exponents, unit, (1 << (bits - 1)) - 1)


def _rounded(
    weights: list[_Weights], exponents: tuple[int, ...], unit: Float, largest: int
) -> IntegerWeights:
    clipped, tensors = 0, list[QTensor]()
    for group, exponent in zip(weights, exponents, strict=True):
        found = np.empty(group.values.shape, np.int64)
        for part, channels, weight in group.pieces():
            nearest = weight / (group.along(unit, channels) * 2.0**exponent)
            np.rint(nearest, out=nearest)
            if not -largest <= nearest.min(initial=0) <= nearest.max(initial=0) <= largest:
                clipped += int(np.count_nonzero(np.abs(to_int64(nearest)) > largest))
                np.clip(nearest, -largest, largest, out=nearest)
            found[part] = nearest
        tensors.append(group.integers(found, largest))
    total = sum(group.values.size for group in weights)
    return IntegerWeights(tuple(tensors), exponents, unit, clipped / max(total, 1), False)


def _exponents(peaks: Float, most_apart: int) -> tuple[int, ...]:
    """A power of two per group that aligns the groups' largest weights."""
    logs = np.where(peaks > 0, log2(np.where(peaks > 0, peaks, 1.0)), np.nan)
    with np.errstate(all="ignore"):
        typical = np.array([np.nanmean(row) if np.isfinite(row).any() else np.nan for row in logs])
    if not np.isfinite(typical).any():
        return (0,) * len(peaks)
    relative = np.nan_to_num(typical - np.nanmin(typical), nan=0.0)
    return tuple(int(e) for e in np.minimum(np.rint(relative), most_apart))


def _small_integers(
    weights: list[_Weights], largest: int, threshold: Float | None
) -> tuple[Float, tuple[QTensor, ...]] | None:
    """Unit and integers, if weights and threshold are small multiples of the smallest weight.

    Relays and comparators are examples: as integers they pass values unrounded.
    """
    if threshold is None:
        return None
    smallest = np.full(len(threshold), np.inf)
    for group in weights:
        smallest = group.extreme(np.minimum, _used_magnitudes, smallest)
    unit = np.where(np.isfinite(smallest), smallest, 1.0)
    found = []
    for group in weights:
        ratios = np.empty(group.values.shape)
        for part, channels, weight in group.pieces():
            with np.errstate(over="ignore"):  # infinity is no small multiple
                ratio = ratios[part] = weight / group.along(unit, channels)
            if ratio.size and (
                np.abs(ratio).max() > largest or np.abs(ratio - np.rint(ratio)).max() > 1e-9
            ):
                return None
        found.append(group.integers(round_half_even(ratios), largest))
    with np.errstate(over="ignore"):
        of_threshold = threshold / unit
    if of_threshold.max() >= MAX_INTEGER or of_threshold.min() < 0.5:
        return None
    if np.abs(of_threshold - np.rint(of_threshold)).max() > 1e-9:
        return None
    return unit, tuple(found)


def _used_magnitudes(weight: Float) -> Float:
    """Magnitudes, infinite instead of 0."""
    magnitude = np.abs(weight)
    magnitude[magnitude == 0] = np.inf
    return magnitude


def _on_grid(
    weights: list[_Weights], largest: int, most_apart: int
) -> tuple[float, tuple[int, ...]] | None:
    """Unit and exponents, if every group already holds integers times a power of two.

    Networks trained or compiled to integers are examples: they need no other grid.
    """
    found: list[int | None] = []
    for group in weights:
        peak, bits = 0.0, 0
        for _, _, weight in group.pieces():
            peak = max(peak, float(np.abs(weight).max(initial=0)))
            if peak >= 1 << 31 or (weight != np.rint(weight)).any():
                return None
            bits |= int(np.bitwise_or.reduce(weight.astype(np.int64), axis=None))
        zeros = (bits & -bits).bit_length() - 1  # trailing zeros common to all weights of the group
        if bits and peak > largest << zeros:
            return None
        found.append(zeros if bits else None)
    least = min((e for e in found if e is not None), default=None)
    if least is None:
        return None
    exponents = tuple(0 if e is None else e - least for e in found)
    return (2.0**least, exponents) if max(exponents) <= most_apart else None


def _least_error(
    weights: list[_Weights],
    peaks: Float,
    steps: Float,
    widest: Float,
    largest: int,
    common: bool,
) -> Float:
    """The candidate unit of each channel with the least error.

    The error of a channel's largest weight alone is no larger than that of all of them, so that
    narrow ratios, which clip it, are excluded without the others. The comparison of two errors
    does not depend on the order of additions, unless they are close.
    """

    def errors(unit: Float, selected: npt.NDArray[np.bool_], *, exactly: bool = False) -> Float:
        total = np.zeros(len(unit))
        for group, step in zip(weights, steps, strict=True):
            total += group.errors(unit * step, largest, selected, exactly=exactly)
        return np.full(len(unit), total.sum()) if common else total

    best = np.full(len(widest), np.inf)
    unit = widest.copy()
    for ratio in np.linspace(1.0, MIN_RATIO, N_RATIOS):
        trial = widest * ratio
        pairs = zip(peaks, steps, strict=True)
        least = np.max([_squared_errors(p, trial * step, largest) for p, step in pairs], axis=0)
        if common:
            least = np.full(len(best), least.sum())
        promising = (least <= best * (1 + NEAR)) & (best > 0)
        if not promising.any():
            continue
        error = errors(trial, promising)
        better = promising & (error < best)
        near = promising & (error >= best * (1 - NEAR)) & (error <= best * (1 + NEAR))
        if near.any():
            sums = [errors(tried, near, exactly=True) for tried in (trial, unit)]
            better[near] = (sums[0] < sums[1])[near]
        best[better], unit[better] = error[better], trial[better]
    return unit


def _squared_errors(weight: Float, size: Float, largest: int) -> Float:
    nearest = weight / size
    np.rint(nearest, out=nearest)
    np.clip(nearest, -largest, largest, out=nearest)
    nearest *= size
    np.subtract(weight, nearest, out=nearest)
    return np.square(nearest, out=nearest)
