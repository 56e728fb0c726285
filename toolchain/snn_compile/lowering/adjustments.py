"""Which passes calibrate a network in integers, by the options, the coding and the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from snn_compile.codings import Coding, Correction
from snn_compile.convert.linear import Float
from snn_compile.ir import ann as ops
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.options.rounding import reconstructs, steps_of
from snn_compile.quantize.calibrate_potentials import CalibratePotentials
from snn_compile.quantize.calibrate_resets import CalibrateResets
from snn_compile.quantize.correct_biases import CorrectBiases
from snn_compile.quantize.fit_layers import FitLayers
from snn_compile.quantize.reconstruction.reconstruct import Reconstruct
from snn_compile.samples.rows import Rows

FITS = {"rounding": "nearest", "bias_correction": False}
"""Options that fit integers, and their values where nothing is fitted."""


def adjustments(
    folded: ANNGraph,
    x: Rows,
    frames: Rows,
    scales: Mapping[NodeId, Float],
    options: CompileOptions,
    coding: Coding,
) -> Iterator[FitLayers | Reconstruct | CorrectBiases | CalibratePotentials | CalibrateResets]:
    """Passes that calibrate errors of rounding and of timing, in order."""
    if keeps_integers(folded, options, coding):
        return
    options = options.relevant_to(coding.name)
    correction = coding.correction(options)
    if correction is Correction.RESETS:
        resets = CalibrateResets(folded, x, frames, scales)
        if options.reset_calibration:
            yield resets  # only then do counts represent activations, so that weights can be fitted
        if options.rounding != "nearest":
            refits = options.reset_calibration
            yield FitLayers(folded, x, frames, biases=False, refits=refits)
            if refits:
                yield resets
        return
    # Weights and potentials compensate different parts of a timing error: what depends on the input
    # and what does not. Biases would compensate the second once more.
    potentials = options.potential_calibration and correction is Correction.POTENTIALS
    biases = options.bias_correction and not potentials
    learned = reconstructs(options.rounding)
    starting = None
    if potentials:
        starting = CalibratePotentials(folded, x, frames, scales, options.bias_correction)
    if learned:
        yield Reconstruct(folded, x, frames, biases, steps_of(options.rounding), starting)
        return
    if options.rounding != "nearest":
        yield FitLayers(folded, x, frames, biases, starts=scales if potentials else None)
    if starting is not None:
        yield starting
    elif options.bias_correction and options.rounding == "nearest":
        yield CorrectBiases(folded, x, frames)


def keeps_integers(folded: ANNGraph, options: CompileOptions, coding: Coding) -> bool:
    """Whether nothing is left to fit: a quantized file states every integer on grids that are kept.

    Whoever asks for a fit gets it.
    """
    asked = any(options.is_given(name) for name in FITS)
    return coding.payloads and not asked and _is_quantized(folded, coding.levels)


def _is_quantized(folded: ANNGraph, levels: int) -> bool:
    """Whether all layers have the integers of a file, and all populations its grids."""
    layers = [node for node in folded.graph if isinstance(node, ops.Conv | ops.Dense)]
    owners = [n for n in folded.graph if isinstance(n, ops.Activation) and n.like is None]
    return (
        any(layer.step is not None for layer in layers)
        and bool(owners)
        and all(node.on_own_grid(levels) for node in owners)
    )
