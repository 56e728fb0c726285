"""Compilation driver: from a file of any kind to a compiled network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Unpack

from snn_compile.bundle import CompiledModel
from snn_compile.errors import Origin, UsageError
from snn_compile.fit import fit_passes
from snn_compile.lowering import Lowering, for_target
from snn_compile.mapping import MappedProgram
from snn_compile.options import CompileOptions, Keywords
from snn_compile.passes import Instruments, Pass
from snn_compile.pipeline.finish import CheckResult, Task, finish
from snn_compile.pipeline.fixed_models import check_fixed, prepare_fixed
from snn_compile.pipeline.in_memory import model_file, without_folder
from snn_compile.pipeline.inputs import input_map, is_converted, require_files, spiking_frontend
from snn_compile.pipeline.integer_models import check_integers, integers_in, prepare_integers
from snn_compile.pipeline.nearest import name_nearest
from snn_compile.pipeline.spiking_models import check_spiking, prepare_spiking, quantization
from snn_compile.pipeline.trained_models import (
    Retrain,
    check_trained,
    passes_of_trained,
    prepare_trained,
)
from snn_compile.plugins import BACKENDS, FixedFrontend, SpikingFrontend
from snn_compile.report.journal import Journal, Work
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.samples.arrays import Labels
from snn_compile.samples.named import ArraysLike
from snn_compile.samples.readers.python_objects import collected, is_iterable
from snn_compile.targets import load_target
from snn_compile.workers import Workers


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
    path = Path(model)
    task = Task(path, options, load_target(options.target, options.chips))
    journal = Journal(observer or SilentObserver(), instruments)
    match spiking_frontend(path):
        case FixedFrontend() as frontend:
            return check_fixed(task, frontend, journal)
        case SpikingFrontend() as frontend:
            return check_spiking(task, frontend, journal)
    if integers := integers_in(path):
        return check_integers(task, integers, journal)
    return check_trained(task, journal)


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
    match spiking_frontend(path):
        case FixedFrontend():
            return fit_passes(target, options)
        case SpikingFrontend():
            return quantization(for_target(options, target)).steps
    return passes_of_trained(path, options, target, with_data=with_data)


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
    files, calibrate, evaluate = _data(calibrate, evaluate)
    given: dict[str, Any] = {**changes, **files}
    options = (options or CompileOptions()).override(given)
    with model_file(model, example_input) as path:
        target = load_target(options.target, options.chips)
        task = Task(path, options, target, calibrate, evaluate)
        journal = Journal(observer or SilentObserver(), instruments, work)
        compiled = _compiled(task, journal, retrain, workers)
    return compiled if isinstance(model, str | Path) else without_folder(compiled, path)


def _compiled(
    task: Task, journal: Journal, retrain: Retrain | None, workers: Workers | None
) -> CompiledModel:
    path, options = task.path, task.options
    require_files(path, options)
    for name in options.emit:
        BACKENDS.load(name)  # fail early if one is missing
    with name_nearest(options, partial(_mapped, path), partial(input_map, path, options)):
        match spiking_frontend(path):
            case FixedFrontend() as frontend:
                return finish(prepare_fixed(task, frontend, journal), journal)
            case SpikingFrontend() as frontend:
                return finish(prepare_spiking(task, frontend, journal, workers), journal)
        if integers := integers_in(path):
            return finish(prepare_integers(task, integers, journal), journal)
        return finish(prepare_trained(task, journal, retrain, workers), journal)


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
    lowering = prepare_trained(task, Journal(SilentObserver())).lowering
    if lowering is None:
        raise TypeError("a converted network has stages")
    return lowering
