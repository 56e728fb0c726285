"""Encoded samples in few bytes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.ir.encoding import Encoding
from snn_compile.samples.rows import Rows, computed
from snn_compile.sim.batches import map_batches

ENCODING_BATCH_SIZE = 256
"""Samples per encoding task of a thread."""


def encoded(encoding: Encoding, x: npt.NDArray[np.number]) -> npt.NDArray[np.integer]:
    """The frames of many samples (N, *input shape), as (N, *maps), in few bytes."""
    fitting = np.min_scalar_type(-2 * max(-encoding.low, encoding.high))
    frames = np.empty((len(x), *encoding.maps), fitting)

    def some(piece: npt.NDArray[Any], start: int) -> None:
        frames[start : start + len(piece)] = encoding(piece)

    for _ in map_batches(some, x, ENCODING_BATCH_SIZE):
        pass
    return frames


def encoded_rows(encoding: Encoding, x: Rows) -> Rows:
    """The frames of samples that are read by parts: encoded whenever they are read."""
    return computed(partial(encoded, encoding), x)
