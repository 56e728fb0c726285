"""Weights of synapses as the integers of a quantized file."""

from __future__ import annotations

from math import prod

import numpy as np

from snn_compile.ir import spiking
from snn_compile.ir.fixedpoint import Int

NEAR = 1e-3
"""Largest distance of a weight from an integer, in steps. Scales of the file and of the passes are
rounded to float32, which is 16 bits for integers of 8."""


def channel_of(group: spiking.Synapses) -> Int:
    """Output channel of every weight, flat."""
    n_channels = group.shape[0]
    if isinstance(group, spiking.SparseSynapses):
        rows = np.repeat(np.arange(len(group.indptr) - 1), np.diff(group.indptr))
        return rows // prod(group.shape[1:])
    rows = np.arange(group.weight.shape[0]) // (group.weight.shape[0] // n_channels)
    return np.repeat(rows, prod(group.weight.shape[1:]))


def file_integers(group: spiking.Synapses) -> Int | None:
    """The integers, flat; None if the group has no steps, or its weights are none in these."""
    if group.step is None:
        return None
    exact = np.ravel(group.weight) / group.step[channel_of(group)]
    integers = np.rint(exact)
    if not np.abs(exact - integers).max(initial=0.0) < NEAR:
        return None
    return integers.astype(np.int64)
