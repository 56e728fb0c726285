"""Local threshold balancing: full scales that rise until little is clipped."""

from __future__ import annotations

import numpy as np

from snn_compile.convert.calibrate import Activations
from snn_compile.convert.linear import Float

N_UPDATES = 500
"""Number of updates. After k, about one activation in 2k is clipped: here one in a thousand.

For activations that are positive with probability p, and exponential with mean s then, the rule is
``d theta / d k = 2 p s exp(-theta / s)``, so ``theta = s log(1 + 2 p k)``, and the probability of
being clipped, ``p exp(-theta / s) = p / (1 + 2 p k)``, is about ``1 / 2k`` whatever p is."""


def local_balance(activations: Activations) -> Float:
    """Full scale per channel by ``theta += 2 mean((x - theta)+)``, from 0, at most the peak.

    The rule of Bu, Li and Yu (2025): a step of 1 down the gradient of the mean squared clipping
    error ``mean((x - theta)+ ** 2)``. They update once for each batch; here every update sees all
    samples, as a histogram, so that the result does not depend on their order. The mean goes over
    all activations, zeros included.

    Returns:
        (C,) values, 0 for channels that never fired.
    """
    counts, centers = activations.histogram.astype(np.float64), activations.centers
    n_channels, n_bins = counts.shape
    # Number and sum of the activations in a bin or above it; the last bin is empty.
    number, total = (
        np.pad(each[:, ::-1].cumsum(axis=1)[:, ::-1], ((0, 0), (0, 1)))
        for each in (counts, counts * centers)
    )
    peak, channel = activations.peak, np.arange(n_channels)
    bins_per_unit = n_bins / np.where(peak > 0, peak, 1.0)
    theta = np.zeros(n_channels)
    for _ in range(N_UPDATES):
        first = np.minimum((theta * bins_per_unit + 0.5).astype(np.int64), n_bins)
        clipped = total[channel, first] - number[channel, first] * theta
        theta = np.minimum(theta + 2 * clipped / max(activations.n_seen, 1), peak)
    return theta
