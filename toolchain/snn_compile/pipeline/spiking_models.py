"""Compilation of a network trained with spikes: as others, but without conversion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from snn_compile.convert.data_findings import trains_findings
from snn_compile.fit import fit_findings, fit_passes
from snn_compile.ir.encoding import InputEncoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.stages import SpikingGraph
from snn_compile.lowering import for_target, quantize_by
from snn_compile.mapping import map_program
from snn_compile.options import SPIKING, CompileOptions
from snn_compile.passes import Pipeline
from snn_compile.pipeline.described_data import with_class_names
from snn_compile.pipeline.finish import CheckResult, PreparedNetwork, Task, pass_observer
from snn_compile.pipeline.inputs import expected_in_order, named_outputs, stimulus
from snn_compile.pipeline.spiking_input import (
    counts_cut,
    driven,
    encoding_of,
    input_coding_of,
    train_request,
)
from snn_compile.pipeline.spiking_trial import tried_on_spikes
from snn_compile.pipeline.spread.shards import in_order, unpickled
from snn_compile.plugins import SpikingFrontend
from snn_compile.pluralize import pluralize
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.to_fixed_point import Prove
from snn_compile.report import assemble
from snn_compile.report.evaluation import Outcome, decoded, described, fixed_values
from snn_compile.report.journal import Journal
from snn_compile.report.ladder import Ladder
from snn_compile.report.layers import Activity
from snn_compile.report.observed.answers import over_time
from snn_compile.report.observed.messages import SAMPLES
from snn_compile.report.shards import Answers, Shard, join, shards_of
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected
from snn_compile.samples.rows import Array, Rows
from snn_compile.samples.spike_trains import TrainData, load_trains
from snn_compile.sim import engine, spiking
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.frames import encoded
from snn_compile.targets import load_target
from snn_compile.workers import Workers


def check_spiking(task: Task, frontend: SpikingFrontend, journal: Journal) -> CheckResult:
    """Import a network, quantize and map it, without data.

    Raises:
        CompileError: as ``prepare_spiking``.
    """
    options = for_target(task.options, task.target)
    imported = frontend.read_spiking(task.path, options)
    arrival = input_coding_of(imported, options, None)
    encoding, _ = encoding_of(imported, TrainData(None, None, None), arrival, options)
    driven_network = driven(imported, encoding, arrival)
    made = quantization(options)(driven_network, pass_observer(journal, driven_network))
    mapped = map_program(made.graph.program, task.target, task.placement)
    findings = (*imported.findings, *fit_findings(made.findings), *mapped.findings)
    return CheckResult(imported, None, mapped.graph, findings, journal.timing)


def quantization(options: CompileOptions) -> Pipeline[SpikingGraph, Quantization]:
    """The passes over a spiking network."""
    passes = Pipeline.of(quantize_by(options)).then(Prove())
    return passes.followed_by(fit_passes(load_target(options.target), options))


def prepare_spiking(
    task: Task, frontend: SpikingFrontend, journal: Journal, workers: Workers | None = None
) -> PreparedNetwork:
    """Import and quantize a network trained with spikes.

    Calibration data determine only the range of the input. Samples are (N, T, *input shape)
    trains, or (N, *input shape) currents that are constant over the window.

    Raises:
        CompileError: defects of the file, the data or the options.
    """
    options = for_target(task.options, task.target)
    with journal.timed("import"):
        imported = frontend.read_spiking(task.path, options)
    journal.add_findings(imported.findings)
    facts = {"network": SPIKING, "coding": imported.network.window.coding}
    journal.add_findings(assemble.ignored(options, facts))
    shape, n_steps = imported.input_shape, imported.network.window.n_steps
    outputs = named_outputs(imported.output_shapes, options)
    request = train_request(str(imported.network.input.id), shape, n_steps, options)
    samples = load_trains(request, options, outputs, task.calibrate, task.evaluate)
    options = with_class_names(options, samples)
    arrival = input_coding_of(imported, options, samples.trains)
    encoding, findings = encoding_of(imported, samples, arrival, options)
    journal.add_findings([*findings, *counts_cut(samples.evaluate, encoding, arrival)])
    is_train = arrival is InputCoding.EVENTS
    journal.add_findings(trains_findings(samples.calibrate, samples.evaluate, trains=is_train))
    journal.observer.stage("import", f"{imported.n_nodes} nodes, a spiking network already")
    driven_network = driven(imported, encoding, arrival)
    journal.add_findings(tried_on_spikes(driven_network, encoding, samples.evaluate, journal))
    quantized = quantization(options)(driven_network, pass_observer(journal, driven_network)).graph
    decodings = {
        node.id: OutputDecoding(quantized.numbers[node.id].unit, imported.output_shapes[node.id])
        for node in quantized.program.readouts
    }
    expected = expected_in_order(outputs, samples.evaluate, decodings)
    network, numbers = quantized.network, quantized.numbers
    climb = _Climb(network, quantized.program, encoding, decodings, expected)
    of_file = {"input_shape": list(shape), "weights": imported.n_weights}
    in_effect = options.in_effect(facts, assemble.used(quantized.program, arrival))
    return PreparedNetwork(
        quantized.program,
        encoding,
        decodings,
        stimulus(samples.evaluate or samples.calibrate, quantized.program, encoding, options.seed),
        task.target,
        options.emit,
        task.provenance,
        partial(_evaluate, climb, samples.evaluate, workers),
        partial(assemble.report, task.path, in_effect, of_file, numbers, network, journal),
        quantized,
        task.placement,
    )


@dataclass(frozen=True, eq=False)
class _Climb:
    """Both stages of a network trained with spikes.

    Attributes:
        network: in floating point.
        program: in fixed point.
        encoding: of the inputs.
        decodings: of each output.
        expected: of each output.
    """

    network: SpikingGraph
    program: QuantizedGraph
    encoding: InputEncoding
    decodings: Mapping[NodeId, OutputDecoding]
    expected: Sequence[Expected]

    def answers_to(self, shard: Shard, advance: Advance = no_progress) -> Answers:
        """What both answer to the samples of a shard."""
        frames, ladder = encoded(self.encoding, shard.x), Ladder(self.expected)
        before = encoded(self.encoding, shard.before)[0] if len(shard.before) else None
        floats = spiking.evaluate_outputs(self.network, frames, first=shard.start, advance=advance)
        run = engine.run(self.program, frames, first=shard.start, before=before, advance=advance)
        values = {
            "spiking": [floats[output] for output in self.decodings],
            "fixed": decoded(self.decodings, run),
        }
        answers: dict[str, Sequence[Array]] = {
            stage: [some[:] for some in ladder.answers_of(of_stage)]
            for stage, of_stage in values.items()
        }
        return Answers(answers, "the trained network, in floating point", run.activity)

    def scores(self, x: Rows, index: int) -> tuple[Sequence[Array], Sequence[Array]]:
        """Values of all outputs for a sample: in floating point, and in fixed point."""
        frame = encoded(self.encoding, x[index : index + 1])
        floats = spiking.evaluate_outputs(self.network, frame, first=index)
        fixed = fixed_values(self.program, self.encoding, self.decodings, x, index)
        return [floats[output] for output in self.decodings], fixed

    def on(self, workers: Workers, shards: Iterator[Shard], advance: Advance) -> Iterator[Answers]:
        """The same for all shards, from workers."""
        sent = replace(self, expected=[replace(one, y=None) for one in self.expected])
        function = f"{__name__}:{evaluate_shard.__name__}"
        return in_order(
            workers, function, sent, {}, shards, lambda shard: advance(2 * len(shard.x))
        )


def evaluate_shard(common: Path, shard: Path) -> Answers:
    """Called in a worker: the answers to a shard."""
    return _loaded(common).answers_to(unpickled(shard))


@lru_cache(maxsize=1)
def _loaded(common: Path) -> _Climb:
    climb: _Climb = unpickled(common)
    return climb


def _evaluate(
    climb: _Climb, samples: Samples | None, workers: Workers | None, journal: Journal
) -> Outcome:
    """Accuracy and agreement in floating point and in fixed point; empty without samples."""
    ladder = Ladder(climb.expected)
    if samples is None:
        return Outcome(more={"outputs": described(climb.decodings, ladder)})
    n, shards = len(samples), shards_of(samples.x)
    with journal.progress("evaluate", pluralize(n, "sample"), 2 * n) as advance:
        if workers is None:
            parts: Iterator[Answers] = (climb.answers_to(shard, advance) for shard in shards)
        else:
            parts = climb.on(workers, shards, advance)
        answers = join(climb.expected, parts)
    ladder.add_answers("spiking", answers.stages["spiking"], answers.note)
    ladder.add_answers("fixed", answers.stages["fixed"])
    ladder.repeat("mapped", "fixed")
    numbers = climb.program, climb.encoding, climb.decodings
    with journal.timed("observe"):
        timed = over_time(*numbers, ladder, samples.x)
        outputs = described(climb.decodings, ladder, samples.x, partial(climb.scores, samples.x))
    return Outcome(
        ladder.rungs,
        Activity(answers.activity, n),
        {},
        engine.simulator(climb.program),
        more={"outputs": outputs, **timed},
        frames=encoded(climb.encoding, samples.x[:SAMPLES]),
    )
