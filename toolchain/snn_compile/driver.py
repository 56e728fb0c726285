"""The one place that knows the order: frontend, passes, quantization, mapping, evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.convert import calibrate as calibration
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.codings import Coding, coding_of
from snn_compile.convert.data_findings import data_findings
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.footprint import check_footprint
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.linear import Float
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.magnitudes import check_magnitudes, check_peaks
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.counted import counted
from snn_compile.data import Samples
from snn_compile.errors import UsageError, raise_all
from snn_compile.inputs import (
    Data,
    load_data,
    original,
    preprocessed,
    read_model,
    spiking_frontend,
    stimulus,
)
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import lower, without_data
from snn_compile.mapping import map_program
from snn_compile.options import (
    AUTO,
    CALIBRATED,
    CONVERTED,
    EQUALIZE,
    UNCALIBRATED,
    CompileOptions,
    Keywords,
)
from snn_compile.passes import Finding, Pipeline
from snn_compile.plugins import BACKENDS, Backend, Imported
from snn_compile.provenance import provenance
from snn_compile.quantize import stock
from snn_compile.quantize.choose_equalization import least_error_of
from snn_compile.report import assemble, restriction
from snn_compile.report.evaluation import Outcome, Stages, climb
from snn_compile.report.journal import Journal
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.search import Promise, settled
from snn_compile.spiking_models import SpikingCheck, check_spiking, compile_spiking
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

MOST_WEIGHT_BITS = 8

Array = npt.NDArray[Any]
Scales = Mapping[NodeId, Float]
Retrain = Callable[[ANNGraph, Calibration, CompileOptions, Coding], tuple[ANNGraph, Scales]]
"""The folded network with its statistics to another one with the full scales of its rectifiers."""


@dataclass(frozen=True)
class CheckResult:
    """What importing alone says about a model.

    Attributes:
        imported: the network as the file states it.
        folded: after the passes that need no data.
        findings: of the import and of these passes.
    """

    imported: Imported
    folded: ANNGraph
    findings: tuple[Finding, ...]


def check_model(model: str | Path, options: CompileOptions) -> CheckResult | SpikingCheck:
    """Import a model, convert it with thresholds from its weights, and map it: all without data.

    Raises:
        CompileError: it cannot be read, holds what has no spiking form, or does not fit the target;
            all complaints of a kind at once.
    """
    target = load_target(options.target)
    if frontend := spiking_frontend(Path(model)):
        return check_spiking(Path(model), frontend, options, target)
    options = stock.settled(options)
    coding = coding_of(options, target.default_coding.value)
    imported = read_model(Path(model))
    folding = FOLDING(preprocessed(imported, options))
    check_footprint(folding.graph)
    check_magnitudes(folding.graph)
    folded, statistics = folding.graph, weight_bounds(folding.graph)
    program = without_data(folded, statistics, options, coding)
    mapped = map_program(program, target)
    findings = (*imported.findings, *folding.findings, *mapped.findings)
    return CheckResult(imported, folded, findings)


def compile_model(
    model: str | Path,
    *,
    options: CompileOptions | None = None,
    calibrate: Array | str | Path | None = None,
    evaluate: tuple[Array, Array | None] | str | Path | None = None,
    watch: Observer | None = None,
    retrain: Retrain | None = None,
    **changes: Unpack[Keywords],
) -> CompiledModel:
    """Compile a trained network into a spiking one in fixed point.

    Args:
        model: the file.
        options: all options; ``changes`` override single ones by name.
        calibrate: (N, *input shape) samples or a file, in place of ``options.calibrate``.
        evaluate: samples and labels (or None), or a file, in place of ``options.evaluate``.
        watch: sees the compilation while it runs.
        retrain: may replace the folded network before it is converted.
        **changes: single options by name.

    Returns:
        The compiled network with its report; nothing is written.

    Raises:
        CompileError: whatever is wrong with the model, the data, the options or the target.
    """
    given: dict[str, Any] = dict(changes)
    if isinstance(calibrate, str | Path):
        given["calibrate"], calibrate = calibrate, None
    if isinstance(evaluate, str | Path):
        given["evaluate"], evaluate = evaluate, None
    options = (options or CompileOptions()).given(given)
    journal = Journal(watch or SilentObserver())
    path = Path(model)
    target = load_target(options.target)
    backends: list[Backend] = [BACKENDS.load(name) for name in options.emit]
    if frontend := spiking_frontend(path):
        return compile_spiking(
            path, frontend, options, target, backends, journal, calibrate, evaluate
        )
    asked, options = options, stock.settled(options)
    coding = coding_of(options, target.default_coding.value)
    if coding.window.n_steps > 1:
        asked = asked.filled("timesteps", coding.window.n_steps)
    options = options.filled("timesteps", coding.window.n_steps)
    with journal.timed("import"):
        imported = read_model(path)
    journal.found(imported.findings)
    network = preprocessed(imported, options)
    measured = calibrate is not None or options.calibrate is not None
    facts = _facts(coding, measured=measured)
    samples = load_data(options, network, calibrate, evaluate)
    journal.found(data_findings(samples.calibrate, samples.evaluate))
    assemble.announce(journal.observer, imported.ann, target, coding, options)
    folded = FOLDING(network, journal.passed).graph
    check_footprint(folded, measured=measured)
    check_magnitudes(folded)
    assemble.tell_import(journal.observer, imported, folded)
    options = _decided(folded, samples.calibrate, options, coding, journal)
    journal.found(assemble.ignored(options, facts))
    folded = _equalized(folded, samples.calibrate, options, coding, journal)
    statistics = _calibrated(folded, samples.calibrate, journal)
    options = _settled(options, folded, statistics, samples, target, journal)
    coding = coding_of(options, target.default_coding.value)
    scales = None
    if retrain is not None:
        folded, scales = retrain(folded, statistics, options, coding)
        statistics = _calibrated(folded, samples.calibrate, journal)
    lowered = lower(folded, statistics, samples.calibrate, options, coding, journal.passed, scales)
    assemble.tell_quantization(journal.observer, lowered.quantization)
    with journal.timed("map"):
        mapped = map_program(lowered.program, target)
    journal.found(mapped.findings)
    journal.observer.stage("map", mapped.findings[0].message)
    raise_all([error for b in backends for error in b.check(mapped.graph.program)])
    stages = Stages(
        network,
        lowered,
        coding,
        original(path, options) if samples.evaluate is not None else None,
    )
    outcome = climb(stages, samples.evaluate, journal)
    more: dict[str, Any] = {}
    if options.neurons != "any" and samples.evaluate is not None:
        free = stock.freed(options, asked)
        with journal.timed("unrestricted"):
            more["neurons"] = _restricted(free, folded, statistics, samples, target, outcome)
    frames = stimulus(samples.evaluate or samples.calibrate, lowered.encoding, options.seed)
    with journal.timed("portability"):
        more["portability"] = assemble.portability_of(mapped.graph.program, frames)
    return CompiledModel(
        mapped.graph.program,
        lowered.encoding,
        lowered.decodings,
        assemble.report(
            path,
            options.in_effect(
                facts, assemble.used(mapped.graph.program, lowered.spiking.input.coding)
            ),
            assemble.facts(imported.ann),
            lowered.quantization,
            mapped.graph,
            outcome,
            journal,
            more,
        ),
        frames,
        provenance(path, asked, {"calibrate": calibrate, "evaluate": evaluate}),
        backends=options.emit,
    )


FOLDING = (
    Pipeline.of(FoldBatchNorm()).then(FoldPadding()).then(LowerMaxPool()).then(InsertRectifiers())
)
"""The passes that leave the function of the trained network unchanged."""


def _calibrated(folded: ANNGraph, samples: Samples | None, journal: Journal) -> Calibration:
    if samples is None:
        return weight_bounds(folded)
    n = len(samples)
    with journal.progress("calibrate", counted(n, "sample"), 2 * n) as advance:
        statistics = calibration.calibrate(folded, samples.x, advance=advance)
    check_peaks(folded, statistics)
    return statistics


def _settled(
    options: CompileOptions,
    folded: ANNGraph,
    statistics: Calibration,
    samples: Data,
    target: Target,
    journal: Journal,
) -> CompileOptions:
    """Numbers in the place of ``auto``."""
    if options.is_settled:
        return options
    if samples.evaluate is None or options.max_accuracy_drop is None:
        raise UsageError(
            "auto looks for the fewest steps or bits, and there is nothing to measure them on",
            code="missing-data",
            hint="give --evaluate",
        )
    promise = Promise(
        folded,
        statistics,
        samples.calibrate,
        samples.evaluate,
        options.max_accuracy_drop,
        target.default_coding.value,
    )
    widths = [bits for bits in sorted(target.weight_bits.value) if 2 <= bits <= MOST_WEIGHT_BITS]
    with journal.timed("search"):
        options, findings = settled(options, promise, widths)
    journal.found(findings)
    for finding in findings:
        journal.observer.stage("search", finding.message)
    return options


def _restricted(
    free: CompileOptions,
    folded: ANNGraph,
    statistics: Calibration,
    samples: Data,
    target: Target,
    outcome: Outcome,
) -> dict[str, Any]:
    """What the neurons that were asked for cost against the network of the options ``free``."""
    coding = coding_of(free, target.default_coding.value)
    other = lower(folded, statistics, samples.calibrate, free, coding)
    if samples.evaluate is None:
        raise ValueError("nothing to compare networks on")
    return restriction.compared(outcome.judge, other, samples.evaluate, coding)


def _decided(
    folded: ANNGraph,
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    journal: Journal,
) -> CompileOptions:
    """The options with what ``--equalize auto`` stands for: each mode is tried as it would be."""
    if samples is None and options.equalize in ("auto", "data"):
        raise UsageError(
            f"--equalize {options.equalize} measures on calibration data, and there is none",
            code="missing-data",
            hint="give --calibrate, or use range, l4 or l2",
        )
    if samples is None or options.equalize != "auto":
        return options
    unheard = Journal(SilentObserver())

    def compiled(mode: str, x: Array) -> Callable[[Array], Float]:
        trial, few = options.settled("equalize", mode, "tried"), Samples(x)
        equalized = _equalized(folded, few, trial, coding, unheard)
        statistics = _calibrated(equalized, few, unheard)
        return lower(equalized, statistics, few, trial, coding).answers

    modes = [mode for mode in EQUALIZE if mode != AUTO]
    with journal.timed("choose-equalization"):
        mode, finding = least_error_of(modes, compiled, folded, samples.x)
    journal.found([finding])
    journal.observer.stage("equalize", finding.message)
    return options.settled("equalize", mode, finding.message)


def _equalized(
    folded: ANNGraph,
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    journal: Journal,
) -> ANNGraph:
    mode = options.equalize
    if mode == "none":
        return folded
    ranges = None
    if mode == "range":
        statistics = _calibrated(folded, samples, Journal(SilentObserver()))
        ranges = balance_thresholds(folded, statistics, options.thresholds_of, levels=coding.levels)
    adjust = Equalize(mode, None if samples is None else samples.x, ranges=ranges)
    return Pipeline.of(adjust)(folded, journal.passed).graph


def _facts(coding: Coding, *, measured: bool) -> dict[str, str]:
    """What decides which options have a meaning."""
    data = CALIBRATED if measured else UNCALIBRATED
    return {"network": CONVERTED, "coding": coding.name, "data": data}
