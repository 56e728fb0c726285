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
from snn_compile.report.bill import with_bill
from snn_compile.report.evaluation import Outcome, decoded
from snn_compile.report.figures import HOST
from snn_compile.report.journal import Journal
from snn_compile.report.ladder import Ladder
from snn_compile.report.layers import Activity, layer_table
from snn_compile.report.shards import Answers, Shard, join, shards_of
from snn_compile.samples.arrays import Samples
from snn_compile.sim import bounds, engine
from snn_compile.sim.batches import Advance
from snn_compile.sim.frames import encoded

UNTUNED = "untuned"
"""The stage of the fixed-point network before tuning."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """A tuned network and its base.

    Attributes:
        base: the compiled network.
        program: the tuned one.
        facts: about the training.
    """

    base: CompiledModel
    program: QuantizedGraph
    facts: Mapping[str, Any]


def tuned_report(
    tuning: Tuning,
    journal: Journal,
    mapped: MappedProgram,
    outcome: Outcome,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``report.json``.

    Args:
        tuning: the network.
        journal: of the tuning.
        mapped: its mapping to the chip.
        outcome: its evaluation.
        more: entries common to all reports.
    """
    base = tuning.base.report
    taken = resources(mapped)
    older = base.get("timing") or []
    before, after = _top1(outcome, UNTUNED), _top1(outcome, "fixed")
    # The cost of stock neurons was measured on the network before tuning only.
    base = {key: value for key, value in base.items() if key != "neurons"}
    known = len(journal.warnings)  # those of the mapping: the base reports them, too
    journal.add_findings(worse(before, after))
    outputs = [
        {key: value for key, value in one.items() if key not in ("samples", "scatter")}
        for one in base.get("outputs") or ()
    ]
    written = {
        **base,
        "outputs": outputs,  # its pictures are of the network before tuning
        "simulator": outcome.simulator or base.get("simulator"),
        "ladder": outcome.ladder,
        "layers": _layers(tuning, mapped, outcome),
        "resources": taken.as_dict(),
        **more,
        "verification": [],
        "tune": {**tuning.facts, "before": before, "after": after},
        "timing": [*older, *journal.timing],
        "warnings": [*(base.get("warnings") or []), *journal.warnings[known:]],
        "total_steps": tuning.program.total_steps,
    }
    return with_bill(written, mapped, outcome.activity)


def worse(before: float | None, after: float | None) -> list[Finding]:
    """A finding if the tuned network has a lower accuracy on the evaluation data."""
    if before is None or after is None or after >= before:
        return []
    return [
        Finding(
            f"the tuned network is worse than before: {before:.2f} % -> {after:.2f} %",
            code="tuned-worse",
            hint="use more data, a smaller --learning-rate or, for rate codes, --method psg",
            warning=True,
        )
    ]


def _top1(outcome: Outcome, stage: str) -> float | None:
    rungs = (rung for rung in outcome.ladder if rung["stage"] == stage)
    return next(rungs, {}).get("top1")


def evaluate_tuned_stages(tuning: Tuning, samples: Samples | None, journal: Journal) -> Outcome:
    """Accuracy before and after; earlier stages are kept if they are of the same samples."""
    if samples is None:
        return Outcome()
    base, n = tuning.base, len(samples)
    ladder, programs = Ladder(samples.expected), {UNTUNED: base.program, "fixed": tuning.program}

    def answers_to(shard: Shard, advance: Advance) -> Answers:
        found, frames = Answers(), encoded(base.encoding, shard.x)
        before = encoded(base.encoding, shard.before)[0] if len(shard.before) else None
        for stage, program in programs.items():
            run = engine.run(program, frames, first=shard.start, before=before, advance=advance)
            values = ladder.answers_of(decoded(base.decodings, run))
            found.stages[stage], found.activity = [some[:] for some in values], run.activity
        return found

    with journal.progress("evaluate", pluralize(n, "sample"), 2 * n) as advance:
        answers = join(samples.expected, (answers_to(s, advance) for s in shards_of(samples.x)))
    for stage, values in answers.stages.items():
        ladder.add_answers(stage, values)
    ladder.repeat("mapped", "fixed")
    rungs = _joined(base.report.get("ladder") or [], ladder.rungs)
    simulator = engine.simulator(tuning.program)
    return Outcome(rungs, Activity(answers.activity, n), {}, simulator)


def _joined(compiled: list[dict[str, Any]], tuned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stages of the compilation followed by those of the tuned network.

    Only if the compilation was evaluated on the same samples: its last stage then equals the first
    one here. Agreement is with the first stage of all, and is unknown for the tuned network.
    """
    fixed: dict[str, Any] = next((r for r in compiled if r["stage"] == "fixed"), {})
    first = tuned[0]
    if (fixed.get("n"), fixed.get("top1")) != (first["n"], first["top1"]):
        return tuned
    below = [rung for rung in compiled if rung["stage"] not in ("fixed", "mapped", HOST)]
    above = [{**rung, "agreement": None} for rung in tuned[1:]]
    return [*below, {**fixed, "stage": UNTUNED}, *above]


def _layers(tuning: Tuning, mapped: MappedProgram, outcome: Outcome) -> list[dict[str, Any]]:
    """The layer table with the current thresholds, bounds and activity."""
    program = tuning.program
    known = {row["name"]: row for row in tuning.base.report.get("layers") or []}
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
