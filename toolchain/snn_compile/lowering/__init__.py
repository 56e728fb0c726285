"""Lowering: from a folded float network to the program in integers.

Everything here depends only on the options and the calibration samples. The input is the float
network with its calibration statistics; the output is every later stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from threadpoolctl import threadpool_limits

from snn_compile.codings import Coding, Correction
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.balance_thresholds import balance_thresholds, shared_scales
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.fit_functions import fit_functions
from snn_compile.convert.linear import Float
from snn_compile.convert.spike_norm import spike_norm
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.errors import UsageError
from snn_compile.fit import fit_passes
from snn_compile.ir import ann as ops
from snn_compile.ir import spiking
from snn_compile.ir.curve import Curve
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.lowering.adjustments import adjustments
from snn_compile.lowering.borders import decodings_of, encoding_of
from snn_compile.options import CompileOptions
from snn_compile.passes import PassObserver, Pipeline, no_observer
from snn_compile.quantize.fit_layers import FitLayers, foreseen
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.reconstruction.reconstruct import Reconstruct
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.quantize.states import MIN_STATE_BITS, STATE_BITS, States
from snn_compile.quantize.to_fixed_point import Prove, Quantize, Schedule
from snn_compile.quantize.widths import Widths
from snn_compile.samples.arrays import Samples
from snn_compile.samples.rows import Array, computed
from snn_compile.sim import engine
from snn_compile.sim.frames import encoded_rows
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

BLAS_THREADS = 1
"""Threads of one matrix product outside the evaluators. Small products mostly wait for each other's
threads (up to 30 times slower on busy cores). The sums are the same with any number of threads
(``numerics``)."""


@dataclass(frozen=True, eq=False)
class Lowering:
    """A float network and its later stages.

    Attributes:
        folded: the float network.
        encoding: encoding of the inputs.
        scales: full scale of each rectifier per channel.
        quantization: the network in fixed point, scheduled.
        decodings: decodings of the outputs.
        curves: functions as lines.
    """

    folded: ANNGraph
    encoding: Encoding
    scales: Mapping[NodeId, Float]
    quantization: Quantization
    decodings: Mapping[NodeId, OutputDecoding]
    curves: Mapping[NodeId, Curve] = field(default_factory=dict)

    def outputs(self, x: Array, *, first: int = 0, before: Array | None = None) -> list[Float]:
        """Every output in fixed point for (N, *sample shape) samples, as real values.

        ``first`` is the index of the first sample among all, and ``before`` the one before it,
        (1, *sample shape), if there is any.
        """
        shown = None if before is None or not len(before) else self.encoding(before)[0]
        run = engine.run(self.program, self.encoding(x), first=first, before=shown)
        return [decoding(run.outputs[name]) for name, decoding in self.decodings.items()]

    @property
    def spiking(self) -> SpikingGraph:
        """The spiking network in floating point."""
        return self.quantization.network

    @property
    def program(self) -> QuantizedGraph:
        """The network in fixed point."""
        return self.quantization.program


def lower(
    folded: ANNGraph,
    statistics: Calibration,
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    observe: PassObserver = no_observer,
    given: Mapping[NodeId, Float] | None = None,
    drives: SharedDrives | None = None,
) -> Lowering:
    """Thresholds, neurons, integers, and calibration of their errors.

    Trained full scales (``given``) replace balanced ones. ``drives`` were recorded by calibration.
    """
    encoding = encoding_of(folded, statistics, options)
    scales = dict(given or {})
    if given is None:
        scales = _scales(folded, statistics, samples, encoding, options, coding)
    curves = _curves(folded, statistics, scales, options, coding)
    convert = conversion(folded, encoding, scales, samples, options, coding, curves, drives)
    with threadpool_limits(BLAS_THREADS):
        quantization = convert(folded, observe).graph
    if any(isinstance(step, Reconstruct) for step in convert.steps):
        scales |= _learned_scales(quantization.network)
    return Lowering(
        folded,
        encoding,
        scales,
        quantization,
        decodings_of(folded, quantization, coding),
        curves,
    )


def at_widths(
    folded: ANNGraph,
    statistics: Calibration,
    samples: Samples,
    options: CompileOptions,
    coding: Coding,
    widths: tuple[int, ...],
    given: Mapping[NodeId, Float] | None = None,
    drives: SharedDrives | None = None,
) -> Widths:
    """The network with its layers at each of several widths, not yet scheduled.

    What calibrates errors of timing is left out where it needs the network as a whole: resets, and
    the biases of readouts in rate coding. Initial potentials are calibrated with the fit.

    Args:
        folded: the float network.
        statistics: of its activations.
        samples: of the calibration set.
        options: of the compilation.
        coding: of the network.
        widths: bits of weights, the most first.
        given: trained full scales.
        drives: what calibration recorded.
    """
    encoding = encoding_of(folded, statistics, options)
    scales = dict(given or {})
    if given is None:
        scales = _scales(folded, statistics, samples, encoding, options, coding)
    curves = _curves(folded, statistics, scales, options, coding)
    to_spiking = replace(_to_spiking(encoding, scales, options, coding), curves=curves)
    network = Pipeline.of(to_spiking).then(AlignPaths())(folded).graph
    frames = encoded_rows(encoding, samples.x)
    adjust = adjustments(folded, samples.x, frames, scales, options, coding)
    fits = (one.fit if isinstance(one, Reconstruct) else one for one in adjust)
    fit = next((one for one in fits if isinstance(one, FitLayers)), None)
    if fit is not None:
        by_spikes = coding.correction(options.relevant_to(coding.name)) is Correction.RESETS
        fit = replace(fit, drives=drives, refits=fit.refits and not by_spikes)

    def quantized(width: int) -> Quantization:
        trial = options.with_value("weight_bits", width, "tried")
        return quantize_by(trial)(network).graph

    with threadpool_limits(BLAS_THREADS):
        return Widths.fitted(widths, quantized, fit)


def passes_at_bounds(
    folded: ANNGraph,
    bounds: Calibration,
    options: CompileOptions,
    coding: Coding,
    samples: Samples | None = None,
) -> Pipeline[ANNGraph, Quantization]:
    """The passes with thresholds at the bounds, for a quick check or a list of them."""
    encoding = encoding_of(folded, bounds, options)
    peaks = {name: activations.peak for name, activations in bounds.activations.items()}
    scales = shared_scales(folded, peaks)
    curves = _curves(folded, bounds, scales, options, coding)
    return conversion(folded, encoding, scales, samples, options, coding, curves)


def conversion(
    folded: ANNGraph,
    encoding: Encoding,
    scales: Mapping[NodeId, Float],
    samples: Samples | None,
    options: CompileOptions,
    coding: Coding,
    curves: Mapping[NodeId, Curve],
    drives: SharedDrives | None = None,
) -> Pipeline[ANNGraph, Quantization]:
    """The passes from the folded network to the proven program that fits the target, in order."""
    to_spiking = replace(_to_spiking(encoding, scales, options, coding), curves=curves)
    passes = Pipeline.of(to_spiking).then(AlignPaths()).then(quantize_by(options))
    if samples is not None:
        frames = encoded_rows(encoding, samples.x)
        for adjust in adjustments(folded, samples.x, frames, scales, options, coding):
            if isinstance(adjust, FitLayers | Reconstruct):
                adjust = replace(adjust, drives=drives)
            passes = passes.then(adjust)
    return passes.followed_by(completion(options, coding).steps)


def completion(options: CompileOptions, coding: Coding) -> Pipeline[Quantization, Quantization]:
    """The passes that prove, schedule and fit a network in integers to the target."""
    passes = Pipeline.of(Prove()).then(Schedule(coding.window))
    return passes.followed_by(fit_passes(load_target(options.target), options))


def drives_to_share(
    folded: ANNGraph, samples: Samples | None, options: CompileOptions, coding: Coding
) -> SharedDrives | None:
    """What calibration records for the fit of layers, if there will be one."""
    if samples is None or options.relevant_to(coding.name).rounding == "nearest":
        return None
    shapes = {node.id: maps_shape(node.shape) for node in folded.graph}
    n_steps = 1 if coding.single_step else coding.window.n_steps  # before it is scheduled
    return foreseen(folded, shapes, len(samples), n_steps)


def for_target(options: CompileOptions, target: Target) -> CompileOptions:
    """The options with the width of the target's states, unless another one was asked for."""
    bits = target.state_bits.value
    if bits is None or bits >= STATE_BITS:
        return options
    return options.with_default("state_bits", max(bits, MIN_STATE_BITS))


def quantize_by(options: CompileOptions) -> Quantize:
    """The quantization pass with the widths of the options."""
    widths = options.of_layers("weight_bits")
    return Quantize(options.number("weight_bits"), widths, states_of(options))


def states_of(options: CompileOptions) -> States:
    """Limits of integers from the options."""
    return States(options.state_bits, options.neurons == "stock")


def _scales(
    folded: ANNGraph,
    statistics: Calibration,
    samples: Samples | None,
    encoding: Encoding,
    options: CompileOptions,
    coding: Coding,
) -> dict[NodeId, Float]:
    """Full scale per channel of each rectifier, by the methods of the options.

    An equalization against a layer's threshold is meaningful only if the layer has a single one:
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
            payloads=coding.payloads,
        )
    rectifiers = [node for node in folded.graph if isinstance(node, ops.Relu)]
    by_spikes = {n.id for n in rectifiers if options.thresholds_of(n.id) == "spike-norm"}
    if not by_spikes:
        return scales
    if coding.single_step or samples is None:
        raise UsageError(
            "spike-norm takes thresholds from spike trains of calibration data",
            code="bad-option",
            hint="use it with --coding rate and --calibrate",
        )
    spiking = _to_spiking(encoding, scales, options, coding)(folded).graph
    frames = computed(encoding, samples.x)
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


def _learned_scales(network: SpikingGraph) -> dict[NodeId, Float]:
    """Full scales of populations whose levels have a size."""
    found = [p for p in network.populations if isinstance(p, spiking.GradedNeurons)]
    return {p.id: p.threshold * p.levels for p in found if not p.relay}


def _curves(
    folded: ANNGraph,
    statistics: Calibration,
    scales: Mapping[NodeId, Float],
    options: CompileOptions,
    coding: Coding,
) -> dict[NodeId, Curve]:
    """Lines for the functions, if the coding has payloads."""
    if not coding.payloads:
        return {}
    segments = options.activation_segments
    return fit_functions(
        folded,
        statistics.ranges,
        scales,
        coding.levels,
        segments,
        measured=statistics.n_samples > 0,
    )


def _to_spiking(
    encoding: Encoding,
    scales: Mapping[NodeId, Float],
    options: CompileOptions,
    coding: Coding,
) -> ToSpiking:
    arrival = InputCoding(options.input) if options.input else None
    return ToSpiking(coding, scales, encoding, arrival, options.seed)
