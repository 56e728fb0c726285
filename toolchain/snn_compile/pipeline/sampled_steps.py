"""Steps between the folded network and the one in integers that need samples.

Each is recorded in the journal, from which an interrupted compilation gets its result back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from snn_compile.codings import Coding, coding_of
from snn_compile.convert import calibrate as calibration
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.linear import Float
from snn_compile.convert.magnitudes import check_peaks
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.errors import UsageError
from snn_compile.ir.curve import Curve
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering, lower
from snn_compile.options import AUTO, EQUALIZE, CompileOptions
from snn_compile.passes import Finding, PassObserver, Pipeline, no_observer
from snn_compile.pipeline.inputs import Data
from snn_compile.pipeline.search import Promise, resolve_auto
from snn_compile.pluralize import pluralize
from snn_compile.quantize.choose_equalization import least_error_of
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.report import restriction
from snn_compile.report.evaluation import Outcome
from snn_compile.report.journal import Journal
from snn_compile.report.observer import SilentObserver
from snn_compile.samples.arrays import Samples
from snn_compile.samples.rows import Array, Rows
from snn_compile.targets.target import Target

MAX_WEIGHT_BITS = 8
Scales = Mapping[NodeId, Float]
_PARTS = tuple[
    Encoding,
    Mapping[NodeId, np.ndarray],
    Quantization,
    Mapping[NodeId, OutputDecoding],
    Mapping[NodeId, Curve],
]
"""Of a ``Lowering``, without the folded network."""


def calibrated(
    folded: ANNGraph,
    samples: Samples | None,
    journal: Journal,
    name: str = "calibrate",
    drives: SharedDrives | None = None,
) -> Calibration:
    """Statistics of the activations, or bounds from the weights without samples.

    Args:
        folded: the float network.
        samples: of the calibration set.
        journal: of the compilation.
        name: of the result, for a compilation that resumes.
        drives: what to record of the network for later passes.

    Raises:
        CompileError: activations are too large, or a function is undefined for some.
    """
    if samples is None:
        return weight_bounds(folded)
    n, x = len(samples), samples.x

    def measured() -> Calibration:
        with journal.progress("calibrate", pluralize(n, "sample"), 2 * n) as advance:
            also = None if drives is None else drives.from_sample
            return calibration.calibrate(folded, x, advance=advance, also=also)

    statistics = journal.recall(name, Calibration, measured)
    check_peaks(folded, statistics)
    return statistics


def lowered_from(
    folded: ANNGraph,
    statistics: Calibration,
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    journal: Journal,
    observe: PassObserver,
    scales: Scales | None,
    drives: SharedDrives | None = None,
    name: str = "convert",
) -> Lowering:
    """The stages after the folded network; ``name`` is for a compilation that resumes."""

    def parts() -> tuple[Any, ...]:
        with journal.passes("convert"):
            found = lower(folded, statistics, samples, options, coding, observe, scales, drives)
        return found.encoding, found.scales, found.quantization, found.decodings, found.curves

    return Lowering(folded, *journal.recall(name, _PARTS, parts))


def resolve_options(
    options: CompileOptions,
    folded: ANNGraph,
    statistics: Calibration,
    samples: Data,
    target: Target,
    journal: Journal,
    judged: Callable[..., Promise],
) -> CompileOptions:
    """Replace every ``auto`` by a number."""
    if options.is_resolved:
        return options
    if samples.evaluate is None or options.max_accuracy_drop is None:
        raise UsageError(
            "auto searches for the fewest steps or bits and requires data to measure them",
            code="missing-data",
            hint="give --evaluate",
        )
    promise = judged(
        folded,
        statistics,
        samples.calibrate,
        samples.evaluate,
        options.max_accuracy_drop,
        target.default_coding.value,
    )
    widths = [bits for bits in sorted(target.weight_bits.value) if 2 <= bits <= MAX_WEIGHT_BITS]

    def searched() -> tuple[dict[str, Any], tuple[Finding, ...]]:
        with journal.timed("search"):
            resolved, findings = resolve_auto(options, promise, widths)
        before, after = options.effective(), resolved.effective()
        return {name: after[name] for name in after if after[name] != before[name]}, tuple(findings)

    found, findings = journal.recall("search", tuple[dict[str, Any], tuple[Finding, ...]], searched)
    journal.add_findings(findings)
    for finding in findings:
        journal.observer.stage("search", finding.message)
    for name, one in found.items():
        options = options.with_value(name, one["value"], one["origin"])
    return options


def with_restriction_cost(
    free: CompileOptions,
    folded: ANNGraph,
    statistics: Calibration,
    calibrate: Samples | None,
    evaluate: Samples,
    target: Target,
    outcome: Outcome,
) -> Outcome:
    """The outcome with the cost of ``--neurons stock`` relative to unrestricted neurons."""
    coding = coding_of(free, target.default_coding.value)
    other = lower(folded, statistics, calibrate, free, coding)
    cost = restriction.compared(outcome.judge, other, evaluate, coding)
    return replace(outcome, more={**outcome.more, "neurons": cost})


def choose_equalization(
    folded: ANNGraph,
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    journal: Journal,
) -> CompileOptions:
    """Resolve ``--equalize auto``: try each mode and keep the one with the least error."""
    if samples is None and options.equalize in ("auto", "data"):
        raise UsageError(
            f"--equalize {options.equalize} requires calibration data",
            code="missing-data",
            hint="use --calibrate, or range, l4 or l2",
        )
    if samples is None or options.equalize != "auto":
        return options
    silent_journal = Journal(SilentObserver())

    def compiled(mode: str, x: Rows) -> Callable[[Array], list[Float]]:
        trial, few = options.with_value("equalize", mode, "tried"), Samples(x)
        adjusted = equalized(folded, few, trial, coding)
        statistics = calibrated(adjusted, few, silent_journal)
        return lower(adjusted, statistics, few, trial, coding).outputs

    modes = [mode for mode in EQUALIZE if mode != AUTO]
    x = samples.x

    def chosen() -> tuple[str, Finding]:
        with journal.timed("choose-equalization"):
            return least_error_of(modes, compiled, folded, x)

    mode, finding = journal.recall("choose-equalization", tuple[str, Finding], chosen)
    journal.add_findings([finding])
    journal.observer.stage("equalize", finding.message)
    return options.with_value("equalize", mode, finding.message)


def equalized(
    folded: ANNGraph,
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    observe: PassObserver = no_observer,
) -> ANNGraph:
    """The network with the weights of adjacent layers adjusted, as the options ask."""
    mode = options.equalize
    if mode == "none":
        return folded
    ranges = None
    if mode == "range":
        statistics = calibrated(folded, samples, Journal(SilentObserver()))
        ranges = balance_thresholds(
            folded,
            statistics,
            options.thresholds_of,
            levels=coding.levels,
            payloads=coding.payloads,
        )
    varies = options.input == "poisson" and options.reset == "subtract"
    n_steps = coding.window.n_steps if varies else None
    x = None if samples is None else samples.x
    adjust = Equalize(mode, x, ranges=ranges, n_steps=n_steps if mode == "data" else None)
    return Pipeline.of(adjust)(folded, observe).graph
