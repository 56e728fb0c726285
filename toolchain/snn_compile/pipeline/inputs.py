"""The user's inputs: a model file, calibration samples and evaluation samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.convert.footprint import check_values
from snn_compile.convert.magnitudes import check_magnitudes
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.errors import CompileError, UnsupportedError, raise_all
from snn_compile.files.presence import no_such_file
from snn_compile.hil.golden import n_stimuli
from snn_compile.ir.ann import output_name
from snn_compile.ir.encoding import Encoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.ranges import probabilities
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.options.kinds import by_input
from snn_compile.passes import PassObserver, Pipeline, no_observer
from snn_compile.pipeline.foreign_models import refuse_foreign
from snn_compile.plugins import (
    ConfigurableFrontend,
    FixedFrontend,
    HasSourceRuntime,
    Imported,
    ReadsMoreFiles,
    SourceRuntime,
    SpikingFrontend,
    frontend_for,
)
from snn_compile.recipes import Recipe, read_recipe
from snn_compile.samples.arrays import (
    Labels,
    Samples,
    as_rows,
    check_samples,
    load_samples,
)
from snn_compile.samples.named import ArraysLike, check_named, load_named, unnamed
from snn_compile.samples.outputs import Expected, OutputKind, OutputShapes, stated_kinds
from snn_compile.samples.readers import Request, open_samples, parts_of, samples_of
from snn_compile.samples.readers.folder import check_number
from snn_compile.workers import File

ONNX = ".onnx"
"""Suffix of the files that models of other formats are to become."""
Array = npt.NDArray[Any]
Labelled = tuple[ArraysLike, Labels | None]


@dataclass(frozen=True, eq=False)
class Data:
    """Both sets of samples.

    Attributes:
        calibrate: unlabelled, or None.
        evaluate: labelled or not, or None.
    """

    calibrate: Samples | None
    evaluate: Samples | None


def spiking_frontend(path: Path) -> SpikingFrontend | FixedFrontend | None:
    """The frontend for a file with a spiking network; None if the file is to be converted.

    Raises:
        UsageError: the file would be a spiking network's, but does not exist.
    """
    frontend = frontend_for(path)
    if not isinstance(frontend, SpikingFrontend | FixedFrontend):
        return None
    _check_exists(path)
    return frontend


def is_converted(path: Path) -> bool:
    """Whether a file is of a network that is to be converted, not of a spiking one.

    Raises:
        UsageError: a file of a spiking network does not exist.
    """
    return spiking_frontend(path) is None


def read_model(path: Path, options: CompileOptions) -> Imported:
    """Import a model that is to be converted.

    Raises:
        UsageError: an option concerns the reading of the file, and its frontend knows none.
        CompileError: the file is missing, unreadable, or has unsupported operators.
        TypeError: its suffix is that of spiking networks.
    """
    frontend = frontend_for(path)
    if ONNX in frontend.suffixes:
        refuse_foreign(path)
    _check_exists(path)
    if isinstance(frontend, SpikingFrontend | FixedFrontend):
        raise TypeError(f"'{path}' contains a spiking network")
    if isinstance(frontend, ConfigurableFrontend):
        imported = frontend.read_with(path, options)
    elif named := [n for n in ("input_shape", "outputs", "cut_at") if getattr(options, n)]:
        raise options.refusal(named[0], "it with ONNX files")
    else:
        imported = frontend.read(path)
    outputs = imported.ann.outputs
    if any(not output.shape for output in outputs):
        raise UnsupportedError(
            "an output without a class axis",
            origin=outputs[0].origin,
            hint="export the model with a vector of outputs per sample",
        )
    return imported


def input_map(path: Path, options: CompileOptions) -> tuple[str, Shape] | None:
    """The only input, if it is a map of channels whose size ``--input-shape`` can state.

    Raises:
        CompileError: the file cannot be imported.
    """
    if not is_converted(path) or not isinstance(frontend_for(path), ConfigurableFrontend):
        return None
    inputs = read_model(path, options).ann.inputs
    if len(inputs) != 1 or len(inputs.shape) != 3:
        return None
    return inputs[0].id, inputs.shape


def source_runtime(path: Path, options: CompileOptions, network: ANNGraph) -> SourceRuntime | None:
    """The runtime of the user's file; None if preprocessing is applied outside the file."""
    if options.mean_values or options.scale_values:
        return None
    return runtime_of_file(path, options, network)


def runtime_of_file(path: Path, options: CompileOptions, network: ANNGraph) -> SourceRuntime | None:
    """The runtime of the user's file, for samples as the file takes them."""
    frontend = frontend_for(path)
    if isinstance(frontend, ConfigurableFrontend):
        return frontend.source_runtime_with(path, options, [node.id for node in network.inputs])
    if len(network.inputs) == 1 and isinstance(frontend, HasSourceRuntime):
        return frontend.source_runtime(path)
    return None


def files_of(path: Path) -> File:
    """A model's file with those that it refers to, as a worker needs them."""
    frontend = frontend_for(path)
    beside = frontend.files_beside(path) if isinstance(frontend, ReadsMoreFiles) else []
    return File.of(path, *beside)


def preprocessing(options: CompileOptions) -> tuple[FoldPreprocessing, ...]:
    """The passes that fold the preprocessing of each input that has one."""
    means, scales = (dict(by_input(v)) for v in (options.mean_values, options.scale_values))
    stated = options.preprocess
    pixels = stated is not None and isinstance(read_recipe(stated), Recipe)
    return tuple(
        FoldPreprocessing(means.get(name, ()), scales.get(name, ()), name, pixels)
        for name in dict.fromkeys((*means, *scales))
        if means.get(name) or scales.get(name)
    )


def with_preprocessing(imported: Imported, options: CompileOptions) -> Imported:
    """An import whose tail applies the preprocessing to the inputs that it reads itself."""
    if imported.tail is None:
        return imported
    steps = {step.input: step for step in preprocessing(options)}
    entries = []
    for entry in imported.tail.entries:
        step = steps.get(entry.tensor, steps.get(""))
        if step is not None:
            entry = replace(entry, mean=step.mean_values, scale=step.scale_values)
        entries.append(entry)
    return replace(imported, tail=replace(imported.tail, entries=tuple(entries)))


def preprocess(
    imported: Imported, options: CompileOptions, observe: PassObserver = no_observer
) -> ANNGraph:
    """The network for raw samples of the user.

    Raises:
        UsageError: the values do not fit the inputs; all complaints at once.
        ModelError: its values and weights take too much memory, or are too large.
    """
    raise_all([e for step in preprocessing(options) for e in step.complaints(imported.ann)])
    fold: Pipeline[ANNGraph, ANNGraph] = Pipeline(preprocessing(options))
    network = fold(imported.ann, observe).graph
    check_values(network)
    check_magnitudes(network)
    return network


def load_data(
    options: CompileOptions,
    network: ANNGraph,
    calibrate: ArraysLike | None,
    evaluate: Labelled | None,
    outputs: OutputShapes | None = None,
) -> Data:
    """Both sets of samples, from arrays or files; all complaints at once.

    The labels are those of the network's outputs, or of others. Calibration needs none, and those
    in its file are not read.
    """
    errors: list[CompileError] = []
    own = outputs_of(network, options)

    def load(
        given: Path | Labelled | None, labels_of: OutputShapes | None, part: str
    ) -> Samples | None:
        try:
            if given is None:
                return None
            return _float_samples(network, options, given, labels_of, part=part)
        except CompileError as error:
            errors.append(error)
        return None

    parts = parts_of(
        options.calibrate if calibrate is None else None,
        options.evaluate if evaluate is None else None,
    )
    data = Data(
        load(options.calibrate if calibrate is None else (calibrate, None), None, parts[0]),
        load(options.evaluate if evaluate is None else evaluate, outputs or own, parts[1]),
    )
    errors += (outputs or own).unknown(besides=own.shapes)
    raise_all(errors)
    expected = () if data.evaluate is None else data.evaluate.expected
    if options.labels and expected and expected[0].kind is not OutputKind.REGRESSION:
        check_number(Path("--labels"), len(options.labels), expected[0].n_classes)
    return data


def float_samples(
    network: ANNGraph,
    options: CompileOptions,
    given: Path | Labelled,
    *,
    need_labels: bool = False,
) -> Samples:
    """Samples for the float network, from an npz file, or from x and y (or None).

    Raises:
        UsageError: the file or what it holds cannot be used.
    """
    outputs = outputs_of(network, options)
    return _float_samples(network, options, given, outputs, need_labels=need_labels)


def unlabelled_samples(
    network: ANNGraph, options: CompileOptions, given: Path | ArraysLike
) -> Samples:
    """The same from a file, whose labels may be of other outputs and are not read, or from x."""
    data = given if isinstance(given, Path) else (given, None)
    return _float_samples(network, options, data, None)


def _float_samples(
    network: ANNGraph,
    options: CompileOptions,
    given: Path | Labelled,
    outputs: OutputShapes | None,
    *,
    need_labels: bool = False,
    part: str = "all",
) -> Samples:
    """The same, with labels of these outputs; without outputs they are not read."""
    reading: dict[str, Any] = {
        "layout": options.layout,
        "raw": folds_preprocessing(options.mean_values, options.scale_values)
        or _whole_numbers(network),
        "outputs": outputs,
    }
    shapes = {str(node.id): node.shape for node in network.inputs}
    recipe = None if options.preprocess is None else read_recipe(options.preprocess)
    request = Request(shapes, recipe, options.labels, options.samples or 0, options.seed, part=part)
    return read_samples(given, request, need_labels, reading)


def _whole_numbers(network: ANNGraph) -> set[str]:
    """The inputs that take whole numbers."""
    return {str(n.id) for n in network.inputs if n.step is not None and (n.step == 1).all()}


def folds_preprocessing(*stated: Any) -> bool | set[str]:
    """Whether the preprocessing is folded into the network; or for which of several inputs.

    Args:
        stated: values of the options, from these or from a report.
    """
    items = [item for values in stated for item in values or ()]
    named = {str(item[0]) for item in items if isinstance(item, list | tuple)}
    return named or bool(items)


def read_samples(
    given: Path | Labelled, request: Request, need_labels: bool, reading: dict[str, Any]
) -> Samples:
    """Samples of one input or several; a single one may be called ``x``."""
    shapes = request.shapes
    if isinstance(given, Path):
        if (content := open_samples(given, request)) is not None:
            return samples_of(content, given, request, need_labels=need_labels, **reading)
        if len(shapes) > 1:
            return load_named(given, shapes, need_labels=need_labels, **reading)
        ((name, shape),) = shapes.items()
        reading["raw"] = bool(reading["raw"])
        return load_samples(given, shape, name=name, need_labels=need_labels, **reading)
    x, y = given
    outputs: OutputShapes | None = reading["outputs"]
    if outputs is not None and isinstance(y, Mapping):
        # Names like those of labels are refused together with whatever else is wrong with them.
        foreign = [name for name in y if not outputs.misspelt([name], "y")]
        raise_all(outputs.misspelt(foreign, "y", also=shapes))
    if not isinstance(x, Mapping):
        if len(shapes) > 1:
            raise unnamed(shapes)
        reading["raw"] = bool(reading["raw"])
        return check_samples(as_rows(x), y, *shapes.values(), **reading)
    if len(shapes) == 1 and set(x) == {"x"}:
        x = dict.fromkeys(shapes, x["x"])
    return check_named(x, y, shapes, **reading)


def outputs_of(network: ANNGraph, options: CompileOptions) -> OutputShapes:
    """The outputs of a float network by their names in the file."""
    shapes = {output_name(output): output.shape for output in network.outputs}
    asked = stated_kinds(options.output_kind)
    return OutputShapes(shapes, asked, network.inputs.shape, probabilities(network))


def named_outputs(
    shapes: Mapping[NodeId, Shape], options: CompileOptions, input_shape: Shape = ()
) -> OutputShapes:
    """The outputs of a network that spikes already.

    Raises:
        UsageError: the options name others.
    """
    names = {str(name): shape for name, shape in shapes.items()}
    outputs = OutputShapes(names, stated_kinds(options.output_kind), input_shape)
    raise_all(outputs.unknown())
    return outputs


def expected_in_order(
    outputs: OutputShapes, samples: Samples | None, order: Iterable[NodeId]
) -> tuple[Expected, ...]:
    """What is expected of each output, in the order of readouts."""
    known = samples.expected if samples else outputs.expected({}, 0, "")
    by_name = {one.name: one for one in known}
    return tuple(by_name[str(output)] for output in order)


def stimulus(
    samples: Samples | None, program: QuantizedGraph, encoding: Encoding, seed: int
) -> Int:
    """Encoded stimuli for verification: real samples first, noise over the whole range after."""
    n = n_stimuli(program)
    real = encoding(samples.x[:n]) if samples is not None else np.zeros((0,), np.int64)
    noise = encoding.noise(n - len(real), np.random.default_rng(seed))
    return np.concatenate([real, noise]) if len(real) else noise


def require_files(model: Path, options: CompileOptions) -> None:
    """Check that model and data are there, before any work.

    Raises:
        UsageError: some are not; all complaints at once.
    """
    data = [path for path in (options.calibrate, options.evaluate) if path is not None]
    missing = [path for path in dict.fromkeys(data) if not path.exists()]
    if not model.is_file():
        missing.insert(0, model)
    raise_all([no_such_file(path) for path in missing])


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise no_such_file(path)
