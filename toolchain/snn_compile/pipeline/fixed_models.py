"""Compilation of a network that is in fixed point already: nothing is converted or quantized."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from snn_compile.convert.data_findings import trains_findings
from snn_compile.errors import CapacityError, Origin, UsageError, raise_all
from snn_compile.fit import fit_findings, fit_program
from snn_compile.ir.encoding import InputEncoding, OutputDecoding
from snn_compile.ir.graph import maps_shape
from snn_compile.ir.quantized import VOLTAGE_LIMIT, Population, QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.mapping import map_program
from snn_compile.options import SPIKING, CompileOptions
from snn_compile.options.declared import options_of
from snn_compile.passes import Finding
from snn_compile.pipeline.described_data import with_class_names
from snn_compile.pipeline.finish import CheckResult, PreparedNetwork, Task
from snn_compile.pipeline.given_network import GivenNetwork
from snn_compile.pipeline.inputs import expected_in_order, named_outputs, stimulus
from snn_compile.pipeline.spiking_input import chosen_coding, range_of, train_request
from snn_compile.plugins import Arrival, FixedFrontend, ImportedFixed
from snn_compile.report import assemble
from snn_compile.report.journal import Journal
from snn_compile.report.layers import Activity
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import OutputShapes
from snn_compile.samples.rows import blocks
from snn_compile.samples.spike_trains import TrainData, load_trains
from snn_compile.sim import bounds
from snn_compile.sim.reference import join_runs
from snn_compile.targets.target import Target

QUANTIZING = ("weight_bits", "input_bits", "state_bits", "layers")
"""Options of networks that are quantized."""
CONVENTIONS = ("nir_dt", "nir_reset", "nir_reset_delay", "nir_producer")
"""Options of what a NIR file leaves open."""


def check_fixed(task: Task, frontend: FixedFrontend, journal: Journal) -> CheckResult:
    """Import a network and map it; count the messages of samples, if there are any.

    Raises:
        CompileError: as ``prepare_fixed``.
    """
    imported = frontend.read_fixed(task.path, task.options)
    samples = _samples(imported, task, named_outputs(imported.output_shapes, task.options))
    arrival = _arrival(imported, task.options, samples, str(task.path))
    program, findings = _fitted(imported.network(arrival), task.target, task.options)
    mapped = map_program(program, task.target, task.placement)
    found = (*imported.findings, *fit_findings(findings), *mapped.findings)
    activity = None
    if samples.evaluate is not None:
        given = GivenNetwork(program, _encoding(imported, arrival), {}, ())
        found += tuple(_cut(samples.evaluate, arrival))
        runs = list(given.runs(samples.evaluate))
        activity = Activity(join_runs(runs, record=False).activity, len(samples.evaluate))
    return CheckResult(imported, None, mapped.graph, found, journal.timing, activity)


def prepare_fixed(task: Task, frontend: FixedFrontend, journal: Journal) -> PreparedNetwork:
    """Import a network in fixed point.

    Calibration data determine only the range of the input. Samples are (N, T, *input shape)
    trains, or (N, *input shape) frames that are constant over the window.

    Raises:
        CompileError: defects of the file, the data or the options.
    """
    options = task.options
    with journal.timed("import"):
        imported = frontend.read_fixed(task.path, options)
    journal.add_findings(imported.findings)
    facts = {"network": SPIKING, "coding": imported.window.coding}
    journal.add_findings([*assemble.ignored(options, facts), *_not_quantized(options)])
    outputs = named_outputs(imported.output_shapes, options)
    samples = _samples(imported, task, outputs)
    options = with_class_names(options, samples)
    arrival = _arrival(imported, options, samples, str(task.path))
    is_train = arrival.coding is InputCoding.EVENTS
    journal.add_findings(trains_findings(samples.calibrate, samples.evaluate, trains=is_train))
    journal.observer.stage("import", f"{imported.n_nodes} layers, in fixed point already")
    program, findings = _fitted(imported.network(arrival), task.target, options)
    journal.add_findings([*findings, *_cut(samples.evaluate, arrival)])
    encoding = _encoding(imported, arrival)
    decodings = {
        node.id: OutputDecoding(imported.units[node.id], imported.output_shapes[node.id])
        for node in program.readouts
    }
    expected = expected_in_order(outputs, samples.evaluate, decodings)
    given = GivenNetwork(program, encoding, decodings, expected)
    of_file = {"input_shape": list(imported.input_shape), "weights": imported.n_weights}
    in_effect = options.in_effect(facts, assemble.used(program, arrival.coding))
    return PreparedNetwork(
        program,
        encoding,
        decodings,
        stimulus(samples.evaluate or samples.calibrate, program, encoding, options.seed),
        task.target,
        options.emit,
        task.provenance,
        partial(given.evaluated, samples.evaluate),
        partial(assemble.report, task.path, in_effect, of_file, given.numbers(), None, journal),
        None,
        task.placement,
    )


def _not_quantized(options: CompileOptions) -> list[Finding]:
    """A warning about options that would choose integers."""
    declared = options_of(CompileOptions)
    given = [declared[name].words for name in (*QUANTIZING, *CONVENTIONS) if options.is_given(name)]
    if not given:
        return []
    text = f"ignored: {', '.join(given)}; the network is in fixed point already"
    return [Finding(text, code="option-ignored", hint="leave them out", warning=True)]


def _samples(imported: ImportedFixed, task: Task, outputs: OutputShapes) -> TrainData:
    request = train_request("input", imported.input_shape, imported.window.n_steps, task.options)
    return load_trains(request, task.options, outputs, task.calibrate, task.evaluate)


def _arrival(
    imported: ImportedFixed, options: CompileOptions, samples: TrainData, file: str
) -> Arrival:
    """How the input arrives, with the range of the samples where these are wider.

    Raises:
        UsageError: the network takes no such input.
    """
    allowed = {arrival.coding: arrival for arrival in imported.arrivals}
    assumed = imported.arrivals[0].coding
    coding = chosen_coding(imported.window.coding, assumed, options, samples.trains)
    if coding not in allowed:
        listed = " or ".join(one.value for one in allowed)
        raise UsageError(
            f"the network takes {listed}, not {coding.value}",
            code="bad-option",
            origin=Origin(file),
            hint="give trains (N, T, ...), with a frame for every step"
            if coding is InputCoding.CURRENT
            else "give frames (N, ...), which are constant over the window",
        )
    arrival = allowed[coding]
    if samples.calibrate is None:
        return arrival
    low, high = _whole_range(samples.calibrate)
    return replace(arrival, low=min(low, arrival.low), high=max(high, arrival.high))


def _whole_range(samples: Samples) -> tuple[int, int]:
    """The smallest and the largest value.

    Raises:
        UsageError: some are not whole: the network has no unit to round them by.
    """
    low, high, is_whole = range_of(samples)
    if not is_whole:
        raise UsageError(
            "the samples are not whole numbers, and a network in fixed point states no unit",
            code="not-whole",
            origin=Origin(samples.file) if samples.file else None,
            hint="give the integers that the network was trained on",
        )
    return int(low), int(high)


def _encoding(imported: ImportedFixed, arrival: Arrival) -> InputEncoding:
    """The integers themselves, within the range."""
    shape = imported.input_shape
    maps = maps_shape(shape)
    if arrival.coding is InputCoding.EVENTS:
        n_steps = imported.window.n_steps
        shape, maps = (n_steps, *shape), (n_steps, *maps)
    return InputEncoding(np.ones(1), arrival.low, arrival.high, shape, maps)


def _cut(samples: Samples | None, arrival: Arrival) -> list[Finding]:
    """A warning if evaluation samples exceed the range of the input."""
    if samples is None:
        return []
    _whole_range(samples)
    low, high = arrival.low, arrival.high
    n_cut = sum(int(((x < low) | (x > high)).sum()) for x in blocks(samples.x))
    if not n_cut:
        return []
    return [
        Finding(
            f"{n_cut:,} values of the input are not between {low} and {high}, and are cut to it",
            Origin(samples.file) if samples.file else None,
            "input-cut",
            "set --calibrate to samples, whose range becomes that of the input",
            warning=True,
        )
    ]


def _fitted(
    program: QuantizedGraph, target: Target, options: CompileOptions
) -> tuple[QuantizedGraph, tuple[Finding, ...]]:
    """The network, fitted to the target.

    Raises:
        CapacityError: a state could overflow, or a layer exceeds a core.
    """
    raise_all([_overflow(node) for node in program.populations if _overflows(program, node)])
    found = fit_program(program, target, stock=False, approximate=options.allow_approximate)
    return found.graph, found.findings


def _overflows(program: QuantizedGraph, node: Population) -> bool:
    if node.wraps:
        return False
    interval = bounds.states(program.graph, node, program.window.n_steps)
    return interval.magnitude > min(node.state.max, VOLTAGE_LIMIT)


def _overflow(node: Population) -> CapacityError:
    return CapacityError(
        f"the potential of layer '{node.id}' could leave {node.state.bits} bits",
        code="state-overflow",
        origin=node.origin,
        hint="use fewer steps: -T",
    )
