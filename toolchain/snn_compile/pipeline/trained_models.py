"""Compilation of a network trained without spikes: folded, calibrated, converted, quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.codings import Coding, coding_of
from snn_compile.convert import calibrate as calibration
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.data_findings import data_findings
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.fit import fit_findings
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering, drives_to_share, for_target, passes_at_bounds
from snn_compile.lowering.adjustments import FITS, keeps_integers
from snn_compile.mapping import map_program
from snn_compile.options import CALIBRATED, CONVERTED, UNCALIBRATED, CompileOptions
from snn_compile.passes import Pass
from snn_compile.pipeline.budget.meter import Start
from snn_compile.pipeline.budget.settle import within_budget
from snn_compile.pipeline.data_trial import tried_on_model
from snn_compile.pipeline.described_data import describe_data, with_class_names
from snn_compile.pipeline.finish import CheckResult, PreparedNetwork, Task, pass_observer
from snn_compile.pipeline.folding import fold, folding_of
from snn_compile.pipeline.inputs import (
    Data,
    load_data,
    outputs_of,
    preprocess,
    preprocessing,
    read_model,
    source_runtime,
    stimulus,
    with_preprocessing,
)
from snn_compile.pipeline.sampled_steps import (
    Scales,
    calibrated,
    choose_equalization,
    equalized,
    lowered_from,
    resolve_options,
    with_restriction_cost,
)
from snn_compile.pipeline.search import Promise
from snn_compile.pipeline.spread.evaluation import evaluate_on
from snn_compile.plugins import Imported
from snn_compile.quantize import stock
from snn_compile.report import assemble
from snn_compile.report.evaluation import Outcome, Stages, described, evaluate_stages
from snn_compile.report.host import HostStage, expected_of
from snn_compile.report.journal import Journal
from snn_compile.report.ladder import Ladder
from snn_compile.report.layer_losses import has_lost, with_losses
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected
from snn_compile.targets.target import Target
from snn_compile.workers import Workers

LEFT_OFF = ("softmax-dropped", "argmax-dropped")
"""Findings of an import that left out operators at the end of the file."""

Array = npt.NDArray[Any]
Retrain = Callable[[ANNGraph, Calibration, CompileOptions, Coding], tuple[ANNGraph, Scales]]
"""From the folded network and its statistics to a retrained one and its full scales."""


def check_trained(task: Task, journal: Journal) -> CheckResult:
    """Import a network, convert it with thresholds from its weights, and map it, without data.

    Raises:
        CompileError: it is unreadable, has unsupported operators, or does not fit the target.
        Stopped: the pass after which to stop has run.
    """
    target = task.target
    options = for_target(stock.with_stock_defaults(task.options), target)
    coding = coding_of(options, target.default_coding.value)
    imported = read_model(task.path, options)
    network = preprocess(imported, options, journal.record_pass)
    observe = pass_observer(journal, network)
    folding = fold(
        network, coding, observe, target=target, widths=options.of_layers("payload_bits")
    )
    convert = passes_at_bounds(folding.graph, weight_bounds(folding.graph), options, coding)
    made = convert(folding.graph, observe)
    program, fitted = made.graph.program, fit_findings(made.findings)
    del made  # and the weights in floating point
    mapped = map_program(program, target, task.placement)
    findings = (*imported.findings, *folding.findings, *fitted, *mapped.findings)
    return CheckResult(imported, folding.graph, mapped.graph, findings, journal.timing)


def passes_of_trained(
    path: Path, options: CompileOptions, target: Target, *, with_data: bool
) -> tuple[Pass[Any, Any], ...]:
    """The passes of a compilation in order, built for two samples and not meant to run."""
    options = for_target(stock.with_stock_defaults(options), target)
    coding = coding_of(options, target.default_coding.value)
    network = preprocess(read_model(path, options), options)
    is_measured = with_data and options.calibrate is not None
    widths = options.of_layers("payload_bits")
    folded = fold(network, coding, measured=is_measured, target=target, widths=widths).graph
    adjusts = with_data and options.equalize != "none"
    some = np.stack([np.full(network.inputs.shape, value) for value in (0.0, 1.0)])
    samples = Samples(some) if is_measured else None
    convert = passes_at_bounds(
        folded, calibration.calibrate(folded, some), options, coding, samples
    )
    equalize = (Equalize(options.equalize),) if adjusts else ()
    return (
        *preprocessing(options),
        *folding_of(network, coding, target, widths).steps,
        *equalize,
        *convert.steps,
    )


@dataclass(frozen=True, eq=False)
class _Given:
    """What the user has given.

    Attributes:
        imported: the file.
        network: in floating point, for raw samples.
        samples: both sets.
        of_file: labels or targets of the file's own outputs.
        host: what is left to the host, ready to be evaluated; None if there is nothing.
    """

    imported: Imported
    network: ANNGraph
    samples: Data
    of_file: tuple[Expected, ...]
    host: HostStage | None


@dataclass(frozen=True, eq=False)
class _Made:
    """What a compilation makes of it.

    Attributes:
        options: in effect.
        coding: of the network.
        folded: the network in floating point that is converted.
        statistics: of its activations.
        lowered: all later stages.
        spent: the report's entry of a budget, if there is one.
    """

    options: CompileOptions
    coding: Coding
    folded: ANNGraph
    statistics: Calibration
    lowered: Lowering
    spent: Mapping[str, Any]


def prepare_trained(
    task: Task, journal: Journal, retrain: Retrain | None = None, workers: Workers | None = None
) -> PreparedNetwork:
    """Prepare a network for ``finish``: fold, equalize, calibrate, convert.

    Raises:
        CompileError: defects of the file, the data, the options or the target.
    """
    asked, target = task.options, task.target
    options = for_target(stock.with_stock_defaults(asked), target)
    coding = coding_of(options, target.default_coding.value)
    if coding.window.n_steps > 1:
        asked = asked.with_default("timesteps", coding.window.n_steps)
    options = options.with_default("timesteps", coding.window.n_steps)
    given = _read(task, options, journal)
    samples, imported = given.samples, given.imported
    options = with_class_names(options, samples)
    journal.add_findings(data_findings(samples.calibrate, samples.evaluate, given.network.inputs))
    journal.add_findings(
        tried_on_model(
            task.path, options, imported, given.host, samples.evaluate, given.of_file, journal
        )
    )
    assemble.report_header(journal.observer, imported.ann, target, coding, options)
    describe_data(journal.observer, options, samples)
    facts = _facts(coding, measured=task.is_measured)
    made = _lowered(task, given, options, coding, facts, journal, retrain)
    options, lowered = made.options, made.lowered
    used = assemble.used(lowered.program, lowered.spiking.input_coding)
    if keeps_integers(made.folded, options, made.coding):
        used |= FITS
    in_effect, model = options.in_effect(facts, used), assemble.facts(imported.ann)
    numbers, network = lowered.quantization.numbers, lowered.quantization.network
    shown = samples.evaluate or samples.calibrate
    return PreparedNetwork(
        lowered.program,
        lowered.encoding,
        lowered.decodings,
        stimulus(shown, lowered.program, lowered.encoding, options.seed),
        target,
        options.emit,
        replace(task, options=asked).provenance,
        partial(_evaluated, task, given, made, workers),
        partial(assemble.report, task.path, in_effect, model, numbers, network, journal),
        lowered.quantization,
        task.placement,
        lowered,
        imported.tail,
    )


def _read(task: Task, options: CompileOptions, journal: Journal) -> _Given:
    """The file and the samples."""
    with journal.timed("import"):
        imported = with_preprocessing(read_model(task.path, options), options)
    journal.add_findings(imported.findings)
    network = preprocess(imported, options, journal.record_pass)
    host = _host(task.path, options, imported, journal)
    labelled = None if host is None else host.outputs(network, options)
    samples = load_data(options, network, task.calibrate, task.evaluate, labelled)
    of_file = () if samples.evaluate is None else samples.evaluate.expected
    if host is not None and samples.evaluate is not None:
        own = expected_of(network, of_file, options)
        samples = replace(samples, evaluate=replace(samples.evaluate, expected=own))
    return _Given(imported, network, samples, of_file, host)


def _lowered(
    task: Task,
    given: _Given,
    options: CompileOptions,
    coding: Coding,
    facts: Mapping[str, str],
    journal: Journal,
    retrain: Retrain | None,
) -> _Made:
    """The network in fixed point, with the options that searches have decided."""
    samples = given.samples
    observe = pass_observer(journal, given.network, samples.calibrate)
    widths = options.of_layers("payload_bits")
    folded = fold(
        given.network,
        coding,
        observe,
        measured=task.is_measured,
        target=task.target,
        widths=widths,
    ).graph
    assemble.report_import(journal.observer, given.imported, folded)
    options = choose_equalization(folded, samples.calibrate, options, coding, journal)
    journal.add_findings(assemble.ignored(options, facts))
    folded = equalized(folded, samples.calibrate, options, coding, observe)
    drives = drives_to_share(folded, samples.calibrate, options, coding)
    statistics = calibrated(folded, samples.calibrate, journal, drives=drives)
    judged = partial(Promise, host=given.host, of_file=given.of_file)
    options = resolve_options(options, folded, statistics, samples, task.target, journal, judged)
    coding = coding_of(options, task.target.default_coding.value)
    scales = None
    if retrain is not None:
        folded, scales = retrain(folded, statistics, options, coding)
        statistics = calibrated(folded, samples.calibrate, journal, "calibrate retrained")

    def lower(options: CompileOptions, folded: ANNGraph, name: str) -> Lowering:
        parts = folded, statistics, samples.calibrate, options, coding, journal, observe, scales
        return lowered_from(*parts, drives, name)

    start = Start(folded, statistics, samples.calibrate, coding, scales, drives)
    options, lowered, spent = within_budget(options, start, journal, lower, task.placement)
    return _Made(options, coding, folded, statistics, lowered, spent)


def _evaluated(
    task: Task, given: _Given, made: _Made, workers: Workers | None, journal: Journal
) -> Outcome:
    """Accuracy and agreement of each stage; what the options leave to measure besides."""
    network, lowered, options = given.network, made.lowered, made.options
    imported, test_set = given.imported, given.samples.evaluate
    runner = source_runtime(task.path, options, network) if test_set is not None else None
    left_off = any(finding.code in LEFT_OFF for finding in imported.findings)
    if imported.tail is not None and imported.tail.cut:
        runner = None  # its outputs are not those of the network
    host, of_file = given.host, given.of_file
    stages = Stages(
        network, lowered, made.coding, runner, left_off, host, of_file, host is not None
    )
    elsewhere = None
    if workers is not None and test_set is not None:
        elsewhere = evaluate_on(workers, stages, test_set.expected, task.path, options)
    outcome = evaluate_stages(stages, test_set, journal, elsewhere)
    outcome = replace(outcome, more={**outcome.more, **made.spent})
    if test_set is None:
        expected = Ladder(outputs_of(network, options).expected({}, 0, ""))
        more = {"outputs": described(lowered.decodings, expected)}
        return replace(outcome, more={**outcome.more, **more})
    if has_lost(outcome.ladder, options.max_accuracy_drop):
        with journal.timed("locate"):
            outcome = with_losses(outcome, lowered, test_set.x)
    if options.neurons == "any":
        return outcome
    free = stock.without_stock_defaults(options, task.options)
    with journal.timed("unrestricted"):
        return with_restriction_cost(
            free,
            made.folded,
            made.statistics,
            given.samples.calibrate,
            test_set,
            task.target,
            outcome,
        )


def _host(
    path: Path, options: CompileOptions, imported: Imported, journal: Journal
) -> HostStage | None:
    """What is left to the host, ready to be evaluated; None if there is nothing."""
    if imported.tail is None or not imported.tail.cut:
        return None
    stage = HostStage.of(path, options, imported.tail)
    if isinstance(stage, HostStage):
        return stage
    journal.add_findings([stage])
    return None


def _facts(coding: Coding, *, measured: bool) -> dict[str, str]:
    """Properties that decide which options apply."""
    data = CALIBRATED if measured else UNCALIBRATED
    return {"network": CONVERTED, "coding": coding.name, "data": data}
