"""Moments of receptive fields in the order of their samples."""

from __future__ import annotations

import numpy as np

from snn_compile.quantize.refit import Moments


def by_halves(samples) -> np.ndarray:
    """Fields of the first half first: that of samples of even number."""
    return np.argsort(np.asarray(samples) % 2, kind="stable")


def moments_of(columns, samples) -> Moments:
    """Moments of integers (K, S), each field of one of the samples (S,)."""
    fields = columns[:, by_halves(samples)].astype(np.float64)
    return Moments.of(fields, int((np.asarray(samples) % 2 == 0).sum()))
