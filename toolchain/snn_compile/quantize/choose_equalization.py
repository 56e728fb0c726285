"""Choice of the cross-layer equalization by measured error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from snn_compile.ir.spiking import Float
from snn_compile.ir.stages import ANNGraph
from snn_compile.numerics.spread import power, spread
from snn_compile.passes import Finding
from snn_compile.samples.rows import Array, Rows, chosen
from snn_compile.sim.ann import evaluate_outputs
from snn_compile.sim.reproducible import Reproducible

HELD_OUT = 4
"""Every fourth sample is held out for the measurement; the others calibrate."""
MAX_MEASURED = 256
"""Maximal number of samples of the comparison."""


def least_error_of(
    modes: Iterable[str],
    compiled: Callable[[str, Rows], Callable[[Array], Sequence[Float]]],
    network: ANNGraph,
    x: Rows,
) -> tuple[str, Finding]:
    """The mode with fixed-point outputs closest to those of the float network.

    The error is the mean squared difference over the variance of the float outputs, on held-out
    samples: 0 is perfect, 1 is as good as a constant. Of several outputs, it is their mean.

    Args:
        modes: the candidates; the first wins a tie.
        compiled: compiles a mode with calibration samples; returns a function from
            samples to the outputs, (N, *output shape) each.
        network: the float network.
        x: (N, *input shape) calibration samples; a single one is used for both.

    Returns:
        The mode, and a finding with the error of each.
    """
    held = np.zeros(len(x), bool)
    held[HELD_OUT - 1 :: HELD_OUT] = True
    if not held.any():
        held[-1] = True
    new = x[np.flatnonzero(held)[:MAX_MEASURED]]
    seen = chosen(x, np.flatnonzero(~held)) if len(x) > 1 else x
    floats = evaluate_outputs(network, new, operators=Reproducible(network, new))
    wanted = [values.astype(np.float64) for values in floats]
    units = list(map(spread, wanted))

    def error(found: Sequence[Float]) -> float:
        triples = zip(found, wanted, units, strict=True)
        return sum(power(f - values) / unit for f, values, unit in triples) / len(wanted)

    errors = {mode: error(compiled(mode, seen)(new)) for mode in modes}
    best = min(errors, key=lambda mode: errors[mode])
    figures = ", ".join(f"{mode} {error:.3g}" for mode, error in errors.items())
    return best, Finding(
        f"auto took {best}; relative squared errors of the outputs: {figures}",
        code="equalize-auto",
    )
