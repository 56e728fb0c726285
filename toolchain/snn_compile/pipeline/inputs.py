"""The user's inputs: a model file, calibration samples and evaluation samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.convert.footprint import check_values
from snn_compile.convert.magnitudes import check_magnitudes
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.errors import CompileError, Origin, UnsupportedError, UsageError, raise_all
from snn_compile.ir.ann import output_name
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.stages import ANNGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import PassObserver, Pipeline, no_observer
from snn_compile.plugins import (
    ConfigurableFrontend,
    HasSourceRuntime,
    Imported,
    SourceRuntime,
    SpikingFrontend,
    frontend_for,
)
from snn_compile.report import figures
from snn_compile.samples.arrays import (
    Labels,
    Samples,
    check_samples,
    holds_events,
    load_samples,
    read_npz,
    samples_in,
)
from snn_compile.samples.events import Recordings
from snn_compile.samples.outputs import OutputShapes, stated_kinds

N_STIMULI = 100
"""Stimuli stored with a compiled network for verification."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Data:
    """Both sets of samples.

    Attributes:
        calibrate: unlabelled, or None.
        evaluate: labelled or not, or None.
    """

    calibrate: Samples | None
    evaluate: Samples | None


def spiking_frontend(path: Path) -> SpikingFrontend | None:
    """The frontend for a file with a spiking network; None if the file is to be converted.

    Raises:
        UsageError: the file would be a spiking network's, but does not exist.
    """
    frontend = frontend_for(path)
    if not isinstance(frontend, SpikingFrontend):
        return None
    _check_exists(path)
    return frontend


def read_model(path: Path, options: CompileOptions) -> Imported:
    """Import a model that is to be converted.

    Raises:
        UsageError: an option concerns the reading of the file, and its frontend knows none.
        CompileError: the file is missing, unreadable, or has unsupported operators.
        TypeError: its suffix is that of spiking networks.
    """
    _check_exists(path)
    frontend = frontend_for(path)
    if isinstance(frontend, SpikingFrontend):
        raise TypeError(f"'{path}' contains a spiking network")
    if isinstance(frontend, ConfigurableFrontend):
        imported = frontend.read_with(path, options)
    elif named := [name for name in ("outputs", "cut_at") if getattr(options, name)]:
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


def source_runtime(path: Path, options: CompileOptions) -> SourceRuntime | None:
    """The runtime of the user's file; None if preprocessing is applied outside the file."""
    frontend = frontend_for(path)
    if options.mean_values or options.scale_values:
        return None
    if isinstance(frontend, ConfigurableFrontend):
        return frontend.source_runtime_with(path, options)
    if not isinstance(frontend, HasSourceRuntime):
        return None
    return frontend.source_runtime(path)


def preprocessing(options: CompileOptions) -> tuple[FoldPreprocessing, ...]:
    """The pass that folds the preprocessing, if any."""
    values = options.mean_values, options.scale_values
    return (FoldPreprocessing(*values),) if any(values) else ()


def preprocess(
    imported: Imported, options: CompileOptions, observe: PassObserver = no_observer
) -> ANNGraph:
    """The network for raw samples of the user.

    Raises:
        ModelError: its values and weights take too much memory, or are too large.
    """
    fold: Pipeline[ANNGraph, ANNGraph] = Pipeline(preprocessing(options))
    network = fold(imported.ann, observe).graph
    check_values(network)
    check_magnitudes(network)
    return network


def load_data(
    options: CompileOptions,
    network: ANNGraph,
    calibrate: Array | None,
    evaluate: tuple[Array, Labels | None] | None,
    outputs: OutputShapes | None = None,
) -> Data:
    """Both sets of samples, from arrays or files; all complaints at once.

    The labels are those of the network's outputs, or of others.
    """
    errors: list[CompileError] = []

    def load(given: Array | None, labels: Labels | None, file: Path | None) -> Samples | None:
        try:
            if given is not None:
                return float_samples(network, options, (given, labels), outputs=outputs)
            if file is not None:
                return float_samples(network, options, file, outputs=outputs)
        except CompileError as error:
            errors.append(error)
        return None

    x, y = evaluate if evaluate is not None else (None, None)
    data = Data(load(calibrate, None, options.calibrate), load(x, y, options.evaluate))
    raise_all(errors)
    return data


def float_samples(
    network: ANNGraph,
    options: CompileOptions,
    given: Path | tuple[Array, Labels | None],
    *,
    need_labels: bool = False,
    outputs: OutputShapes | None = None,
) -> Samples:
    """Samples for the float network, from an npz file, or from arrays x and y (or None).

    Raises:
        UsageError: the file or what it holds cannot be used.
    """
    reading: dict[str, Any] = {
        "layout": options.layout,
        "raw": bool(options.mean_values or options.scale_values),
        "outputs": outputs or outputs_of(network, options),
    }
    shape = network.input.shape
    if isinstance(given, Path):
        return load_samples(given, shape, need_labels=need_labels, **reading)
    return check_samples(*given, shape, **reading)


def outputs_of(network: ANNGraph, options: CompileOptions) -> OutputShapes:
    """The outputs of a float network by their names in the file."""
    shapes = {output_name(output): output.shape for output in network.outputs}
    return OutputShapes(shapes, stated_kinds(options.output_kind), network.input.shape)


def samples_for(
    compiled: CompiledModel, given: Path | tuple[Array, Labels | None], *, need_labels: bool = False
) -> Samples:
    """Samples for a compiled network, read like the data of its compilation.

    Args:
        compiled: the network.
        given: an npz file with ``x`` and optionally ``y``, or of recorded events if the network
            reads events; or x and y as arrays.
        need_labels: whether samples without labels are refused.

    Raises:
        UsageError: the file or what it holds cannot be used.
    """
    said = (figures.option(compiled.report, name) for name in ("mean_values", "scale_values"))
    whole = bool((compiled.encoding.unit == 1).all())  # whole numbers are not rescaled
    shape = compiled.encoding.shape
    shapes = {compiled.output_names[n]: one.shape for n, one in compiled.decodings.items()}
    kinds = stated_kinds(figures.option(compiled.report, "output_kind") or ())
    has_labels = need_labels or compiled.tail is None or not compiled.tail.cut
    # Of a network that was cut, labels are those of the outputs of the file.
    outputs = OutputShapes(shapes, kinds, shape) if has_labels else None
    layout = figures.option(compiled.report, "layout") or "nchw"
    raw = any(said) or whole
    if not isinstance(given, Path):
        return check_samples(*given, shape, layout=layout, raw=raw, outputs=outputs)
    reading: dict[str, Any] = {
        "layout": layout,
        "raw": raw,
        "outputs": outputs,
        "need_labels": need_labels,
    }
    if compiled.program.input.coding is not InputCoding.EVENTS:
        return load_samples(given, shape, **reading)
    arrays = read_npz(given, outputs=outputs)
    if holds_events(arrays):
        recordings = Recordings.of(arrays, str(given))
        step_us = figures.option(compiled.report, "event_step")
        labels = recordings.required_labels() if need_labels else recordings.labels
        trains = recordings.trains(shape[1:], shape[0], step_us)
        return check_samples(trains, labels, shape, raw=True, outputs=outputs, source=str(given))
    return samples_in(arrays, shape, source=str(given), **reading)


def stimulus(samples: Samples | None, encoding: InputEncoding, seed: int) -> Int:
    """Encoded stimuli for verification: real samples first, noise over the whole range after."""
    real = encoding(samples.x[:N_STIMULI]) if samples is not None else np.zeros((0,), np.int64)
    generator = np.random.default_rng(seed)
    missing = (N_STIMULI - len(real), *encoding.maps)
    noise = generator.integers(encoding.low, encoding.high, missing, endpoint=True)
    return np.concatenate([real, noise]) if len(real) else noise


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise UsageError(
            "no such file", code="no-such-file", origin=Origin(str(path)), hint="check the path"
        )
