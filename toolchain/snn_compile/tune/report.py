"""The report of a tuned network: that of the compiled one, updated by tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snn_compile.bundle import CompiledModel
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.mapping import MappedProgram, resources
from snn_compile.passes import Finding
from snn_compile.pluralize import pluralize
from snn_compile.quantize.quantize import LayerNumbers
from snn_compile.report import figures
from snn_compile.report.bill import with_bill
from snn_compile.report.evaluation import Outcome, decoded
from snn_compile.report.journal import Journal
from snn_compile.report.ladder import Ladder
from snn_compile.report.layers import Activity, layer_table
from snn_compile.report.shards import Answers, Shard, join, shards_of
from snn_compile.samples.arrays import Samples
from snn_compile.sim import bounds, engine
from snn_compile.sim.batches import Advance
from snn_compile.sim.frames import encoded

TUNED = "tuned"
TRAINED = "trained"
"""The stage of a float network after training with quantized activations."""
HINTS = {
    "qcfs": "use more data, a smaller --learning-rate or, for rate codes, --method psg",
    "psg": "use more data, a smaller --learning-rate or, for sync and radix, --method qcfs",
}
"""What may help a training that made a network worse, by its method."""
OTHERWISE = "use more data, a smaller --learning-rate or another --method"


@dataclass(frozen=True, eq=False)
class Comparison:
    """The network before and after tuning, on the evaluation data.

    Attributes:
        ladder: their rungs.
        activities: of either.
    """

    ladder: Ladder
    activities: tuple[Activity, Activity]

    @property
    def top1(self) -> tuple[float | None, float | None]:
        """Accuracy before and after in percent; None without labels."""
        before, after = self.ladder.rungs
        return before.get("top1"), after.get("top1")


@dataclass(frozen=True, eq=False)
class Tuning:
    """A tuned network and its base.

    Attributes:
        base: the compiled network.
        tuned: the tuned one.
        facts: about the training.
        comparison: of both, None without evaluation data.
    """

    base: CompiledModel
    tuned: QuantizedGraph
    facts: Mapping[str, Any]
    comparison: Comparison | None

    @property
    def top1(self) -> tuple[float | None, float | None]:
        """Accuracy before and after in percent; None without labelled evaluation data."""
        return self.comparison.top1 if self.comparison else (None, None)

    @property
    def is_worse(self) -> bool:
        """Whether the base is the better network, which is then kept."""
        return bool(worse(*self.top1))

    @property
    def program(self) -> QuantizedGraph:
        """The network that is kept."""
        return self.base.program if self.is_worse else self.tuned


def compare(
    base: CompiledModel, tuned: QuantizedGraph, samples: Samples | None, journal: Journal
) -> Comparison | None:
    """Run a network and the tuned one on the evaluation data, if there are any."""
    if samples is None:
        return None
    n, ladder = len(samples), Ladder(samples.expected)
    activities = []
    with journal.progress("evaluate", pluralize(n, "sample"), 2 * n) as advance:
        for stage, program in ((figures.UNTUNED, base.program), (figures.ANSWER, tuned)):
            parts = (
                _answers(base, program, stage, s, ladder, advance) for s in shards_of(samples.x)
            )
            answers = join(samples.expected, parts)
            ladder.add_answers(stage, answers.stages[stage])
            activities.append(Activity(answers.activity, n))
    before, after = activities
    return Comparison(ladder, (before, after))


def _answers(
    base: CompiledModel,
    program: QuantizedGraph,
    stage: str,
    shard: Shard,
    ladder: Ladder,
    advance: Advance,
) -> Answers:
    """What a network answers to a shard."""
    frames = encoded(base.encoding, shard.x)
    before = encoded(base.encoding, shard.before)[0] if len(shard.before) else None
    run = engine.run(program, frames, first=shard.start, before=before, advance=advance)
    values = ladder.answers_of(decoded(base.decodings, run))
    return Answers({stage: [some[:] for some in values]}, activity=run.activity)


def tuned_report(
    tuning: Tuning,
    program: QuantizedGraph,
    journal: Journal,
    mapped: MappedProgram,
    outcome: Outcome,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``report.json``.

    Args:
        tuning: the network.
        program: the one that is kept, fitted to the target.
        journal: of the tuning.
        mapped: its mapping to the chip.
        outcome: its evaluation.
        more: entries common to all reports.
    """
    base = tuning.base.report
    taken = resources(mapped)
    older = base.get("timing") or []
    before, after = tuning.top1
    # The cost of stock neurons was measured on the network before tuning only.
    left_out = ("neurons", "over_time")
    base = {key: value for key, value in base.items() if key not in left_out}
    known = len(journal.warnings)  # those of the mapping: the base reports them, too
    journal.add_findings(worse(before, after, tuning.facts["method"]))
    shown = ("samples", "scatter", "confusion", "changed")
    outputs = [
        {key: value for key, value in one.items() if key not in shown}
        for one in base.get("outputs") or ()
    ]
    written = {
        **base,
        "outputs": outputs,  # its pictures are of the network before tuning
        "simulator": outcome.simulator or base.get("simulator"),
        "ladder": outcome.ladder,
        "layers": _layers(base, program, mapped, outcome),
        "resources": taken.as_dict(),
        **more,
        "verification": [],
        "tune": {**tuning.facts, "before": before, "after": after, "kept": kept(tuning.top1)},
        "timing": [*older, *journal.timing],
        "warnings": [*(base.get("warnings") or []), *journal.warnings[known:]],
        "total_steps": program.total_steps,
    }
    return with_bill(written, mapped, outcome.activity)


def kept(top1: tuple[float | None, float | None]) -> str:
    """The network that the folder holds, given the accuracy before and after."""
    return figures.UNTUNED if worse(*top1) else TUNED


def worse(before: float | None, after: float | None, method: str = "") -> list[Finding]:
    """A finding if the tuned network has a lower accuracy on the evaluation data."""
    if before is None or after is None or after >= before:
        return []
    return [
        Finding(
            f"tuning made the network worse, {before:.2f} % -> {after:.2f} %: the one before"
            " is kept",
            code="tuned-worse",
            hint=HINTS.get(method, OTHERWISE),
            warning=True,
        )
    ]


def evaluate_tuned_stages(tuning: Tuning) -> Outcome:
    """The ladder of the network that is kept; earlier stages if they are of the same samples."""
    if tuning.comparison is None:
        return Outcome()
    ladder, (before, after) = tuning.comparison.ladder, tuning.comparison.activities
    if tuning.is_worse:
        ladder = Ladder(ladder.expected, ladder.rungs[:1])
        ladder.repeat(figures.ANSWER, figures.UNTUNED)
    rungs = [*ladder.rungs, {**ladder.rungs[-1], "stage": "mapped"}]
    return Outcome(
        _joined(tuning.base.report.get("ladder") or [], rungs),
        before if tuning.is_worse else after,
        {},
        engine.simulator(tuning.program),
    )


def joined_around_training(
    untuned: list[dict[str, Any]], tuned: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The stages of a network that was trained before conversion.

    What the training changes is a stage of its own, after the answer without it: neither the graph
    passes before it nor the conversion after it are charged with that.
    """
    by_stage = {rung["stage"]: rung for rung in untuned}
    if figures.ANSWER not in by_stage:
        return tuned
    below = [by_stage[name] for name in ("onnx", "folded") if name in by_stage]
    above = [
        {**rung, "stage": TRAINED} if rung["stage"] == "folded" else rung
        for rung in tuned
        if rung["stage"] != "onnx"
    ]
    return [*below, {**by_stage[figures.ANSWER], "stage": figures.UNTUNED}, *above]


def _joined(compiled: list[dict[str, Any]], tuned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stages of the compilation followed by those of the tuned network.

    Only if the compilation was evaluated on the same samples: its last stage then equals the first
    one here. Agreement is with the first stage of all, and is unknown for the tuned network.
    """
    fixed: dict[str, Any] = next((r for r in compiled if r["stage"] == figures.ANSWER), {})
    first = tuned[0]
    if (fixed.get("n"), fixed.get("top1")) != (first["n"], first["top1"]):
        return tuned
    replaced = (figures.UNTUNED, figures.ANSWER, "mapped", figures.HOST)
    below = [rung for rung in compiled if rung["stage"] not in replaced]
    above = [{**rung, "agreement": None} for rung in tuned[1:]]
    return [*below, {**fixed, "stage": figures.UNTUNED}, *above]


def _layers(
    base: Mapping[str, Any], program: QuantizedGraph, mapped: MappedProgram, outcome: Outcome
) -> list[dict[str, Any]]:
    """The layer table of a report with the current thresholds, bounds and activity."""
    known = {row["name"]: row for row in base.get("layers") or []}
    numbers = {}
    for node in program.populations:
        row = known.get(node.id, {})
        interval = bounds.states(program.graph, node, program.window.n_steps)
        numbers[node.id] = LayerNumbers(
            unit=np.ones(node.shape[0]),
            weight_bits=row.get("weight_bits", 8),
            fraction_bits=row.get("fraction_bits", 0),
            saturated=0.0,
            largest=interval.magnitude,
            bias=np.zeros(1),
        )
    per_layer = {layer.name: layer for layer in resources(mapped).layers}
    rows = layer_table(program, numbers, per_layer, outcome.activity, {})
    # Training keeps weights in their range: none has been clipped since.
    return [{**row, "saturated_weights": None} for row in rows]
