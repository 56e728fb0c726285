"""Compile a network so that it keeps a budget, as measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from snn_compile.codings import Coding
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.linear import Float
from snn_compile.errors import UsageError
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering, at_widths, encoding_of
from snn_compile.mapping.placement_file import PlacementFile
from snn_compile.options import CompileOptions, LayerOptions
from snn_compile.options.budget import MEMORY, Budget, read_budget
from snn_compile.options.compiling import MAX_CHIPS
from snn_compile.passes import Finding
from snn_compile.pipeline.budget.meter import Measured, Meter
from snn_compile.pipeline.budget.versions import Versions, layers_with_a_choice
from snn_compile.pipeline.inputs import outputs_of
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.quantize.widths import Width
from snn_compile.report import figures
from snn_compile.report.journal import Journal
from snn_compile.samples.arrays import Samples
from snn_compile.targets import load_target

ROUNDS = 5
"""Compilations until a network keeps its budget: costs of layers do not quite add up."""
CHOSEN = "chosen within --budget"
Lower = Callable[[CompileOptions, str], Lowering]
"""Compiles with some options, under a name for a compilation that resumes."""


@dataclass(frozen=True, eq=False)
class Start:
    """What a conversion starts from.

    Attributes:
        folded: the float network.
        statistics: of its activations.
        calibrate: samples to measure on.
        coding: of the network.
        given: trained full scales.
        drives: what calibration recorded.
    """

    folded: ANNGraph
    statistics: Calibration
    calibrate: Samples | None
    coding: Coding
    given: Mapping[NodeId, Float] | None = None
    drives: SharedDrives | None = None


def within_budget(
    options: CompileOptions,
    start: Start,
    journal: Journal,
    lower: Lower,
    placement: PlacementFile | None = None,
) -> tuple[CompileOptions, Lowering, dict[str, Any]]:
    """The options with a width for each layer, the network, and the report's entry ``budget``.

    Costs of layers add up to that of the network nearly, not quite: where the compiled network
    exceeds the budget, the next one aims as much lower.

    Without a budget, the network of the options and no entry.

    Args:
        options: of the compilation.
        start: what it starts from.
        journal: of the compilation.
        lower: compiles.
        placement: the requested placement.

    Raises:
        UsageError: there are no samples, or no choice of widths keeps the budget.
    """
    if options.budget is None:
        return options, lower(options, "convert"), {}
    budget = read_budget(options.budget)
    meter = _meter(options, start)

    def measured() -> Versions:
        with journal.timed("budget"), journal.passes("widths"):
            return _versions(meter, start, budget)

    versions = journal.recall("budget", Versions, measured)
    limit, tried = budget.limit, list[float]()
    while True:
        is_last = len(tried) == ROUNDS - 1
        chosen = None if is_last else versions.within(limit)
        chosen = versions.cheapest if chosen is None else chosen
        trial = _with_widths(options, chosen)
        lowered = lower(trial, f"convert {len(tried) + 1}" if tried else "convert")
        spent = meter.spent(meter.mapped(lowered.program, placement), budget.quantity)
        cost, error = versions.predicted(chosen)
        if spent <= budget.limit:
            answer = meter.judged(chosen, spent, error, lowered.outputs(meter.x))
            finding = _finding(budget, answer, cost)
            journal.add_findings([finding])
            journal.observer.stage("budget", finding.message)
            return trial, lowered, {"budget": _entry(budget, versions, answer)}
        tried.append(spent)
        if chosen == versions.cheapest:
            raise _too_small(options, budget, min(tried))
        limit = cost - (spent - budget.limit)


def _meter(options: CompileOptions, start: Start) -> Meter:
    """Measures on the first calibration samples, with as many chips as are needed.

    Raises:
        UsageError: there are none.
    """
    if start.calibrate is None:
        raise UsageError(
            "--budget chooses widths by the error of the outputs and requires data to measure it",
            code="missing-data",
            origin=options.refusal("budget", "").origin,
            hint="give --calibrate; its samples need no labels",
        )
    x = start.calibrate.x[: Meter.n_samples(start.coding)]
    expected = outputs_of(start.folded, options).expected({}, len(x), "")
    board = load_target(options.target, MAX_CHIPS)
    frames = encoding_of(start.folded, start.statistics, options)(x)
    return Meter(start.folded, start.coding, options, board, x, frames, expected)


def _versions(meter: Meter, start: Start, budget: Budget) -> Versions:
    """What each layer costs and errs at each width that the target has, up to the stated one."""
    options, samples = meter.options, start.calibrate
    if samples is None:
        raise TypeError("a meter has samples")
    widths = tuple(
        bits
        for bits in sorted(meter.board.weight_bits.value, reverse=True)
        if 2 <= bits <= options.number("weight_bits")
    )
    parts = start.folded, start.statistics, samples, options, start.coding
    each = at_widths(*parts, widths, start.given, start.drives)
    names = layers_with_a_choice(start.folded, each.widest, options)
    return Versions.measured(meter, each, names, budget)


def _with_widths(options: CompileOptions, chosen: Mapping[NodeId, Width]) -> CompileOptions:
    """The options with the width of each layer by its name."""
    added = tuple(
        LayerOptions(re.sub(r"([*?[])", r"[\1]", name), weight_bits=bits)
        for name, bits in chosen.items()
    )
    return options.with_value("layers", (*options.layers, *added), CHOSEN)


def _too_small(options: CompileOptions, budget: Budget, least: float) -> UsageError:
    kept = f"{budget.quantity}={_rounded_up(budget, least)}"
    return UsageError(
        f"no widths of the layers keep the budget of {budget.limit:,.6g} {budget.unit} of"
        f" {budget.quantity}",
        code="budget-too-small",
        origin=options.refusal("budget", "").origin,
        hint=f"the smallest found that can be kept is {kept}",
    )


def _rounded_up(budget: Budget, amount: float) -> str:
    """An amount that is kept when it is given as the budget."""
    if budget.quantity == MEMORY:
        return str(-int(-amount // 1))
    return f"{amount * (1 + 1e-6):.8g}"


def _finding(budget: Budget, answer: Measured, cost: float) -> Finding:
    bits = sorted(set(answer.widths))
    spread = f"{bits[0]}" if len(bits) == 1 else f"{bits[0]} to {bits[-1]}"
    lost = "" if answer.lost is None else f", {figures.points(-answer.lost)} points"
    return Finding(
        f"{spread}-bit weights take {answer.cost:,.6g} of {budget.limit:,.6g} {budget.unit} of"
        f" {budget.quantity}, by layers {cost:,.6g}; error of the outputs {answer.error:.3g},"
        f" by layers {answer.predicted:.3g}{lost}",
        code="budget",
    )


def _entry(budget: Budget, versions: Versions, answer: Measured) -> dict[str, Any]:
    """The report's ``budget``."""
    each = enumerate(versions.names)
    return {
        "quantity": budget.quantity,
        "unit": budget.unit,
        "limit": budget.limit,
        "samples": versions.n_samples,
        "widths": list(versions.widths),
        "layers": [
            {
                "name": name,
                "weight_bits": answer.widths[row],
                "cost": versions.cost[row].tolist(),
                "error": versions.error[row].tolist(),
            }
            for row, name in each
        ],
        "others": versions.others,
        "base_error": versions.base,
        "chosen": _point(answer),
        "front": [_point(one) for one in versions.front],
        "uniform": [_point(one) for one in versions.uniform],
    }


def _point(one: Measured) -> dict[str, Any]:
    return {
        "weight_bits": list(one.widths),
        "cost": one.cost,
        "predicted_error": one.predicted,
        "error": one.error,
        "lost": one.lost,
    }
