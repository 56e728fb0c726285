"""Stage accuracy: every stage of a compilation, run on the evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.codings import Coding
from snn_compile.convert.linear import Float
from snn_compile.ir import ann as ops
from snn_compile.ir.ann import AnnNode
from snn_compile.ir.curve import Curve
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering
from snn_compile.plugins import RunsEveryOutput, SourceRuntime
from snn_compile.pluralize import pluralize
from snn_compile.report import attribution
from snn_compile.report.attribution import Loss
from snn_compile.report.host import HostStage
from snn_compile.report.journal import Journal, Kept, Work
from snn_compile.report.ladder import Ladder
from snn_compile.report.layers import Activity
from snn_compile.report.observed import answers as observed
from snn_compile.report.observed.messages import SAMPLES
from snn_compile.report.pictures import pictures
from snn_compile.report.shards import Answers, Shard, join, shard_starts, shards_of
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.samples.rows import Rows
from snn_compile.sim import ann, engine, spiking
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.frames import encoded
from snn_compile.sim.kernels import Array
from snn_compile.sim.reference import Run

LOCATING_SAMPLES, SPIKING_SAMPLES = 2_000, 1_000
"""Most samples, the first ones, for the stages between the user's file and fixed point, and for the
spiking network in float among them, each of whose steps costs as much as the trained network. They
serve to locate a loss; on all samples they would take most of a compilation's time. The first stage
and the answer see all samples.
"""


@dataclass(frozen=True, eq=False)
class Stages:
    """Intermediate stages of a compilation.

    Attributes:
        network: the network of the file, preceded by preprocessing.
        lowered: after the function-preserving passes, with all later stages.
        coding: coding of activations as spikes.
        source_runtime: runs the user's own file on raw samples; None: our evaluator runs
            ``network``.
        left_off: whether operators at the end of the file are not in ``network``.
        host: what is left to the host, if anything.
        of_file: what is expected of the outputs of the file then.
        with_host: whether anything is, also where ``host`` itself cannot be sent to.
    """

    network: ANNGraph
    lowered: Lowering
    coding: Coding
    source_runtime: SourceRuntime | None = None
    left_off: bool = False
    host: HostStage | None = None
    of_file: tuple[Expected, ...] = ()
    with_host: bool = False

    @property
    def with_spikes(self) -> bool:
        """Whether spikes are something else than activations: a payload equals its activation."""
        return not self.coding.payloads

    def runs(self, start: int, n: int) -> int:
        """Samples in all stages, as the progress counts them, of n samples from one on."""
        spiking = _among(start, n, SPIKING_SAMPLES) if self.with_spikes else 0
        return 2 * (n + _among(start, n, LOCATING_SAMPLES)) + spiking


def _among(start: int, n: int, first: int) -> int:
    """How many of n samples from one on are among the first ones of all."""
    return min(n, max(0, first - start))


def _first(shard: Shard, n: int) -> int:
    """How many samples of a shard are among the first n of all."""
    return _among(shard.start, len(shard.x), n)


@dataclass(frozen=True)
class Outcome:
    """Result of the evaluation.

    Attributes:
        ladder: entries of ``report.json``.
        activity: of the network in fixed point, None without samples.
        losses: loss of each layer.
        simulator: executor of the fixed-point network, None without samples.
        judge: holds the answers of the first stage and of the fixed-point network.
        more: further entries of the report.
        frames: the first samples, encoded; None without samples.
    """

    ladder: list[dict[str, Any]] = field(default_factory=list)
    activity: Activity | None = None
    losses: dict[NodeId, Loss] = field(default_factory=dict)
    simulator: str | None = None
    judge: Ladder = field(default_factory=lambda: Ladder(()))
    more: dict[str, Any] = field(default_factory=dict)
    frames: npt.NDArray[np.integer] | None = None


Evaluate = Callable[[Iterator[Shard], Advance], Iterator[Answers]]
"""The answers to each shard, in order; the progress callback counts samples of all stages."""


def evaluate_stages(
    stages: Stages,
    samples: Samples | None,
    journal: Journal,
    elsewhere: Evaluate | None = None,
) -> Outcome:
    """Accuracy and agreement of each stage; nothing without samples.

    Args:
        stages: of the compilation.
        samples: of the evaluation set.
        journal: of the compilation.
        elsewhere: evaluates shards in other processes, as ``answers_to`` does here.
    """
    if samples is None:
        return Outcome()
    x, n = samples.x, len(samples)
    lowered, program = stages.lowered, stages.lowered.program
    ladder = Ladder(samples.expected)
    total = stages.runs(0, n)
    with journal.progress("evaluate", pluralize(n, "sample"), total) as advance:
        here = partial(_answers_here, stages, samples.expected)
        parts = _answers(x, elsewhere or here, stages, journal.work, advance)
        answers = join(samples.expected, parts)
    for stage, values in answers.stages.items():
        ladder.add_answers(stage, values, answers.note if stage == "onnx" else "")
    ladder.repeat("mapped", "fixed")
    rungs = ladder.rungs
    if stages.host is not None:
        with journal.timed("host"):
            rung = stages.host.rung(stages.of_file, answers.readouts, x)
        rungs = [*rungs, *([rung] if rung else [])]
    attributed = partial(_attributed, stages, x, journal)
    losses, fewer = journal.recall("attribute", _ATTRIBUTED, attributed)
    activity = Activity(answers.activity, n)
    with journal.timed("observe"):
        timed = observed.over_time(program, lowered.encoding, lowered.decodings, ladder, x)
        outputs = described(lowered.decodings, ladder, x, partial(_scores, stages, samples))
    more = {"outputs": outputs, **timed, **fewer}
    frames = encoded(lowered.encoding, x[:SAMPLES])
    return Outcome(rungs, activity, losses, engine.simulator(program), ladder, more, frames)


def _scores(
    stages: Stages, samples: Samples, index: int
) -> tuple[Sequence[Array], Sequence[Array]]:
    """Values of all outputs for a sample: of the file, and in fixed point."""
    x, lowered = samples.x[index : index + 1], stages.lowered
    first, _ = _outputs_of_file(stages, samples.expected, x, no_progress)
    fixed = fixed_values(lowered.program, lowered.encoding, lowered.decodings, samples.x, index)
    return first, fixed


def fixed_values(
    program: QuantizedGraph,
    encoding: Encoding,
    decodings: Mapping[NodeId, OutputDecoding],
    x: Rows,
    index: int,
) -> list[Array]:
    """What the network in fixed point answers to one of some samples."""
    before = encoded(encoding, x[index - 1 : index])[0] if index else None
    frame = encoded(encoding, x[index : index + 1])
    return decoded(decodings, engine.run(program, frame, first=index, before=before))


def _answers(
    x: Rows, evaluate: Evaluate, stages: Stages, work: Work, advance: Advance
) -> Iterator[Answers]:
    """The answers to all shards, in order, some of them kept by an interrupted compilation."""
    kept = {start for start in shard_starts(x) if work.recall(_name(start), Answers) is not None}
    open_shards = (shard for shard in shards_of(x) if shard.start not in kept)
    evaluated = evaluate(open_shards, advance)
    size = shard_starts(x).step
    for start in shard_starts(x):
        if start not in kept:
            answers = next(evaluated)
            work.keep(_name(start), Kept(answers))
            yield answers
        elif (found := work.recall(_name(start), Answers)) is not None:
            advance(stages.runs(start, min(size, len(x) - start)))
            yield found.value
        else:  # damaged since
            yield from evaluate((s for s in shards_of(x) if s.start == start), advance)


def _name(start: int) -> str:
    """Of the answers to a shard, among what a compilation keeps."""
    return f"evaluate {start}"


def _answers_here(
    stages: Stages, expected: Sequence[Expected], shards: Iterator[Shard], advance: Advance
) -> Iterator[Answers]:
    for shard in shards:
        yield answers_to(shard, stages, expected, advance)


_ATTRIBUTED = tuple[dict[NodeId, Loss], dict[str, int]]


def _attributed(
    stages: Stages, x: Rows, journal: Journal
) -> tuple[dict[NodeId, Loss], dict[str, int]]:
    """The loss of each layer, and what the report states of its samples.

    Where not all usual samples can be used, progress shows, and their number is stated.
    """
    lowered = stages.lowered
    n = attribution.samples_for(lowered.folded, len(x))
    measure = partial(
        attribution.attribute,
        lowered.folded,
        lowered.program,
        first := x[:n],
        encoded(lowered.encoding, first),
        lowered.scales,
        levels_of(lowered.folded, stages.coding),
        lowered.decodings,
    )
    if n == min(len(x), attribution.SAMPLES):
        with journal.timed("attribute"):
            return measure(), {}
    with journal.progress("attribute", f"{pluralize(n, 'sample')} of {len(x):,}", n) as advance:
        return measure(advance=advance), {"attributed": n}


def answers_to(
    shard: Shard, stages: Stages, expected: Sequence[Expected], advance: Advance = no_progress
) -> Answers:
    """What each stage answers to the samples of a shard."""
    x, lowered = shard.x, stages.lowered
    frames = encoded(lowered.encoding, x)
    found, ladder = Answers(), Ladder(expected)

    def add(stage: str, values: Sequence[Array]) -> None:
        found.stages[stage] = [some[:] for some in ladder.answers_of(values)]

    first, found.note = _outputs_of_file(stages, expected, x, advance)
    add("onnx", first)
    if few := _first(shard, LOCATING_SAMPLES):
        for stage, values in _between(x[:few], stages, advance):
            add(stage, values)
    if stages.with_spikes and (few := _first(shard, SPIKING_SAMPLES)):
        spikes = spiking.evaluate_outputs(
            lowered.spiking, frames[:few], first=shard.start, advance=advance
        )
        add("spiking", [spikes[output] for output in lowered.decodings])
    before = encoded(lowered.encoding, shard.before)[0] if len(shard.before) else None
    run = engine.run(lowered.program, frames, first=shard.start, before=before, advance=advance)
    values = decoded(lowered.decodings, run)
    add("fixed", values)
    found.activity = run.activity
    if stages.with_host:
        found.readouts = dict(zip(lowered.decodings, values, strict=True))
    return found


def _between(x: Array, stages: Stages, advance: Advance) -> Iterator[tuple[str, Sequence[Array]]]:
    """What the float networks after that of the file make of some samples."""
    lowered = stages.lowered
    yield "folded", ann.evaluate_outputs(lowered.folded, x, advance=advance)
    operators = as_lines(lowered.curves)
    if lowered.curves:
        yield "activations", ann.evaluate_outputs(lowered.folded, x, operators=operators)
    rounded = on_levels(lowered.scales, levels_of(lowered.folded, stages.coding))
    yield (
        "rate",
        ann.evaluate_outputs(lowered.folded, x, hook=rounded, operators=operators, advance=advance),
    )


def described(
    decodings: Mapping[NodeId, OutputDecoding],
    ladder: Ladder,
    x: Rows | None = None,
    scores: observed.Scores | None = None,
) -> list[dict[str, Any]]:
    """The entry ``outputs`` of ``report.json``; with pictures, once all stages are evaluated.

    ``scores`` are the values of all outputs for a sample.
    """
    found: list[dict[str, Any]] = []
    for index, (layer, expected) in enumerate(zip(decodings, ladder.expected, strict=True)):
        entry = {"name": expected.name, "layer": str(layer), "kind": expected.kind.value}
        found.append({**entry, "shape": list(expected.shape)})
        if expected.threshold:
            found[-1]["threshold"] = expected.threshold
        if x is not None:
            answers = ladder.first[index], ladder.answers[index]
            found[-1] |= pictures(expected, x, *answers)
            found[-1] |= observed.by_class(expected, answers[1])
            if scores is not None:
                found[-1] |= observed.changed(expected, index, *answers, x, scores)
    return found


def _outputs_of_file(
    stages: Stages, expected: Sequence[Expected], x: Array, advance: Advance
) -> tuple[list[Array], str]:
    """The outputs of the file, in floating point, and a note if its own runtime computed them.

    Where the import left a Softmax or an ArgMax off, the runtime's values are no longer those of
    the network: they serve outputs with classes alone, if the shape is the same.
    """
    runtime = stages.source_runtime
    found: Mapping[str, Array] = {}
    if isinstance(runtime, RunsEveryOutput):
        found = runtime.every_output(x, advance)
    elif runtime is not None:
        found = {expected[0].name: runtime(x, advance)}
    usable = {
        one.name: found[one.name]
        for one in expected
        if one.name in found
        and prod(found[one.name].shape[1:]) == prod(one.shape)
        and not (stages.left_off and one.kind is OutputKind.REGRESSION)
    }
    note = f"as {runtime.name} runs the file" if usable and runtime else ""
    if len(usable) == len(expected):
        return list(usable.values()), note
    ours = ann.evaluate_outputs(stages.network, x, advance=no_progress if found else advance)
    pairs = zip(expected, ours, strict=True)
    return [usable.get(one.name, values) for one, values in pairs], note


def decoded(decodings: Mapping[NodeId, OutputDecoding], run: Run) -> list[Array]:
    """The outputs of a run as real values."""
    return [decoding(run.outputs[output]) for output, decoding in decodings.items()]


def as_lines(curves: Mapping[NodeId, Curve]) -> ann.Operators:
    """Operators of the float network in which functions are the lines that stand for them."""

    def compute(node: AnnNode, sources: Sequence[Array]) -> Array:
        if isinstance(node, ops.Function) and node.id in curves:
            value: Array = curves[node.id](sources[0]).astype(sources[0].dtype)
            return ann.on_own_grid(node, value)
        return ann.apply(node, sources)

    return compute


def levels_of(network: ANNGraph, coding: Coding) -> dict[NodeId, int]:
    """The largest spike count or payload of each activation."""

    def largest(node: ops.Activation) -> int:
        own = coding.with_payloads(node.own_bits).finer(node.payload_bits)
        return network.levels_of(node, own.levels)

    return {node.id: largest(node) for node in network.graph if isinstance(node, ops.Activation)}


def on_levels(scales: Mapping[NodeId, Float], levels: Mapping[NodeId, int]) -> ann.Hook:
    """Rounds every activation onto its ``levels + 1`` levels, as an ideal coding would."""

    def rounded(node: AnnNode, value: Array) -> Array:
        if not isinstance(node, ops.Activation):
            return value
        return ann.on_levels(value, scales[node.id], levels[node.id], signed=not node.non_negative)

    return rounded
