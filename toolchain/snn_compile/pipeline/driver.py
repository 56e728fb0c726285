"""Compilation driver: from a model file to a network prepared for ``finish``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.codings import Coding, coding_of
from snn_compile.convert import calibrate as calibration
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.data_findings import data_findings
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.errors import Origin, UsageError
from snn_compile.fit import fit_findings, fit_passes
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering, drives_to_share, for_target, passes_at_bounds
from snn_compile.mapping import MappedProgram, map_program
from snn_compile.options import (
    CALIBRATED,
    CONVERTED,
    UNCALIBRATED,
    CompileOptions,
    Keywords,
)
from snn_compile.passes import (
    Instruments,
    Pass,
)
from snn_compile.pipeline.budget.meter import Start
from snn_compile.pipeline.budget.settle import within_budget
from snn_compile.pipeline.data_trial import tried_on_model
from snn_compile.pipeline.described_data import describe_data, with_class_names
from snn_compile.pipeline.finish import CheckResult, PreparedNetwork, Task, finish, pass_observer
from snn_compile.pipeline.fixed_models import check_fixed, prepare_fixed
from snn_compile.pipeline.folding import fold, folding_of
from snn_compile.pipeline.in_memory import model_file, without_folder
from snn_compile.pipeline.inputs import (
    fixed_frontend,
    input_map,
    is_converted,
    load_data,
    outputs_of,
    preprocess,
    preprocessing,
    read_model,
    require_files,
    source_runtime,
    spiking_frontend,
    stimulus,
    with_preprocessing,
)
from snn_compile.pipeline.integer_models import check_integers, integers_in, prepare_integers
from snn_compile.pipeline.nearest import name_nearest
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
from snn_compile.pipeline.spiking_models import check_spiking, prepare_spiking, quantization
from snn_compile.pipeline.spread.evaluation import evaluate_on
from snn_compile.plugins import BACKENDS, Imported
from snn_compile.quantize import stock
from snn_compile.report import assemble
from snn_compile.report.evaluation import Outcome, Stages, described, evaluate_stages
from snn_compile.report.host import HostStage, expected_of
from snn_compile.report.journal import Journal, Work
from snn_compile.report.ladder import Ladder
from snn_compile.report.layer_losses import has_lost, with_losses
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.samples.arrays import Labels, Samples
from snn_compile.samples.named import ArraysLike
from snn_compile.samples.readers.python_objects import collected, is_iterable
from snn_compile.targets import load_target
from snn_compile.workers import Workers

LEFT_OFF = ("softmax-dropped", "argmax-dropped")
"""Findings of an import that left out operators at the end of the file."""

Array = npt.NDArray[Any]
Retrain = Callable[[ANNGraph, Calibration, CompileOptions, Coding], tuple[ANNGraph, Scales]]
"""From the folded network and its statistics to a retrained one and its full scales."""


def check_model(
    model: str | Path,
    options: CompileOptions,
    observer: Observer | None = None,
    instruments: Instruments | None = None,
) -> CheckResult:
    """Import a model, convert it with thresholds from its weights, and map it, without data.

    Args:
        model: the file.
        options: all options.
        observer: sees the passes.
        instruments: what is done around them.

    Raises:
        CompileError: it is unreadable, has unsupported operators, or does not fit the target;
            all complaints of a kind at once.
        Stopped: the pass after which to stop has run.
    """
    with name_nearest(options, partial(_mapped, model), partial(input_map, Path(model), options)):
        return _checked(model, options, observer, instruments)


def _mapped(model: str | Path, options: CompileOptions) -> MappedProgram:
    return _checked(model, options).mapped


def _checked(
    model: str | Path,
    options: CompileOptions,
    observer: Observer | None = None,
    instruments: Instruments | None = None,
) -> CheckResult:
    path, target = Path(model), load_target(options.target, options.chips)
    journal = Journal(observer or SilentObserver(), instruments)
    if of_integers := fixed_frontend(path):
        return check_fixed(Task(path, options, target), of_integers, journal)
    if frontend := spiking_frontend(path):
        return check_spiking(Task(path, options, target), frontend, journal)
    if integers := integers_in(path):
        return check_integers(Task(path, options, target), integers, journal)
    placement = Task(path, options, target).placement
    options = for_target(stock.with_stock_defaults(options), target)
    coding = coding_of(options, target.default_coding.value)
    imported = read_model(path, options)
    network = preprocess(imported, options, journal.record_pass)
    observe = pass_observer(journal, network)
    folding = fold(
        network, coding, observe, target=target, widths=options.of_layers("payload_bits")
    )
    convert = passes_at_bounds(folding.graph, weight_bounds(folding.graph), options, coding)
    made = convert(folding.graph, observe)
    program, fitted = made.graph.program, fit_findings(made.findings)
    del made  # and the weights in floating point
    mapped = map_program(program, target, placement)
    findings = (*imported.findings, *folding.findings, *fitted, *mapped.findings)
    return CheckResult(imported, folding.graph, mapped.graph, findings, journal.timing)


def passes_of(
    model: str | Path, options: CompileOptions, *, with_data: bool = True
) -> tuple[Pass[Any, Any], ...]:
    """The passes of a compilation in order, built for two samples and not meant to run.

    Args:
        model: the file; it is imported and folded.
        options: all options.
        with_data: whether for a compilation, or for ``check_model``, which has no data.

    Raises:
        CompileError: as ``check_model``.
    """
    path, target = Path(model), load_target(options.target, options.chips)
    if fixed_frontend(path):
        return fit_passes(target, options)
    if spiking_frontend(path):
        return quantization(for_target(options, target)).steps
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


def compile_model(
    model: object,
    *,
    example_input: object = None,
    options: CompileOptions | None = None,
    calibrate: ArraysLike | str | Path | None = None,
    evaluate: tuple[ArraysLike, Labels | None] | str | Path | None = None,
    observer: Observer | None = None,
    retrain: Retrain | None = None,
    instruments: Instruments | None = None,
    workers: Workers | None = None,
    work: Work | None = None,
    **changes: Unpack[Keywords],
) -> CompiledModel:
    """Compile a trained network into a spiking one in fixed point.

    Args:
        model: the file, an ``onnx.ModelProto``, or a ``torch.nn.Module``, which is exported.
        example_input: of a module: a tensor with the batch axis, a tuple of several, or a mapping
            by the names that the inputs are to have.
        options: all options; ``changes`` override single ones by name.
        calibrate: (N, *input shape) samples, of several inputs each by its name, a file, or a data
            set, loader or iterable of samples, instead of ``options.calibrate``.
        evaluate: samples and labels (or None), or a file, instead of ``options.evaluate``. Labels
            or targets of several outputs are a mapping by their names.
        observer: observer of the progress.
        retrain: may replace the folded network before conversion.
        instruments: what is done around the passes.
        workers: that the evaluation is spread over; the result is the same.
        work: where progress is recorded, and results are kept for a compilation that resumes.
        **changes: single options by name.

    Returns:
        The compiled network with its report; nothing is written.

    Raises:
        CompileError: defects of the model, the data, the options or the target.
        PassFailure: an internal error of a pass: a bug of the compiler.
        Stopped: the pass after which to stop has run.
    """
    if not isinstance(model, str | Path):
        with model_file(model, example_input) as path:
            compiled = compile_model(
                path,
                options=options,
                calibrate=calibrate,
                evaluate=evaluate,
                observer=observer,
                retrain=retrain,
                instruments=instruments,
                workers=workers,
                work=work,
                **changes,
            )
        return without_folder(compiled, path)
    if example_input is not None:
        hint = "leave it out: a file states its inputs"
        raise UsageError("example_input is for modules of torch", code="bad-argument", hint=hint)
    files, calibrate, evaluate = _data(calibrate, evaluate)
    given: dict[str, Any] = {**changes, **files}
    options = (options or CompileOptions()).override(given)
    journal = Journal(observer or SilentObserver(), instruments, work)
    task = Task(
        Path(model), options, load_target(options.target, options.chips), calibrate, evaluate
    )
    require_files(task.path, options)
    for name in options.emit:
        BACKENDS.load(name)  # fail early if one is missing
    with name_nearest(options, partial(_mapped, task.path), partial(input_map, task.path, options)):
        if of_integers := fixed_frontend(task.path):
            return finish(prepare_fixed(task, of_integers, journal), journal)
        if frontend := spiking_frontend(task.path):
            return finish(prepare_spiking(task, frontend, journal, workers), journal)
        if integers := integers_in(task.path):
            return finish(prepare_integers(task, integers, journal), journal)
        return finish(_prepare(task, journal, retrain, workers), journal)


def _data(
    calibrate: Any, evaluate: Any
) -> tuple[dict[str, str | Path], ArraysLike | None, tuple[ArraysLike, Labels | None] | None]:
    """Options that name files, and the samples of each set that is in none."""
    files: dict[str, str | Path] = {}
    if isinstance(calibrate, str | Path):
        files["calibrate"], calibrate = calibrate, None
    elif is_iterable(calibrate):
        calibrate, _ = collected(calibrate)
    if isinstance(evaluate, str | Path):
        files["evaluate"], evaluate = evaluate, None
    elif is_iterable(evaluate):
        evaluate = collected(evaluate)
    elif evaluate is not None and not (isinstance(evaluate, tuple) and len(evaluate) == 2):
        raise UsageError(
            "evaluate is no tuple of samples and labels",
            code="bad-argument",
            hint="give evaluate=(x, y), or evaluate=(x, None) without labels",
        )
    return files, calibrate, evaluate


def lower_model(model: str | Path, options: CompileOptions) -> Lowering:
    """All stages of a compilation's network; nothing is mapped or evaluated.

    Raises:
        CompileError: defects of the model, the data, the options or the target.
        UsageError: the file has a spiking network, which is not converted.
    """
    task = Task(Path(model), options, load_target(options.target, options.chips))
    if not is_converted(task.path):
        raise UsageError(
            "a spiking network has no float stages",
            code="bad-argument",
            origin=Origin(str(model)),
            hint="use a model that is to be converted",
        )
    lowering = _prepare(task, Journal(SilentObserver()), None).lowering
    if lowering is None:
        raise TypeError("a converted network has stages")
    return lowering


def _prepare(
    task: Task, journal: Journal, retrain: Retrain | None, workers: Workers | None = None
) -> PreparedNetwork:
    """Prepare a network trained without spikes: fold, equalize, calibrate, convert."""
    asked, target = task.options, task.target
    options = for_target(stock.with_stock_defaults(asked), target)
    coding = coding_of(options, target.default_coding.value)
    if coding.window.n_steps > 1:
        asked = asked.with_default("timesteps", coding.window.n_steps)
    options = options.with_default("timesteps", coding.window.n_steps)
    with journal.timed("import"):
        imported = with_preprocessing(read_model(task.path, options), options)
    journal.add_findings(imported.findings)
    network = preprocess(imported, options, journal.record_pass)
    facts = _facts(coding, measured=task.is_measured)
    host = _host(task.path, options, imported, journal)
    labelled = None if host is None else host.outputs(network, options)
    samples = load_data(options, network, task.calibrate, task.evaluate, labelled)
    of_file = () if samples.evaluate is None else samples.evaluate.expected
    if host is not None and samples.evaluate is not None:
        own = expected_of(network, of_file, options)
        samples = replace(samples, evaluate=replace(samples.evaluate, expected=own))
    options = with_class_names(options, samples)
    journal.add_findings(data_findings(samples.calibrate, samples.evaluate, network.inputs))
    journal.add_findings(
        tried_on_model(task.path, options, imported, host, samples.evaluate, of_file, journal)
    )
    assemble.report_header(journal.observer, imported.ann, target, coding, options)
    describe_data(journal.observer, options, samples)
    observe = pass_observer(journal, network, samples.calibrate)
    folded = fold(
        network,
        coding,
        observe,
        measured=task.is_measured,
        target=target,
        widths=options.of_layers("payload_bits"),
    ).graph
    assemble.report_import(journal.observer, imported, folded)
    options = choose_equalization(folded, samples.calibrate, options, coding, journal)
    journal.add_findings(assemble.ignored(options, facts))
    folded = equalized(folded, samples.calibrate, options, coding, observe)
    drives = drives_to_share(folded, samples.calibrate, options, coding)
    statistics = calibrated(folded, samples.calibrate, journal, drives=drives)
    judged = partial(Promise, host=host, of_file=of_file)
    options = resolve_options(options, folded, statistics, samples, target, journal, judged)
    coding = coding_of(options, target.default_coding.value)
    scales = None
    if retrain is not None:
        folded, scales = retrain(folded, statistics, options, coding)
        statistics = calibrated(folded, samples.calibrate, journal, "calibrate retrained")

    def lower(options: CompileOptions, folded: ANNGraph, name: str) -> Lowering:
        parts = folded, statistics, samples.calibrate, options, coding, journal, observe, scales
        return lowered_from(*parts, drives, name)

    start = Start(folded, statistics, samples.calibrate, coding, scales, drives)
    options, lowered, spent = within_budget(options, start, journal, lower, task.placement)

    def evaluate(journal: Journal) -> Outcome:
        test_set = samples.evaluate
        runner = source_runtime(task.path, options, network) if test_set is not None else None
        left_off = any(finding.code in LEFT_OFF for finding in imported.findings)
        if imported.tail is not None and imported.tail.cut:
            runner = None  # its outputs are not those of the network
        stages = Stages(network, lowered, coding, runner, left_off, host, of_file, host is not None)
        elsewhere = None
        if workers is not None and test_set is not None:
            elsewhere = evaluate_on(workers, stages, test_set.expected, task.path, options)
        outcome = evaluate_stages(stages, test_set, journal, elsewhere)
        outcome = replace(outcome, more={**outcome.more, **spent})
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
                free, folded, statistics, samples.calibrate, test_set, target, outcome
            )

    used = assemble.used(lowered.program, lowered.spiking.input_coding)
    in_effect, model = options.in_effect(facts, used), assemble.facts(imported.ann)
    return PreparedNetwork(
        lowered.program,
        lowered.encoding,
        lowered.decodings,
        stimulus(
            samples.evaluate or samples.calibrate, lowered.program, lowered.encoding, options.seed
        ),
        target,
        options.emit,
        replace(task, options=asked).provenance,
        evaluate,
        partial(
            assemble.report,
            task.path,
            in_effect,
            model,
            lowered.quantization.numbers,
            lowered.quantization.network,
            journal,
        ),
        lowered.quantization,
        task.placement,
        lowered,
        imported.tail,
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
