"""Making a network in integers fit a target: the passes between the proof and the placement.

Every pass takes a proven network and returns one that computes the same on the target's cores, or
says in a finding what it computes instead. A network that fits already is returned as it is, the
same object, so that its seal does not change.
"""

from __future__ import annotations

from collections.abc import Iterable

from snn_compile.fit.duplicate_sources import DuplicateSources
from snn_compile.fit.narrow_states import NarrowStates
from snn_compile.fit.prune_fan_in import PruneFanIn
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.fit.split_weights import WIDTHS, SplitWeights
from snn_compile.ir.quantized import STATE
from snn_compile.options import CompileOptions
from snn_compile.passes import APPROXIMATION, Finding, Pass
from snn_compile.quantize.quantize import Quantization
from snn_compile.targets.target import Target

CODES = (
    "kept-pool",
    "split-fan-in",
    "weights-widened",
    "weights-split",
    "sources-duplicated",
    APPROXIMATION,
)
"""Codes of findings about what was done for the target, here and before (pools)."""


def of_fit(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those of the findings of a compilation that these passes have made."""
    return tuple(finding for finding in findings if finding.code in CODES)


def fit_to(target: Target, options: CompileOptions) -> tuple[Pass[Quantization, Quantization], ...]:
    """The passes that make a network fit a target, in order.

    Those for which a target has no occasion are left out. States are narrowed first, so that other
    passes know what these hold, and again with the populations that were added. Copies come last:
    how often a neuron is read depends on how everything else is placed.

    Args:
        target: the chip.
        options: of the compilation.
    """
    widths, bits = target.weight_bits.value, target.state_bits.value
    stock = options.neurons == "stock"
    narrow = [NarrowStates(bits)] if bits is not None and bits < STATE.bits else []
    passes: list[Pass[Quantization, Quantization]] = [*narrow]
    if not set(WIDTHS) <= set(widths):
        passes.append(SplitWeights(widths))
    if options.allow_approximate:
        passes.append(PruneFanIn(target, stock=stock))
    passes.append(SplitFanIn(target, stock=stock))
    passes += narrow
    if target.output_axons_per_core.value is not None:
        passes.append(DuplicateSources(target))
    return tuple(passes)
