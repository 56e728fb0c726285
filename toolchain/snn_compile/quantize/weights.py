"""Integer weights on Loihi's grid: one mantissa per synapse, one unit per output channel."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import LARGEST_WHOLE, Int, round_half_even
from snn_compile.ir.spiking import Float
from snn_compile.numerics.functions import log2

N_RATIOS = 24
"""Clipping ratios tried per channel, from 1 down to ``SMALLEST_RATIO``."""
SMALLEST_RATIO = 0.4
MOST_APART = 15
"""Largest difference of two groups' exponents: those of the chip go from -8 to 7."""


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """The mantissas of all groups that feed one population.

    ``weight of group k = mantissa[k] * unit[channel] * 2**exponent[k]``, up to rounding.

    Attributes:
        mantissas: one flat array per group.
        exponents: of each group, >= 0; 0 for at least one.
        unit: (C,), the potential that one step of the state stands for.
        saturated: share of all weights that were clipped.
        exact: whether nothing was rounded because the weights are small integers already.
    """

    mantissas: tuple[Int, ...]
    exponents: tuple[int, ...]
    unit: Float
    saturated: float
    exact: bool


def channel_of(group: spiking.Synapses) -> Int:
    """Output channel of every weight, flat."""
    n_channels = group.shape[0]
    if isinstance(group, spiking.SparseSynapses):
        rows = np.repeat(np.arange(len(group.indptr) - 1), np.diff(group.indptr))
        return rows // prod(group.shape[1:])
    rows = np.arange(group.weight.shape[0]) // (group.weight.shape[0] // n_channels)
    return np.repeat(rows, prod(group.weight.shape[1:]))


def integer_weights(
    groups: tuple[spiking.Synapses, ...],
    bits: int,
    threshold: Float | None,
    smallest_unit: Float | float = 0.0,
    *,
    as_integers: bool = True,
    most_apart: int = MOST_APART,
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
            other, so that all channels share a unit.
        smallest_unit: of each channel; dying channels, whose weights are almost 0, need one.
        as_integers: whether weights that are small integers already are kept as they are.
        most_apart: largest difference of two groups' exponents.
    """
    common = threshold is None
    largest = (1 << (bits - 1)) - 1
    n_channels = groups[0].shape[0]
    channels = [channel_of(group) for group in groups]
    weights = [np.asarray(group.weight, np.float64).ravel() for group in groups]
    peaks = np.zeros((len(groups), n_channels))
    for peak, weight, channel in zip(peaks, weights, channels, strict=True):
        np.maximum.at(peak, channel, np.abs(weight))
    exact = _small_integers(weights, channels, largest, threshold)
    if exact is not None and as_integers:
        unit, mantissas = exact
        return IntegerWeights(mantissas, (0,) * len(groups), unit, 0.0, True)
    on_grid = _on_grid(weights, largest, most_apart)
    if on_grid is not None:
        unit = np.full(n_channels, on_grid[0])
        if (unit >= smallest_unit).all():
            return _rounded(weights, channels, on_grid[1], unit, largest)
    exponents = _exponents(peaks, most_apart)
    steps = np.ldexp(1.0, exponents)
    widest = (peaks / steps[:, None]).max(axis=0)
    if common:
        widest = np.full(n_channels, widest.max())
    widest = np.where(widest > 0, widest, max(float(widest.max()), 1.0))
    unit = _least_error(weights, channels, steps, widest / largest, largest, common)
    unit = np.maximum(unit, np.max(smallest_unit) if common else smallest_unit)
    return _rounded(weights, channels, exponents, unit, largest)


def with_unit(
    groups: tuple[spiking.Synapses, ...], weights: IntegerWeights, unit: Float, bits: int
) -> IntegerWeights:
    """The same weights rounded to another unit."""
    flat = [np.asarray(group.weight, np.float64).ravel() for group in groups]
    channels = [channel_of(group) for group in groups]
    return _rounded(flat, channels, weights.exponents, unit, (1 << (bits - 1)) - 1)


def _rounded(
    weights: list[Float],
    channels: list[Int],
    exponents: tuple[int, ...],
    unit: Float,
    largest: int,
) -> IntegerWeights:
    rounded = [
        round_half_even(weight / (unit[channel] * 2.0**exponent))
        for weight, channel, exponent in zip(weights, channels, exponents, strict=True)
    ]
    clipped = sum(int((np.abs(m) > largest).sum()) for m in rounded)
    total = sum(len(m) for m in rounded)
    mantissas = tuple(np.clip(m, -largest, largest) for m in rounded)
    return IntegerWeights(mantissas, exponents, unit, clipped / max(total, 1), False)


def _exponents(peaks: Float, most_apart: int) -> tuple[int, ...]:
    """A power of two per group that brings the groups' largest weights near each other."""
    logs = np.where(peaks > 0, log2(np.where(peaks > 0, peaks, 1.0)), np.nan)
    with np.errstate(all="ignore"):
        typical = np.array([np.nanmean(row) if np.isfinite(row).any() else np.nan for row in logs])
    if not np.isfinite(typical).any():
        return (0,) * len(peaks)
    relative = np.nan_to_num(typical - np.nanmin(typical), nan=0.0)
    return tuple(int(e) for e in np.minimum(np.rint(relative), most_apart))


def _small_integers(
    weights: list[Float], channels: list[Int], largest: int, threshold: Float | None
) -> tuple[Float, tuple[Int, ...]] | None:
    """Unit and integers, where weights and threshold are small multiples of the smallest weight.

    Relays and comparators are such: as integers they pass their values unrounded.
    """
    if threshold is None:
        return None
    smallest = np.full(len(threshold), np.inf)
    for weight, channel in zip(weights, channels, strict=True):
        used = weight != 0
        np.minimum.at(smallest, channel[used], np.abs(weight[used]))
    unit = np.where(np.isfinite(smallest), smallest, 1.0)
    found = []
    for weight, channel in zip(weights, channels, strict=True):
        with np.errstate(over="ignore"):  # what is infinite is no small multiple
            ratio = weight / unit[channel]
        if ratio.size and (
            np.abs(ratio).max() > largest or np.abs(ratio - np.rint(ratio)).max() > 1e-9
        ):
            return None
        found.append(round_half_even(ratio))
    with np.errstate(over="ignore"):
        of_threshold = threshold / unit
    if of_threshold.max() >= LARGEST_WHOLE or of_threshold.min() < 0.5:
        return None
    if np.abs(of_threshold - np.rint(of_threshold)).max() > 1e-9:
        return None
    return unit, tuple(found)


def _on_grid(
    weights: list[Float], largest: int, most_apart: int
) -> tuple[float, tuple[int, ...]] | None:
    """Unit and exponents where every group holds integers times a power of two already.

    Networks that were trained or compiled to integers are such: they need no other grid.
    """
    found: list[int | None] = []
    for weight in weights:
        peak = np.abs(weight).max(initial=0)
        if peak >= 1 << 31 or (weight != np.rint(weight)).any():
            return None
        bits = int(np.bitwise_or.reduce(weight.astype(np.int64)))
        zeros = (bits & -bits).bit_length() - 1  # that all weights of the group end in
        if bits and peak > largest << zeros:
            return None
        found.append(zeros if bits else None)
    least = min((e for e in found if e is not None), default=None)
    if least is None:
        return None
    exponents = tuple(0 if e is None else e - least for e in found)
    return (2.0**least, exponents) if max(exponents) <= most_apart else None


def _least_error(
    weights: list[Float],
    channels: list[Int],
    steps: Float,
    widest: Float,
    largest: int,
    common: bool,
) -> Float:
    best = np.full(len(widest), np.inf)
    unit = widest.copy()
    for ratio in np.linspace(1.0, SMALLEST_RATIO, N_RATIOS):
        trial = widest * ratio
        error = np.zeros(len(widest))
        for weight, channel, step in zip(weights, channels, steps, strict=True):
            size = trial[channel] * step
            nearest = np.clip(np.rint(weight / size), -largest, largest) * size
            error += np.bincount(channel, (weight - nearest) ** 2, len(widest))
        if common:
            error = np.full(len(widest), error.sum())
        better = error < best
        best[better], unit[better] = error[better], trial[better]
    return unit
