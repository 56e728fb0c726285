"""Where a compilation that lost accuracy lost it: its worst layers, each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from snn_compile.lowering import Lowering
from snn_compile.report import figures
from snn_compile.report.evaluation import Outcome
from snn_compile.report.fixed_layers import fixed_layers
from snn_compile.report.layer_bounds import has_bounds
from snn_compile.samples.rows import Rows

EXPECTED_LOSS = 1.0
"""Points that a network may lose before the report shows where."""
SAMPLES = 8
MOST = 5
"""Layers in the report."""


def has_lost(ladder: Sequence[Mapping[str, Any]], limit: float | None) -> bool:
    """Whether the network in fixed point is worse than the limit, or than expected."""
    report = {"ladder": ladder}
    key = figures.measure(report)
    before, after = (
        figures.reference(report).get(key),
        figures.rung(report, figures.ANSWER).get(key),
    )
    if before is None or after is None:
        return False
    return bool(before - after > (EXPECTED_LOSS if limit is None else min(limit, EXPECTED_LOSS)))


def with_losses(outcome: Outcome, lowered: Lowering, x: Rows) -> Outcome:
    """The outcome with the layers that lose most, in order of the network.

    Nothing is added where layers have no bounds by themselves.
    """
    if not has_bounds(lowered):
        return outcome
    layers = fixed_layers(lowered, x[:SAMPLES])
    judged = [layer for layer in layers if layer.sqnr_db is not None]
    worst = sorted(judged, key=lambda layer: layer.sqnr_db or 0.0)[:MOST]
    losses = [
        {
            "name": layer.name,
            "origin": str(layer.origin),
            "sqnr_db": round(layer.sqnr_db or 0.0, 2),
            "saturated": round(layer.saturated, 6),
            "share": round(layer.share, 3),
            "ours": float(f"{layer.ours:.4g}"),
            "theirs": float(f"{layer.theirs:.4g}"),
        }
        for layer in layers
        if layer in worst
    ]
    return replace(outcome, more={**outcome.more, "losses": losses})
