"""Compiling a network that was trained with spikes: nothing to convert, the rest as ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.convert.expand import maps_shape
from snn_compile.counted import counted
from snn_compile.data import Samples
from snn_compile.errors import UsageError, raise_all
from snn_compile.inputs import stimulus
from snn_compile.ir.encoding import InputEncoding, OutputDecoding
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.spiking import InputCoding, Synapses
from snn_compile.ir.stages import SpikingGraph
from snn_compile.mapping import MappedProgram, map_program
from snn_compile.options import SPIKING, CompileOptions
from snn_compile.passes import Finding, PassResult
from snn_compile.plugins import Backend, ImportedSpiking, SpikingFrontend
from snn_compile.provenance import provenance
from snn_compile.quantize.quantize import Quantization, proven, quantize
from snn_compile.quantize.states import States
from snn_compile.report import assemble
from snn_compile.report.evaluation import Outcome, encoded
from snn_compile.report.journal import Journal
from snn_compile.report.ladder import Ladder
from snn_compile.report.layers import Activity
from snn_compile.sim import engine, spiking
from snn_compile.targets.target import Target
from snn_compile.trains import load_trains

Array = npt.NDArray[Any]

LARGEST_WHOLE = 1 << 15
"""Inputs that are whole numbers up to this size are taken as they are."""
FACTS = {"network": SPIKING, "coding": "rate"}
"""What decides which options have a meaning."""


@dataclass(frozen=True)
class SpikingCheck:
    """What importing alone says about a spiking network.

    Attributes:
        imported: the network as the file states it.
        findings: of the import and the mapping.
    """

    imported: ImportedSpiking
    findings: tuple[Finding, ...]


def check_spiking(
    path: Path, frontend: SpikingFrontend, options: CompileOptions, target: Target
) -> SpikingCheck:
    """Import a network, put it in fixed point and map it: all without data.

    Raises:
        CompileError: as ``compile_spiking``.
    """
    imported = frontend.read_spiking(path, options)
    arrival = _arrival(options, None)
    encoding, _ = _encoding(imported, None, arrival, options)
    quantization = _quantized(imported, encoding, arrival, options)
    mapped = map_program(quantization.program, target)
    return SpikingCheck(imported, (*imported.findings, *mapped.findings))


def compile_spiking(
    path: Path,
    frontend: SpikingFrontend,
    options: CompileOptions,
    target: Target,
    backends: Sequence[Backend],
    journal: Journal,
    calibrate: Array | None = None,
    evaluate: tuple[Array, Array | None] | None = None,
) -> CompiledModel:
    """Compile a network that was trained with spikes.

    The calibration data tell the range of the input and nothing else.

    Args:
        path: the file.
        frontend: what reads it.
        options: all options.
        target: the chip.
        backends: that will write the network.
        journal: of the compilation.
        calibrate: samples in place of ``options.calibrate``: (N, T, *input shape) trains, or
            (N, *input shape) currents that stay the same for the whole window.
        evaluate: samples and labels (or None), in place of ``options.evaluate``.

    Raises:
        CompileError: whatever is wrong with the file, the data, the options or the target.
    """
    with journal.timed("import"):
        imported = frontend.read_spiking(path, options)
    journal.found(imported.findings)
    journal.found(assemble.ignored(options, FACTS))
    shape, n_steps = imported.input_shape, imported.network.window.n_steps
    n_classes = prod(next(iter(imported.output_shapes.values())))
    samples = load_trains(options, shape, n_steps, n_classes, calibrate, evaluate)
    arrival = _arrival(options, samples.trains)
    encoding, findings = _encoding(imported, samples.calibrate, arrival, options)
    journal.found(findings)
    journal.observer.stage("import", f"{imported.n_nodes} nodes, a spiking network already")
    with journal.timed("quantize"):
        quantization = _quantized(imported, encoding, arrival, options)
    assemble.tell_quantization(journal.observer, quantization)
    program = quantization.program
    with journal.timed("map"):
        mapped: PassResult[MappedProgram] = map_program(program, target)
    journal.found(mapped.findings)
    journal.observer.stage("map", mapped.findings[0].message)
    raise_all([error for backend in backends for error in backend.check(program)])
    decodings = {
        node.id: OutputDecoding(quantization.numbers[node.id].unit, imported.output_shapes[node.id])
        for node in program.readouts
    }
    network = _driven(imported.network, encoding, arrival)
    outcome = Outcome()
    if samples.evaluate is not None:
        outcome = _climb(network, quantization, decodings, encoding, samples.evaluate, journal)
    facts = {"input_shape": list(imported.input_shape), "weights": imported.n_weights}
    frames = stimulus(samples.evaluate or samples.calibrate, encoding, options.seed)
    with journal.timed("portability"):
        more = {"portability": assemble.portability_of(program, frames)}
    return CompiledModel(
        program,
        encoding,
        decodings,
        assemble.report(
            path,
            options.in_effect(FACTS, assemble.used(program, arrival)),
            facts,
            quantization,
            mapped.graph,
            outcome,
            journal,
            more,
        ),
        frames,
        provenance(path, options, {"calibrate": calibrate, "evaluate": evaluate}),
        backends=options.emit,
    )


def _arrival(options: CompileOptions, trains: bool | None) -> InputCoding:
    """How the input arrives: as the data are, else as the options say, else as spikes.

    Raises:
        UsageError: the options ask for what means nothing here, or what the data contradict.
    """
    allowed = {c.value: c for c in (InputCoding.EVENTS, InputCoding.CURRENT)}
    if options.coding not in (None, "rate"):
        raise UsageError(
            f"the network spikes already: it cannot be coded as {options.coding}",
            code="bad-option",
            hint="leave --coding out",
        )
    if not options.is_settled:
        raise UsageError(
            "auto is for networks that are converted; this one has its steps from its training",
            code="bad-option",
            hint="give numbers: -T as it was trained, --weight-bits",
        )
    if options.neurons == "stock":
        raise UsageError(
            "--neurons stock chooses numbers for networks that are converted; this one has its own",
            code="not-stock",
            hint="leave it out: lava/manifest.json says which of its neurons are stock",
        )
    if options.input is not None and options.input not in allowed:
        raise UsageError(
            f"--input {options.input} is for networks that are converted",
            code="bad-option",
            hint=f"one that was trained with spikes takes {' or '.join(allowed)}",
        )
    wanted = allowed.get(options.input or "")
    if trains is None:
        return wanted or InputCoding.EVENTS
    found = InputCoding.EVENTS if trains else InputCoding.CURRENT
    if wanted not in (None, found):
        raise UsageError(
            f"--input {options.input}, but the data are {found.value}", code="bad-option"
        )
    return found


def _encoding(
    imported: ImportedSpiking,
    samples: Samples | None,
    arrival: InputCoding,
    options: CompileOptions,
) -> tuple[InputEncoding, list[Finding]]:
    """Integers for the input: its own where it is whole numbers, else levels over its range."""
    shape = imported.input_shape
    maps = maps_shape(shape)
    if arrival is InputCoding.EVENTS:
        n_steps = imported.network.window.n_steps
        shape, maps = (n_steps, *shape), (n_steps, *maps)
    findings = []
    if samples is None:
        spikes = arrival is InputCoding.EVENTS
        low, high, whole = 0.0, 1.0, spikes
        what = "spikes, 0 or 1" if spikes else "currents from 0 to 1"
        findings = [
            Finding(
                f"no calibration data: the input is taken to be {what}",
                code="not-calibrated",
                hint="give --calibrate with a few hundred samples",
                warning=not spikes,
            )
        ]
    else:
        low, high = float(samples.x.min()), float(samples.x.max())
        integral = samples.x.dtype.kind in "iu" or bool((samples.x == np.rint(samples.x)).all())
        whole = integral and max(-low, high) <= LARGEST_WHOLE
    if whole:
        return InputEncoding(np.ones(1), int(min(low, 0)), int(max(high, 1)), shape, maps), findings
    ends = np.array([min(low, 0.0)]), np.array([max(high, 0.0)])
    return InputEncoding.spanning(*ends, options.input_bits, shape, maps), findings


def _driven(network: SpikingGraph, encoding: InputEncoding, arrival: InputCoding) -> SpikingGraph:
    """The network for encoded input: the unit of a step goes into the first weights."""
    (unit,) = encoding.unit
    source = network.input
    nodes = [
        replace(node, weight=node.weight * unit)
        if isinstance(node, Synapses) and node.inputs == (source.id,)
        else node
        for node in network.graph
        if node.id != source.id
    ]
    driven = replace(
        source,
        unit=np.full(source.shape[0], unit),
        low=encoding.low,
        high=encoding.high,
        coding=arrival,
    )
    return SpikingGraph(Graph([driven, *nodes]), network.window)


def _quantized(
    imported: ImportedSpiking,
    encoding: InputEncoding,
    arrival: InputCoding,
    options: CompileOptions,
) -> Quantization:
    driven = _driven(imported.network, encoding, arrival)
    return proven(quantize(driven, options.weight_bits_of, States(options.state_bits)))


def _climb(
    network: SpikingGraph,
    quantization: Quantization,
    decodings: dict[NodeId, OutputDecoding],
    encoding: InputEncoding,
    samples: Samples,
    journal: Journal,
) -> Outcome:
    """Accuracy and agreement of the network in floating point and in fixed point."""
    program, n = quantization.program, len(samples)
    frames = encoded(encoding, samples.x)
    ladder = Ladder(samples.y)
    with journal.progress("evaluate", counted(n, "sample"), 2 * n) as advance:
        note = "the network as it was trained, in floating point"
        ladder.add("spiking", spiking.evaluate(network, frames, advance=advance), note)
        run = engine.run(program, frames, advance=advance)
        output, decoding = next(iter(decodings.items()))
        ladder.add("fixed", decoding(run.outputs[output]))
    ladder.repeat("mapped", "fixed")
    return Outcome(ladder.rungs, Activity(run.activity, n), {}, engine.simulator(program))
