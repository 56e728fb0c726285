"""Limits that a compiled network is held to, and what breaks them.

Estimates are judged by their value, not by an end of the range of cited constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn_compile.errors import AccuracyError, CompileError, LimitError, Origin
from snn_compile.options import CompileOptions
from snn_compile.report import advice, figures, metrics

MEASURED = ("max_energy", "max_latency")
"""Limits of figures that only samples give."""
LIMITS = ("max_accuracy_drop", *MEASURED, "max_cores")
"""The options, in the order in which they are judged."""


def broken(
    report: Mapping[str, Any], options: CompileOptions, file: str
) -> dict[str, list[CompileError]]:
    """The complaints of each limit that is set; none where it is kept.

    Args:
        report: of the network.
        options: with the limits.
        file: that was compiled, as the user named it.
    """
    found: dict[str, list[CompileError]] = {}
    if options.max_accuracy_drop is not None:
        found["max_accuracy_drop"] = accuracy(report, options.max_accuracy_drop, file)
    cost, resources = report.get("cost") or {}, report.get("resources") or {}
    energy, latency = cost.get("energy") or {}, cost.get("latency") or {}
    joules: float | None = energy.get("value")
    for name, what, unit, value in (
        ("max_energy", "the dynamic energy of an inference", "µJ", joules and 1e6 * joules),
        ("max_latency", "the latency of an inference", "µs", latency.get("value")),
        ("max_cores", "the number of cores", "", resources.get("cores")),
    ):
        limit = getattr(options, name)
        if limit is not None:
            found[name] = _over(what, unit, value, limit, file)
    return found


def _over(what: str, unit: str, value: float | None, limit: float, file: str) -> list[CompileError]:
    if value is not None and value <= limit:
        return []
    if value is None:
        message, code = f"{what} is not known", "unmeasurable"
        hint = "give --evaluate, and a target with constants of energy and time"
    else:
        message, code = f"{what} is {value:.6g}; the limit is {limit:.6g}", "over-limit"
        if unit:
            message = f"{what} is {value:.6g} {unit}; the limit is {limit:.6g} {unit}"
        hint = "fewer bits, fewer steps, or another coding; a sweep shows what each costs"
    return [LimitError(message, code=code, origin=Origin(file), hint=hint)]


def accuracy(report: Mapping[str, Any], limit: float, file: str) -> list[CompileError]:
    """Outputs that have lost more than the limit."""
    if not report.get("ladder"):
        return []
    rungs = figures.reference(report), figures.rung(report, figures.ANSWER)
    if host := figures.rung(report, figures.HOST):
        rungs = host["before"], host
    origin = figures.origin_of(report)
    advised = "more bits, more steps, other thresholds; the report names the costliest layer"
    if doubts := advice.doubts(report):
        advised = f"first heed the warnings: {', '.join(doubts)}"
    errors: list[CompileError] = []
    for before, after in zip(*map(metrics.of_rung, rungs), strict=True):
        of_output = f" of '{before['name']}'" if before["name"] else ""
        lost, one, other = metrics.points_lost(before, after), *map(metrics.score, (before, after))
        if lost is None:
            message = f"the loss{of_output} cannot be measured: its values do not vary"
            hint = "give more samples with --evaluate"
            errors.append(AccuracyError(message, code="unmeasurable", hint=hint))
        elif lost > limit:
            what = figures.in_words(metrics.measure(before), before.get("of", "")).format(origin)
            errors.append(
                AccuracyError(
                    f"{what}{of_output} fell from {one:.2f} to {other:.2f}, by {lost:.2f} points;"
                    f" the limit is {limit:g}",
                    hint=advised,
                )
            )
    for error in errors:
        error.origin = Origin(file)
    return errors
