"""Limits of parameters and activations, beyond which computations overflow."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from snn_compile.convert.calibrate import Calibration
from snn_compile.errors import CompileError, ModelError, UnsupportedError, raise_all
from snn_compile.ir import ann
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.stages import ANNGraph

MAX_MAGNITUDE = 1e30
"""Limit of a parameter: the square of a product of a few is still finite."""
MAX_PEAK = 1e100
"""Limit of an activation."""
HINT = "the training diverged or the export failed; check the weights"


def check_magnitudes(network: ANNGraph) -> None:
    """Refuse parameters that are too large.

    Raises:
        ModelError: there are some (``CompileErrors`` if in several layers).
    """
    raise_all([e for node in network.graph for e in _complaints(node)])


def _complaints(node: AnnNode) -> list[CompileError]:
    found: list[CompileError] = []
    for item in fields(node):
        value = getattr(node, item.name)
        if not isinstance(value, np.ndarray | float):
            continue
        largest = float(max(np.max(value, initial=0), -np.min(value, initial=0)))  # without a copy
        if not largest <= MAX_MAGNITUDE:
            found.append(
                ModelError(
                    f"its {item.name} has numbers up to {largest:.3g}; {MAX_MAGNITUDE:g} at most",
                    code="out-of-range",
                    origin=node.origin,
                    hint=HINT,
                )
            )
    return found


def _undefined(node: AnnNode) -> UnsupportedError:
    return UnsupportedError(
        "is undefined for some of its arguments on the calibration samples",
        code="undefined-function",
        origin=node.origin,
        hint="calibrate with samples in its domain, or bound its argument",
    )


def check_peaks(network: ANNGraph, statistics: Calibration) -> None:
    """Refuse activations that are too large.

    Raises:
        ModelError: there are some (``CompileErrors`` if in several layers).
        UnsupportedError: a function is undefined for some of its arguments.
    """
    raise_all(
        [
            _undefined(network.graph[name])
            if isinstance(network.graph[name], ann.Function)
            and not np.isfinite(activations.peak).all()
            else ModelError(
                f"its activations reach {activations.peak.max():.3g}; {MAX_PEAK:g} at most",
                code="out-of-range",
                origin=network.graph[name].origin,
                hint=HINT,
            )
            for name, activations in statistics.activations.items()
            if not activations.peak.max(initial=0) <= MAX_PEAK
        ]
    )
