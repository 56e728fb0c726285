"""The integers of a quantized file, kept where a target's weights can hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import fsum

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int, QFormat, QTensor
from snn_compile.ir.graph import NodeId
from snn_compile.ir.integer_weights import channel_of, file_integers
from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import SpikingGraph
from snn_compile.numerics.functions import log2
from snn_compile.passes import Finding
from snn_compile.quantize.integers import IntegerWeights

KEPT = "integers-kept"
"""Code of the finding about a layer whose weights are the file's integers."""
SAME = 1e-6
"""Largest relative difference of two equal steps."""
SMALLEST = 2.0**-10
"""Smallest unit of a readout's channel, relative to the largest: a smaller one would take bits from
all, and adds nothing to what is compared."""
ROUNDED = 2.0**-7
"""Largest error of other weights of the population, relative to their size, as of 7 bits."""


def given_integers(
    groups: tuple[spiking.Synapses, ...],
    bits: int,
    smallest_unit: Float | float = 0.0,
    *,
    common: bool,
    most_apart: int,
) -> IntegerWeights | None:
    """The weights with the file's integers as mantissas; None where that is impossible.

    The steps of the group with the most integers are the units. Other groups of the population
    (the arms of a residual join) are rounded to these, times a power of two, unless that would
    cost them more than 7-bit weights do.

    Args:
        groups: the synapse groups.
        bits: width of a mantissa.
        smallest_unit: of each channel. Dying channels, whose weights are almost 0, have smaller
            steps: theirs alone are rounded.
        common: whether the channels are compared, as those of a readout are. They share a unit if
            the file has one for all, and keep their own otherwise; the host scales them.
        most_apart: largest difference of two groups' exponents.
    """
    given = [found for group in groups if (found := _Given.of(group, bits)) is not None]
    if not given:
        return None
    main = max(given, key=lambda g: g.integers.size)
    exponents, mantissas, exact = list[int](), list[Int](), list[float]()
    for group in groups:
        same = next((g for g in given if g.group is group), None)
        apart = None if same is None else _power(same.step / main.step)
        if same is not None and apart is not None:
            exponent, integers = apart, same.integers
        else:
            rounded = _rounded(group, main.step, bits)
            if rounded is None:
                return None
            exponent, integers = rounded
        exact.append(float(same is not None and apart is not None))
        exponents.append(exponent)
        mantissas.append(integers)
    least = min(exponents)
    if max(exponents) - least > most_apart:
        return None
    kept = IntegerWeights(
        tuple(
            QTensor(m.reshape(np.shape(group.weight)), QFormat(bits))
            for m, group in zip(mantissas, groups, strict=True)
        ),
        tuple(e - least for e in exponents),
        np.ldexp(main.step, least),
        0.0,
        False,
        tuple(exact),
    )
    if common:
        if (kept.unit == kept.unit[0]).all() and (kept.unit < smallest_unit).any():
            return None
        smallest_unit = np.maximum(smallest_unit, SMALLEST * kept.unit.max())
    return with_units(groups, kept, np.maximum(kept.unit, smallest_unit), bits)


def with_units(
    groups: tuple[spiking.Synapses, ...], weights: IntegerWeights, unit: Float, bits: int
) -> IntegerWeights:
    """The same with other units of some channels, whose weights are rounded; others stay."""
    changed, most = unit != weights.unit, (1 << (bits - 1)) - 1
    tensors, given = list[QTensor](), list[float]()
    parts = zip(groups, weights.tensors, weights.exponents, weights.given, strict=True)
    for group, tensor, exponent, share in parts:
        channels = channel_of(group)
        moved, size = changed[channels], np.ldexp(unit, exponent)
        values = tensor.values.ravel().copy()
        nearest = np.rint(np.ravel(group.weight)[moved] / size[channels[moved]])
        values[moved] = np.clip(nearest, -most, most)
        tensors.append(QTensor(values.reshape(tensor.values.shape), tensor.format))
        if share and group.step is not None and channels.size:
            same = np.abs(size / group.step - 1) < SAME
            share = int(np.count_nonzero(same[channels])) / channels.size
        given.append(share)
    return replace(weights, tensors=tuple(tensors), unit=unit, given=tuple(given))


@dataclass(frozen=True, eq=False)
class _Given:
    """A group whose weights are integers of a file.

    Attributes:
        group: the group.
        step: (C,) positive.
        integers: flat.
    """

    group: spiking.Synapses
    step: Float
    integers: Int

    @staticmethod
    def of(group: spiking.Synapses, bits: int) -> _Given | None:
        """The group's integers, if it has them and they fit."""
        integers = file_integers(group)
        if group.step is None or integers is None:
            return None
        most = 1 << (bits - 1)
        if integers.min(initial=0) < -most or integers.max(initial=0) >= most:
            return None
        return _Given(group, group.step, integers)


def _power(ratio: Float) -> int | None:
    """The exponent of the power of two that all numbers are; None if they are none."""
    exponents = np.rint(log2(ratio)).astype(np.int64)
    first = int(exponents[0])
    return first if (np.abs(np.ldexp(ratio, -first) - 1) < SAME).all() else None


def _rounded(group: spiking.Synapses, unit: Float, bits: int) -> tuple[int, Int] | None:
    """Exponent and mantissas of weights in other units; None if too much is lost."""
    weight, most = np.ravel(group.weight), (1 << (bits - 1)) - 1
    ratio = weight / unit[channel_of(group)]
    peak = float(np.abs(ratio).max(initial=0.0))
    if peak == 0:
        return 0, np.zeros(len(ratio), np.int64)
    exponent = int(np.ceil(log2(np.array([peak / most]))[0] - 1e-12))
    mantissas = np.rint(np.ldexp(ratio, -exponent))
    lost = np.ldexp(mantissas, exponent) - ratio
    error = fsum(np.square(lost * unit[channel_of(group)]))
    if error > ROUNDED**2 * fsum(np.square(weight)):
        return None
    return exponent, np.clip(mantissas, -most, most).astype(np.int64)


def given_findings(
    network: SpikingGraph, kept: Mapping[NodeId, Mapping[NodeId, float]]
) -> Iterator[Finding]:
    """Whether each layer of a quantized file has the file's integers.

    Args:
        network: the network in floating point.
        kept: for each population the share of each of its synapses' weights that are those.
    """
    for population in network.populations:
        for group in network.synapses_into(population):
            if group.step is None:
                continue
            if share := kept[population.id].get(group.id):
                few = "" if share == 1 else f" for {100 * share:.1f} % of them"
                few += "; channels that are almost 0 are rounded" if few else ""
                yield Finding(f"weights' integers kept{few}", group.origin, KEPT)
                continue
            yield Finding(
                "weights are rounded again: their integers have no place in the layer's steps",
                group.origin,
                "weights-rounded-again",
                hint="quantize weights symmetrically (zero point 0)",
                warning=True,
            )
