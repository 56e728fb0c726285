"""The one place that knows the order: frontend, passes, quantization, mapping, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
from threadpoolctl import threadpool_limits

from snn_compile.bundle import CompiledModel
from snn_compile.convert import calibrate as calibration
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.balance_thresholds import balance_thresholds
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.codings import Coding, Graded, Rate, coding_of
from snn_compile.convert.data_findings import data_findings
from snn_compile.convert.equalize import Equalize
from snn_compile.convert.expand import maps_shape
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.linear import Float
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.spike_norm import spike_norm
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.convert.weight_bounds import weight_bounds
from snn_compile.data import Samples
from snn_compile.errors import UsageError, raise_all
from snn_compile.inputs import load_data, original, preprocessed, read_model, stimulus
from snn_compile.ir import ann as ops
from snn_compile.ir.encoding import InputEncoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.mapping import map_program
from snn_compile.options import EQUALIZE, CompileOptions
from snn_compile.passes import Finding, Pipeline
from snn_compile.plugins import BACKENDS, Backend, Imported
from snn_compile.quantize.calibrate_potentials import CalibratePotentials
from snn_compile.quantize.choose_equalization import least_error_of
from snn_compile.quantize.correct_biases import CorrectBiases
from snn_compile.quantize.quantize import Quantization, proven, quantize
from snn_compile.quantize.round_weights import RoundWeights
from snn_compile.report import assemble
from snn_compile.report.evaluation import Stages, climb
from snn_compile.report.journal import Journal
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.sim import engine
from snn_compile.targets import load_target

BLAS_THREADS = 1
"""Threads of one matrix product outside the evaluators. Small products and factorizations mostly
wait for each other's threads (up to 30 times slower on busy cores), and one thread adds up in the
same order on every machine."""

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


def check_model(model: str | Path, options: CompileOptions) -> CheckResult:
    """Import a model, convert it with thresholds from its weights, and map it: all without data.

    Raises:
        CompileError: it cannot be read, holds what has no spiking form, or does not fit the target;
            all complaints of a kind at once.
    """
    target = load_target(options.target)
    coding = coding_of(options, target.default_coding.value)
    imported = read_model(Path(model))
    folding = FOLDING(preprocessed(imported, options))
    folded, statistics = folding.graph, weight_bounds(folding.graph)
    encoding = _encoding(folded, statistics, options)
    scales = {name: activations.peak for name, activations in statistics.activations.items()}
    convert = Pipeline.of(_to_spiking(encoding, scales, options, coding)).then(AlignPaths())
    program = quantize(convert(folded).graph, options.weight_bits_of).program
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
    coding = coding_of(options, target.default_coding.value)
    with journal.timed("import"):
        imported = read_model(path)
    journal.found(imported.findings)
    journal.found(_ignored(options, coding))
    network = preprocessed(imported, options)
    samples = load_data(options, network, calibrate, evaluate)
    journal.found(data_findings(samples.calibrate, samples.evaluate))
    assemble.announce(journal.observer, imported.ann, target, coding)
    folded = FOLDING(network, journal.passed).graph
    assemble.tell_import(journal.observer, imported, folded)
    options = _decided(folded, samples.calibrate, options, coding, journal)
    low = _lowered(folded, samples.calibrate, options, coding, journal)
    assemble.tell_quantization(journal.observer, low.quantization)
    with journal.timed("map"):
        mapped = map_program(low.quantization.program, target)
    journal.found(mapped.findings)
    journal.observer.stage("map", mapped.findings[0].message)
    raise_all([error for b in backends for error in b.check(mapped.graph.program)])
    stages = Stages(
        network,
        low.folded,
        low.spiking,
        low.quantization,
        low.encoding,
        low.decodings,
        low.scales,
        coding,
        original(path, options) if samples.evaluate is not None else None,
    )
    outcome = climb(stages, samples.evaluate, journal)
    return CompiledModel(
        mapped.graph.program,
        low.encoding,
        stages.decodings,
        assemble.report(path, options, imported, stages, mapped.graph, outcome, journal),
        stimulus(samples, low.encoding, options.seed),
        assemble.provenance(path, options),
        backends=options.emit,
    )


FOLDING = (
    Pipeline.of(FoldBatchNorm()).then(FoldPadding()).then(LowerMaxPool()).then(InsertRectifiers())
)
"""The passes that leave the function of the trained network unchanged."""


@dataclass(frozen=True, eq=False)
class _Lowered:
    """The network at every stage between the graph passes and the mapping.

    Attributes:
        folded: in float, its weights adjusted.
        encoding: of its input.
        scales: full scale of each channel of its rectifiers.
        spiking: the spiking network in float.
        quantization: and in fixed point.
    """

    folded: ANNGraph
    encoding: InputEncoding
    scales: dict[NodeId, Float]
    spiking: SpikingGraph
    quantization: Quantization

    @property
    def decodings(self) -> dict[NodeId, OutputDecoding]:
        """One step of a readout, which adds up a whole window, is the mean over the steps."""
        n_steps = self.quantization.program.window.n_steps
        numbers = self.quantization.numbers
        return {
            output.id: OutputDecoding(numbers[output.id].unit / n_steps, output.shape)
            for output in self.folded.outputs
        }

    def __call__(self, x: Array) -> Float:
        """The first output of the network in fixed point, (N, *output shape) real values."""
        output, decoding = next(iter(self.decodings.items()))
        return decoding(engine.run(self.quantization.program, self.encoding(x)).outputs[output])


def _lowered(
    folded: ANNGraph,
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    journal: Journal,
) -> _Lowered:
    folded = _equalized(folded, samples, options, coding, journal)
    statistics = _calibrated(folded, samples, journal)
    encoding = _encoding(folded, statistics, options)
    scales = _scales(folded, statistics, samples, encoding, options, coding)
    spiking = (
        Pipeline.of(_to_spiking(encoding, scales, options, coding))
        .then(AlignPaths())(folded, journal.passed)
        .graph
    )
    quantization = _quantized(spiking, folded, samples, encoding, scales, options, coding, journal)
    return _Lowered(folded, encoding, scales, spiking, quantization)


def _calibrated(folded: ANNGraph, samples: Samples | None, journal: Journal) -> Calibration:
    if samples is None:
        return weight_bounds(folded)
    n = len(samples)
    with journal.progress("calibrate", f"{n:,} samples", 2 * n) as advance:
        return calibration.calibrate(folded, samples.x, advance=advance)


def _decided(
    folded: ANNGraph,
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    journal: Journal,
) -> CompileOptions:
    """The options with what ``auto`` stands for: each mode is tried as it would be compiled."""
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
        return _lowered(folded, Samples(x), replace(options, equalize=mode), coding, unheard)

    modes = [mode for mode in EQUALIZE if mode != "auto"]
    with journal.timed("choose-equalization"):
        mode, finding = least_error_of(modes, compiled, folded, samples.x)
    journal.found([finding])
    journal.observer.stage("equalize", finding.message)
    return replace(options, equalize=mode, origins={**options.origins, "equalize": finding.message})


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


def _scales(
    folded: ANNGraph,
    statistics: Calibration,
    samples: Samples | None,
    encoding: InputEncoding,
    options: CompileOptions,
    coding: Coding,
) -> dict[NodeId, Float]:
    """Full scale per channel of each rectifier, by the methods that the options name.

    An adjustment of weights against a layer's threshold means something only if the layer has one:
    ``--equalize`` implies ``--per-layer``.
    """
    per_layer = options.per_layer or options.equalize != "none"
    with threadpool_limits(BLAS_THREADS):
        scales = balance_thresholds(
            folded,
            statistics,
            options.thresholds_of,
            levels=coding.levels,
            per_layer=per_layer,
        )
    rectifiers = [node for node in folded.graph if isinstance(node, ops.Relu)]
    by_spikes = {n.id for n in rectifiers if options.thresholds_of(n.id) == "spike-norm"}
    if not by_spikes:
        return scales
    if isinstance(coding, Graded) or samples is None:
        raise UsageError(
            "spike-norm takes thresholds from spike trains of calibration data",
            code="bad-option",
            hint="use it with --coding rate and --calibrate",
        )
    spiking = _to_spiking(encoding, scales, options, coding)(folded).graph
    frames = encoding(samples.x)
    like = {node.id: node.like for node in rectifiers if node.like is not None}
    caps = {node.id: node.cap for node in rectifiers if node.cap is not None}
    return spike_norm(
        spiking,
        frames,
        scales,
        by_spikes.__contains__,
        like=like,
        caps=caps,
        per_layer=per_layer,
    )


def _encoding(folded: ANNGraph, statistics: Calibration, options: CompileOptions) -> InputEncoding:
    shape = folded.input.shape
    return InputEncoding.spanning(
        statistics.low, statistics.high, options.input_bits, shape, maps_shape(shape)
    )


def _to_spiking(
    encoding: InputEncoding,
    scales: dict[NodeId, Float],
    options: CompileOptions,
    coding: Coding,
) -> ToSpiking:
    arrival = InputCoding(options.input) if options.input else None
    if isinstance(coding, Graded) and arrival is InputCoding.POISSON:
        raise UsageError(
            "Poisson spikes need time steps to arrive in",
            code="bad-option",
            hint="use --coding rate",
        )
    return ToSpiking(coding, scales, encoding, arrival, options.seed)


def _quantized(
    spiking: SpikingGraph,
    folded: ANNGraph,
    samples: Samples | None,
    encoding: InputEncoding,
    scales: dict[NodeId, Float],
    options: CompileOptions,
    coding: Coding,
    journal: Journal,
) -> Quantization:
    """Fixed point, with what calibration data can do about errors of rounding and of timing."""
    with journal.timed("quantize"):
        quantization = quantize(spiking, options.weight_bits_of)
    if samples is not None:
        frames = encoding(samples.x)
        if options.rounding == "compensated":
            with journal.timed(RoundWeights.name), threadpool_limits(BLAS_THREADS):
                quantization = RoundWeights(spiking, frames)(quantization)
        if options.potential_calibration and _starts_freely(options, coding):
            with journal.timed(CalibratePotentials.name):
                quantization = CalibratePotentials(
                    folded, samples.x, frames, scales, options.bias_correction
                )(quantization)
        elif options.bias_correction:
            with journal.timed(CorrectBiases.name):
                quantization = CorrectBiases(folded, samples.x, frames)(quantization)
    return proven(quantization)


def _starts_freely(options: CompileOptions, coding: Coding) -> bool:
    """Whether initial potentials matter in this coding, and the user has not fixed them."""
    by_subtraction = isinstance(coding, Rate) and coding.reset is Reset.SUBTRACT
    return by_subtraction and options.initial_potential is None


def _ignored(options: CompileOptions, coding: Coding) -> list[Finding]:
    """Options that were given but mean nothing for this coding."""
    if isinstance(coding, Graded) and options.timesteps != CompileOptions().timesteps:
        message = f"timesteps {options.timesteps} is ignored: a graded network takes one step"
        hint = "use --coding rate for spike trains"
        return [Finding(message, code="option-ignored", hint=hint, warning=True)]
    return []
