"""Compile a network so that it keeps a budget, as measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from snn_compile.codings import Coding
from snn_compile.convert.calibrate import Calibration
from snn_compile.convert.linear import Float
from snn_compile.errors import UsageError
from snn_compile.ir.graph import NodeId
from snn_compile.ir.stages import ANNGraph
from snn_compile.lowering import Lowering, at_widths
from snn_compile.mapping.placement_file import PlacementFile
from snn_compile.options import CompileOptions, LayerOptions
from snn_compile.options.budget import MEMORY, Budget, read_budget
from snn_compile.options.compiling import MAX_CHIPS
from snn_compile.passes import Finding
from snn_compile.pipeline.budget.meter import Meter
from snn_compile.pipeline.budget.versions import Measured, Versions, layers_with_a_choice
from snn_compile.pipeline.inputs import outputs_of
from snn_compile.quantize.shared_drives import SharedDrives
from snn_compile.quantize.widths import Width
from snn_compile.report import figures
from snn_compile.report.journal import Journal
from snn_compile.samples.arrays import Samples
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

ROUNDS = 5
"""Compilations until a network keeps its budget: costs of layers do not quite add up."""
CHOSEN = "chosen within --budget"
Lower = Callable[[CompileOptions, str], Lowering]
"""Compiles with some options, under a name for a compilation that resumes."""


def within_budget(
    options: CompileOptions,
    folded: ANNGraph,
    statistics: Calibration,
    calibrate: Samples | None,
    target: Target,
    coding: Coding,
    journal: Journal,
    lower: Lower,
    placement: PlacementFile | None = None,
    given: Mapping[NodeId, Float] | None = None,
    drives: SharedDrives | None = None,
) -> tuple[CompileOptions, Lowering, dict[str, Any]]:
    """The options with a width for each layer, the network, and the report's entry ``budget``.

    Without a budget, the network of the options and no entry.

    Args:
        options: of the compilation.
        folded: the float network.
        statistics: of its activations.
        calibrate: samples to measure on.
        target: the chip.
        coding: of the network.
        journal: of the compilation.
        lower: compiles.
        placement: the requested placement.
        given: trained full scales.
        drives: what calibration recorded.

    Raises:
        UsageError: there are no samples, or no choice of widths keeps the budget.
    """
    if options.budget is None:
        return options, lower(options, "convert"), {}
    if calibrate is None:
        raise UsageError(
            "--budget chooses widths by the error of the outputs and requires data to measure it",
            code="missing-data",
            hint="give --calibrate; its samples need no labels",
        )
    budget = read_budget(options.budget)
    board = load_target(options.target, MAX_CHIPS)
    n = Meter.n_samples(coding)
    expected = outputs_of(folded, options).expected({}, min(n, len(calibrate)), "")
    widths = tuple(
        bits
        for bits in sorted(target.weight_bits.value, reverse=True)
        if 2 <= bits <= options.number("weight_bits")
    )
    parts = folded, statistics, calibrate, options, coding

    def measured() -> Versions:
        with journal.timed("budget"), journal.passes("widths"):
            encoding, each = at_widths(*parts, widths, given, drives)
            x = calibrate.x[:n]
            meter = Meter(folded, encoding, coding, options, board, x, expected)
            names = layers_with_a_choice(folded, each.widest, options)
            return Versions.measured(meter, each, names, budget)

    versions = journal.recall("budget", Versions, measured)
    if versions.least > budget.limit:
        raise _too_small(budget, versions.least)
    limit, tried = budget.limit, list[float]()
    for number in range(ROUNDS):
        chosen = versions.within(limit) or versions.cheapest
        trial = _with_widths(options, chosen)
        lowered = lower(trial, "convert" if not number else f"convert {number + 1}")
        meter = Meter(folded, lowered.encoding, coding, trial, board, calibrate.x[:n], expected)
        spent = meter.spent(meter.mapped(lowered.program, placement), budget.quantity)
        if spent <= budget.limit:
            outputs = lowered.outputs(meter.x)
            cost, predicted = versions.predicted(chosen)
            answer = Measured(
                tuple(chosen[name] for name in versions.names),
                spent,
                predicted,
                meter.error(outputs),
                meter.points(outputs),
            )
            finding = _finding(budget, answer, cost)
            journal.add_findings([finding])
            journal.observer.stage("budget", finding.message)
            return trial, lowered, {"budget": _entry(budget, versions, answer)}
        tried.append(spent)
        limit -= spent - budget.limit
    raise _too_small(budget, min(tried))


def _with_widths(options: CompileOptions, chosen: Mapping[NodeId, Width]) -> CompileOptions:
    """The options with the width of each layer by its name."""
    added = tuple(
        LayerOptions(re.sub(r"([*?[])", r"[\1]", name), weight_bits=bits)
        for name, bits in chosen.items()
    )
    return options.with_value("layers", (*options.layers, *added), CHOSEN)


def _too_small(budget: Budget, least: float) -> UsageError:
    unit = budget.unit
    return UsageError(
        f"no widths of the layers keep a budget of {budget.limit:,.6g} {unit} of {budget.quantity}",
        code="budget-too-small",
        hint=f"the smallest that was kept is {budget.quantity}={_rounded_up(budget, least)};"
        " fewer steps, another --coding or a smaller network take less",
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
