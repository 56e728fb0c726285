"""Full scales by the L4 norm of the activations, in place of their maximum."""

from __future__ import annotations

import numpy as np

from snn_compile.convert.calibrate import N_BINS, Activations
from snn_compile.convert.linear import Float
from snn_compile.numerics import products


def l4_norm(activations: Activations) -> Float:
    """``(mean of x**4)**(1/4)`` per channel, over the activations above 0.

    The maximum is the norm of infinite order, and decided by one activation. The fourth power
    weighs all of them, large ones most. For activations that are exponential with mean s the norm
    is ``24**(1/4) s = 2.2 s`` however many were seen, and one in nine of them is clipped. Zeros are
    left out, so that the norm does not depend on how often a channel fires.

    The abstract of Allred and Roy (arXiv 2111.09446) speaks of the L4 norm of a neuron's weights;
    ``Equalize`` takes that. What they normalize with it is not established
    (``docs/decisions/0052-l4-in-two-places.md``).

    Returns:
        (C,) values, at most the peak, and 0 for channels that never fired.
    """
    # In units of the peak: powers of large activations would overflow.
    square = ((np.arange(N_BINS) + 0.5) / N_BINS) ** 2
    counts = activations.histogram.astype(np.float64)
    number = products.total(counts, axis=1)
    mean = products.total(counts * (square * square), axis=1) / np.maximum(number, 1.0)
    norm: Float = np.sqrt(np.sqrt(mean)) * activations.peak
    return norm
