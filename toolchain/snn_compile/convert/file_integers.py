"""Weights of a quantized file whose integers have more bits than a synapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.graph import NodeId
from snn_compile.ir.integer_weights import channel_of, file_integers
from snn_compile.ir.spiking import Float

LOW, HIGH = -128, 127
"""Integers of an 8-bit weight."""
WIDEST = 256
"""Largest magnitude of a difference between an 8-bit integer and its zero point."""


def of_file(group: spiking.Synapses) -> list[spiking.Synapses]:
    """The group, or two whose sum it is.

    Integers with a zero point reach from -255 to 255. What exceeds 8 bits is even, so that a second
    group of synapses, in steps twice as large, holds it: the sum is exact.
    """
    integers = file_integers(group)
    if group.step is None or integers is None:
        return [group]
    fits = integers.min(initial=0) >= LOW and integers.max(initial=0) <= HIGH
    if fits or np.abs(integers).max(initial=0) > WIDEST:
        return [group]
    steps = group.step[channel_of(group)]
    above = 2 * np.ceil(np.maximum(integers - HIGH, 0) / 2)
    excess = above - 2 * np.ceil(np.maximum(LOW - integers, 0) / 2)
    shape = np.shape(group.weight)
    kept = replace(group, weight=((integers - excess) * steps).reshape(shape))
    return [kept, _rest(group, (excess * steps).reshape(shape), 2 * group.step)]


def _rest(group: spiking.Synapses, weight: Float, step: Float) -> spiking.Synapses:
    """A second group with few weights that are not 0."""
    place = {**group.common_fields, "id": NodeId(f"{group.id}.wide")}
    match group:
        case spiking.ConvSynapses():
            return spiking.ConvSynapses(**place, weight=weight, geometry=group.geometry, step=step)
        case spiking.DenseSynapses():
            rows, columns = np.nonzero(weight)
            ends = np.searchsorted(rows, np.arange(len(weight) + 1))
            return spiking.SparseSynapses(
                **place,
                indptr=ends.astype(np.int64),
                indices=columns.astype(np.int64),
                weight=weight[rows, columns],
                step=step,
            )
        case spiking.SparseSynapses():
            used = weight != 0
            ends = np.concatenate([[0], np.cumsum(used)])[group.indptr]
            return spiking.SparseSynapses(
                **place,
                indptr=ends.astype(np.int64),
                indices=group.indices[used],
                weight=weight[used],
                step=step,
            )
