"""Neurons that pass on what they receive, and synapses with weights of 1."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.models.answers import Range
from snn_compile.ir.quantized import (
    STATE,
    VOLTAGE_LIMIT,
    ConvSynapses,
    PiecewiseLinearNeurons,
    SparseSynapses,
    Synapses,
)


def passing_on(place: Mapping[str, Any], messages: Range) -> PiecewiseLinearNeurons:
    """Neurons whose message is the sum that they receive: one line through the origin.

    Args:
        place: id, inputs, shape and origin.
        messages: smallest and largest sum, so that the ends of the line are never reached.
    """
    low, high = min(messages[0], 0), max(messages[1], 0)
    column = np.zeros((place["shape"][0], 1), dtype=np.int64)
    return PiecewiseLinearNeurons(
        **place,
        bias=QTensor.of(column[:, 0]),
        breakpoints=QTensor.of(column[:, :0]),
        multiplier=QTensor.of(column + 1),
        offset=QTensor.of(column),
        shift=QTensor.of(column),
        low=low,
        high=high,
        relay=True,
    )


def holds(messages: Range) -> bool:
    """Whether the state of such neurons holds all sums of a range."""
    return max(-messages[0], messages[1]) <= min(STATE.max, VOLTAGE_LIMIT)


def one_to_one(place: Mapping[str, Any], bits: QFormat, exponent: int = 0) -> Synapses:
    """Synapses from each neuron to the one in its place.

    Args:
        place: id, inputs, shape and origin.
        bits: format of the weights.
        exponent: of the synapses.
    """
    shape = place["shape"]
    if len(shape) == 3:
        weight = QTensor(np.ones((shape[0], 1, 1, 1), dtype=np.int64), bits)
        geometry = Geometry(groups=shape[0])
        return ConvSynapses(**place, weight=weight, exponent=exponent, geometry=geometry)
    index = np.arange(prod(shape) + 1)
    weight = ones(len(index) - 1, bits)
    return SparseSynapses(
        **place, indptr=index, indices=index[:-1], weight=weight, exponent=exponent
    )


def ones(n: int, bits: QFormat) -> QTensor:
    """So many weights of 1."""
    return QTensor(np.ones(n, dtype=np.int64), bits)
