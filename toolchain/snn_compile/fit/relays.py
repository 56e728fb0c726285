"""Neurons that send their input sum unchanged, and synapses of weight 1."""

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


def relay_neurons(fields: Mapping[str, Any], messages: Range) -> PiecewiseLinearNeurons:
    """Piecewise linear neurons with one segment, ``y = x``: their message is their input sum.

    Args:
        fields: id, inputs, shape and origin.
        messages: smallest and largest sum; clipping begins beyond them.
    """
    low, high = min(messages[0], 0), max(messages[1], 0)
    column = np.zeros((fields["shape"][0], 1), dtype=np.int64)
    return PiecewiseLinearNeurons(
        **fields,
        bias=QTensor.of(column[:, 0]),
        breakpoints=QTensor.of(column[:, :0]),
        multiplier=QTensor.of(column + 1),
        offset=QTensor.of(column),
        shift=QTensor.of(column),
        low=low,
        high=high,
        relay=True,
    )


def fits_state(messages: Range) -> bool:
    """Whether the state of such neurons holds every sum of a range."""
    return max(-messages[0], messages[1]) <= min(STATE.max, VOLTAGE_LIMIT)


def one_to_one(fields: Mapping[str, Any], bits: QFormat, exponent: int = 0) -> Synapses:
    """One synapse of weight 1 from each neuron to the neuron of the same index.

    Args:
        fields: id, inputs, shape and origin.
        bits: format of the weights.
        exponent: of the synapses.
    """
    shape = fields["shape"]
    if len(shape) == 3:
        weight = QTensor(np.ones((shape[0], 1, 1, 1), dtype=np.int64), bits)
        geometry = Geometry(groups=shape[0])
        return ConvSynapses(**fields, weight=weight, exponent=exponent, geometry=geometry)
    index = np.arange(prod(shape) + 1)
    weight = ones(len(index) - 1, bits)
    return SparseSynapses(
        **fields, indptr=index, indices=index[:-1], weight=weight, exponent=exponent
    )


def ones(n: int, bits: QFormat) -> QTensor:
    """``n`` weights of 1."""
    return QTensor(np.ones(n, dtype=np.int64), bits)
