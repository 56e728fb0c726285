"""Compile a network so that it keeps a budget, as measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from snn_compile.errors import UsageError
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering
from snn_compile.lowering.borders import encoding_of
from snn_compile.mapping.placement_file import PlacementFile
from snn_compile.options import CompileOptions, LayerOptions
from snn_compile.options.budget import MEMORY, Budget, read_budget
from snn_compile.options.layers import literal
from snn_compile.options.network import MAX_CHIPS
from snn_compile.passes import Finding
from snn_compile.pipeline.budget.entry import entry
from snn_compile.pipeline.budget.meter import Meter, Start
from snn_compile.pipeline.budget.versions import (
    PAYLOADS,
    WEIGHTS,
    Chosen,
    Measured,
    Versions,
    measured,
    with_payloads,
)
from snn_compile.pipeline.inputs import outputs_of
from snn_compile.quantize.widths import Width
from snn_compile.report import figures
from snn_compile.report.journal import Journal
from snn_compile.targets import load_target

ROUNDS = 5
"""Compilations until a network keeps its budget: costs of layers do not quite add up."""
CHOSEN = "chosen within --budget"
Lower = Callable[[CompileOptions, ANNGraph, str], Lowering]
"""Compiles a float network with some options, under a name for a compilation that resumes."""


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
        return options, lower(options, start.folded, "convert"), {}
    budget = read_budget(options.budget)
    meter = _meter(options, start)

    def search() -> Versions:
        with journal.timed("budget"), journal.passes("widths"):
            return measured(meter, start, budget)

    versions = journal.recall("budget", Versions, search)
    limit, tried = budget.limit, list[float]()
    while True:
        is_last = len(tried) == ROUNDS - 1
        chosen = None if is_last else versions.within(limit)
        chosen = versions.cheapest if chosen is None else chosen
        trial, name = _with_widths(options, versions, chosen), f"convert {len(tried) + 1}"
        folded = with_payloads(start.folded, versions.of_option(PAYLOADS, chosen))
        lowered = lower(trial, folded, name if tried else "convert")
        spent = meter.spent(meter.mapped(lowered.program, placement), budget.quantity).total
        cost, error = versions.predicted(chosen)
        if spent <= budget.limit:
            outputs = lowered.outputs(meter.x)
            judged = meter.error(outputs), meter.points(outputs)
            answer = Measured(chosen, spent, error, *judged)
            finding = _finding(budget, versions, answer, cost)
            journal.add_findings([finding])
            journal.observer.stage("budget", finding.message)
            return trial, lowered, {"budget": entry(budget, versions, answer)}
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


def _with_widths(options: CompileOptions, versions: Versions, chosen: Chosen) -> CompileOptions:
    """The options with the widths of each layer by its name."""
    weights, payloads = (versions.of_option(one, chosen) for one in (WEIGHTS, PAYLOADS))
    added = tuple(
        LayerOptions(literal(name), weight_bits=weights.get(name), payload_bits=payloads.get(name))
        for name in dict.fromkeys([*weights, *payloads])
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


def _finding(budget: Budget, versions: Versions, answer: Measured, cost: float) -> Finding:
    words = [
        f"{_spread(versions.of_option(option, answer.widths))}-bit {what}"
        for option, what in ((WEIGHTS, "weights"), (PAYLOADS, "payloads"))
        if versions.of_option(option, answer.widths)
    ]
    lost = "" if answer.lost is None else f", {figures.points(-answer.lost)} points"
    return Finding(
        f"{' and '.join(words) or 'the network'} take {answer.cost:,.6g} of {budget.limit:,.6g}"
        f" {budget.unit} of {budget.quantity}, by layers {cost:,.6g}; error of the outputs"
        f" {answer.error:.3g}, by layers {answer.predicted:.3g}{lost}",
        code="budget",
    )


def _spread(widths: Mapping[NodeId, Width]) -> str:
    bits = sorted(set(widths.values()))
    return f"{bits[0]}" if len(bits) == 1 else f"{bits[0]} to {bits[-1]}"
