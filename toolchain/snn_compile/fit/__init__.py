"""Fitting a fixed-point network to a target: the passes between the proof and the placement.

Every pass takes a network whose states are proven not to overflow. It preserves the messages of
every layer, or reports the approximation as a finding. A network that fits is returned as the same
object, and its seal does not change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from snn_compile.fit.duplicate_sources import DuplicateSources
from snn_compile.fit.narrow_states import NarrowStates
from snn_compile.fit.prune_fan_in import PruneFanIn
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.fit.split_weights import SplitWeights
from snn_compile.ir.quantized import STATE, WEIGHT_BITS, QuantizedGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import APPROXIMATION, Finding, Pass, PassResult
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
"""Codes of findings about changes made for the target, by these passes and by conversion."""


def fit_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings of a compilation about changes made for the target, in their order."""
    return tuple(finding for finding in findings if finding.code in CODES)


class FitPass(Pass[Quantization, Quantization], Protocol):
    """A pass that fits a network to a target, with or without the scales of its integers."""

    def of_program(self, program: QuantizedGraph) -> PassResult[QuantizedGraph]:
        """The network alone."""
        ...


def fit_program(
    program: QuantizedGraph, target: Target, *, stock: bool, approximate: bool
) -> PassResult[QuantizedGraph]:
    """A network alone, after the passes that fit it to a target.

    Args:
        program: the network.
        target: the chip.
        stock: whether only Lava's stock neurons are allowed.
        approximate: whether synapses may be pruned.

    Raises:
        CapacityError: a layer exceeds a core, and no remedy exists.
    """
    findings: list[Finding] = []
    for fit_pass in _passes(target, stock=stock, approximate=approximate):
        result = fit_pass.of_program(program)
        program = result.graph
        findings += result.findings
    return PassResult(program, tuple(findings))


def fit_passes(target: Target, options: CompileOptions) -> tuple[FitPass, ...]:
    """The passes that fit a network to a target, in order.

    Passes that a target never needs are omitted. States are narrowed first, because other passes
    depend on their width, and again after populations have been added. Sources are duplicated last,
    because the fan-out of a neuron depends on the placement of its readers.

    Args:
        target: the chip.
        options: of the compilation.
    """
    stock = options.neurons == "stock"
    return _passes(target, stock=stock, approximate=options.allow_approximate)


def _passes(target: Target, *, stock: bool, approximate: bool) -> tuple[FitPass, ...]:
    widths, bits = target.weight_bits.value, target.state_bits.value
    narrow = [NarrowStates(bits)] if bits is not None and bits < STATE.bits else []
    passes: list[FitPass] = [*narrow]
    if not set(WEIGHT_BITS) <= set(widths):
        passes.append(SplitWeights(widths))
    if approximate:
        passes.append(PruneFanIn(target, stock=stock))
    passes.append(SplitFanIn(target, stock=stock))
    passes += narrow
    if target.output_axons_per_core.value is not None:
        passes.append(DuplicateSources(target))
    return tuple(passes)
