"""Making a network in integers fit a target: the passes between the proof and the placement.

Every pass takes a proven network and returns one that computes the same on the target's cores, or
says in a finding what it computes instead. A network that fits already is returned as it is, the
same object, so that its seal does not change.
"""

from __future__ import annotations

from collections.abc import Iterable

from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding, Pass
from snn_compile.quantize.quantize import Quantization
from snn_compile.targets.target import Target

CODES = ("split-fan-in",)
"""Codes of the findings of these passes."""


def of_fit(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those of the findings of a compilation that these passes have made."""
    return tuple(finding for finding in findings if finding.code in CODES)


def fit_to(target: Target, options: CompileOptions) -> tuple[Pass[Quantization, Quantization], ...]:
    """The passes that make a network fit a target, in order.

    Args:
        target: the chip.
        options: of the compilation.
    """
    return (SplitFanIn(target, stock=options.neurons == "stock"),)
