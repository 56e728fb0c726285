"""The one place that knows the order: frontend, passes, quantization, mapping, evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy.typing as npt

from snn_compile.bundle import CompiledModel, stimuli
from snn_compile.convert import calibrate as calibration
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.codings import Coding, Graded, coding_of
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.data import Samples, check_samples, load_samples
from snn_compile.errors import CompileError, Origin, UnsupportedError, UsageError, raise_all
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import lower, without_data
from snn_compile.mapping import map_program
from snn_compile.options import AUTO, CompileOptions
from snn_compile.passes import Finding, Pipeline
from snn_compile.plugins import (
    BACKENDS,
    Backend,
    Frontend,
    Imported,
    Original,
    RunsFiles,
    SpikingFrontend,
    frontend_for,
)
from snn_compile.report import assemble
from snn_compile.report.evaluation import Stages, climb
from snn_compile.report.journal import Journal
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.search import Promise, settled
from snn_compile.spiking_models import SpikingCheck, check_spiking, compile_spiking
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

MOST_WEIGHT_BITS = 8

Array = npt.NDArray[Any]


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
    frontend = _frontend(Path(model))
    if isinstance(frontend, SpikingFrontend):
        return check_spiking(Path(model), frontend, options, target)
    coding = coding_of(options, target.default_coding.value)
    imported = _read(Path(model), frontend)
    folding = FOLDING(_preprocessed(imported, options))
    folded, statistics = folding.graph, weight_bounds(folding.graph)
    program = without_data(folded, statistics, options, coding)
    mapped = map_program(program, target)
    findings = (*imported.findings, *folding.findings, *mapped.findings)
    return CheckResult(imported, folded, findings)


def compile_model(
    model: str | Path,
    *,
    options: CompileOptions | None = None,
    calibrate: Array | None = None,
    evaluate: tuple[Array, Array | None] | None = None,
    watch: Observer | None = None,
    **changes: Any,
) -> CompiledModel:
    """Compile a trained network into a spiking one in fixed point.

    Args:
        model: the file.
        options: all options; ``changes`` override single ones by name.
        calibrate: (N, *input shape) samples, in place of ``options.calibrate``.
        evaluate: samples and labels (or None), in place of ``options.evaluate``.
        watch: sees the compilation while it runs.
        **changes: single options by name.

    Returns:
        The compiled network with its report; nothing is written.

    Raises:
        CompileError: whatever is wrong with the model, the data, the options or the target.
    """
    options = replace(options or CompileOptions(), **changes)
    journal = Journal(watch or SilentObserver())
    path = Path(model)
    target = load_target(options.target)
    backends: list[Backend] = [BACKENDS.load(name) for name in options.emit]
    frontend = _frontend(path)
    if isinstance(frontend, SpikingFrontend):
        return compile_spiking(
            path, frontend, options, target, backends, journal, calibrate, evaluate
        )
    coding = coding_of(options, target.default_coding.value)
    with journal.timed("import"):
        imported = _read(path, frontend)
    journal.found(imported.findings)
    journal.found(_ignored(options, coding))
    network = _preprocessed(imported, options)
    samples = _loaded(options, network, calibrate, evaluate)
    assemble.announce(journal.observer, imported.ann, target, coding, options)
    folded = FOLDING(network, journal.passed).graph
    assemble.tell_import(journal.observer, imported, folded)
    folded = _equalized(folded, samples.calibrate, options, journal)
    statistics = _calibrated(folded, samples.calibrate, journal)
    options = _settled(options, folded, statistics, samples, target, journal)
    coding = coding_of(options, target.default_coding.value)
    lowered = lower(folded, statistics, samples.calibrate, options, coding, journal.passed)
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
        _original(path, frontend, options) if samples.evaluate is not None else None,
    )
    outcome = climb(stages, samples.evaluate, journal)
    return CompiledModel(
        mapped.graph.program,
        lowered.encoding,
        lowered.decodings,
        assemble.report(
            path,
            options,
            assemble.facts(imported.ann),
            lowered.quantization,
            mapped.graph,
            outcome,
            journal,
        ),
        stimuli(samples.evaluate or samples.calibrate, lowered.encoding, options.seed),
        assemble.provenance(path, options),
        backends=options.emit,
    )


FOLDING = (
    Pipeline.of(FoldBatchNorm()).then(FoldPadding()).then(LowerMaxPool()).then(InsertRectifiers())
)
"""The passes that leave the function of the trained network unchanged."""


@dataclass(frozen=True, eq=False)
class _Data:
    calibrate: Samples | None
    evaluate: Samples | None


def _frontend(path: Path) -> Frontend | SpikingFrontend:
    if not path.is_file():
        raise UsageError(
            "no such file", code="no-such-file", origin=Origin(str(path)), hint="check the path"
        )
    return frontend_for(path)


def _read(path: Path, frontend: Frontend) -> Imported:
    imported = frontend.read(path)
    outputs = imported.ann.outputs
    if any(not output.shape for output in outputs):
        raise UnsupportedError(
            "an output without a class axis",
            origin=outputs[0].origin,
            hint="give each sample a vector of outputs",
        )
    return imported


def _original(path: Path, frontend: Frontend, options: CompileOptions) -> Original | None:
    """Who runs the user's file, if our evaluator need not; the file knows of no preprocessing."""
    if options.mean_values or options.scale_values or not isinstance(frontend, RunsFiles):
        return None
    return frontend.original(path)


def _preprocessed(imported: Imported, options: CompileOptions) -> ANNGraph:
    fold = FoldPreprocessing(options.mean_values, options.scale_values)
    return fold(imported.ann).graph


def _loaded(
    options: CompileOptions,
    network: ANNGraph,
    calibrate: Array | None,
    evaluate: tuple[Array, Array | None] | None,
) -> _Data:
    """Both sets of samples, from arrays or files; all that is wrong with them at once."""
    shape, n_classes = network.input.shape, prod(network.outputs[0].shape)
    raw = bool(options.mean_values or options.scale_values)
    layout = options.layout
    errors: list[CompileError] = []

    def load(given: Array | None, labels: Array | None, file: Path | None) -> Samples | None:
        try:
            if given is not None:
                return check_samples(
                    given, labels, shape, layout=layout, raw=raw, n_classes=n_classes
                )
            if file is not None:
                return load_samples(file, shape, layout=layout, raw=raw, n_classes=n_classes)
        except CompileError as error:
            errors.append(error)
        return None

    x, y = evaluate if evaluate is not None else (None, None)
    data = _Data(load(calibrate, None, options.calibrate), load(x, y, options.evaluate))
    raise_all(errors)
    return data


def _calibrated(folded: ANNGraph, samples: Samples | None, journal: Journal) -> Calibration:
    if samples is None:
        journal.found([_NOT_CALIBRATED])
        return weight_bounds(folded)
    n = len(samples)
    with journal.progress("calibrate", f"{n:,} samples", 2 * n) as advance:
        return calibration.calibrate(folded, samples.x, advance=advance)


_NOT_CALIBRATED = Finding(
    "no calibration data: thresholds are worst-case bounds from the weights, for inputs from 0"
    " to 1; expect a large loss of accuracy",
    code="not-calibrated",
    hint="give --calibrate with a few hundred unlabelled samples",
    warning=True,
)


def _settled(
    options: CompileOptions,
    folded: ANNGraph,
    statistics: Calibration,
    samples: _Data,
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


def _equalized(
    folded: ANNGraph, samples: Samples | None, options: CompileOptions, journal: Journal
) -> ANNGraph:
    if options.equalize == "none":
        return folded
    if options.equalize == "data" and samples is None:
        raise UsageError(
            "--equalize data measures the noise on calibration data, and there is none",
            code="missing-data",
            hint="give --calibrate, or use l4 or l2",
        )
    adjust = Equalize(options.equalize, None if samples is None else samples.x)
    return Pipeline.of(adjust)(folded, journal.passed).graph


def _ignored(options: CompileOptions, coding: Coding) -> list[Finding]:
    """Options that were given but mean nothing for this coding."""
    if isinstance(coding, Graded) and options.timesteps not in (CompileOptions().timesteps, AUTO):
        message = f"timesteps {options.timesteps} is ignored: {coding.name} takes one step"
        hint = "use --coding sync or rate for spike trains"
        return [Finding(message, code="option-ignored", hint=hint, warning=True)]
    return []
