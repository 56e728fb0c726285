"""The layer with the largest loss, a likely reason, and the option that changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn_compile.report.figures import coding_of, percent

UNRELIABLE = frozenset(
    {
        "not-calibrated",
        "few-samples",
        "constant-samples",
        "distribution-shift",
        "counts-cut",
        "other-normalization",
        "other-colour-order",
        "other-axis-order",
        "no-better-than-guessing",
        "outputs-unlike-labels",
        "labels-shifted",
        "labels-displaced",
        "labels-permuted",
    }
)
"""Warnings that explain a loss by its data: what else might help is not known before they are
heeded."""
_NOTABLE = 0.01
"""Least share of saturated activations or weights to report."""
_UNEVEN = 0.05
"""Least share of mistimed spikes to report."""


def costliest(report: Mapping[str, Any]) -> str:
    """The layer with the largest loss: its loss, a likely reason, and an option to try."""
    judged = [item for item in report.get("layers") or [] if item.get("output_share") is not None]
    if not judged:
        return ""
    worst = max(judged, key=lambda layer: float(layer["output_share"]))
    if worst["output_share"] <= 0:
        return ""
    text = f"{worst['name']}: adds {percent(worst['output_share'])} of the output's error"
    if worst.get("sqnr_db") is not None:
        text += f", signal to noise {worst['sqnr_db']:.1f} dB"
    advice = "" if doubts(report) else _advice(report, worst)
    return f"{text}; {advice}" if advice else text


def doubts(report: Mapping[str, Any]) -> list[str]:
    """Codes of the warnings that explain a loss by its data, each once."""
    codes = (warning["code"] for warning in report.get("warnings") or [])
    return [code for code in dict.fromkeys(codes) if code in UNRELIABLE]


def _advice(report: Mapping[str, Any], layer: Mapping[str, Any]) -> str:
    """The worst figure of a layer, and the option that changes it."""
    coding = coding_of(report)
    if (layer.get("uneven") or 0) >= _UNEVEN:
        return (
            f"{percent(layer['uneven'])} of its spikes are too many or too few because of when they"
            " come: try --coding sync, or more --timesteps"
        )
    if (layer.get("weight_bits") or 8) < 8:
        more = "a larger --budget" if report.get("budget") else "--weight-bits 8"
        return f"its weights have {layer['weight_bits']} bits: try {more}"
    if (layer.get("saturated") or 0) >= _NOTABLE:
        return (
            f"{percent(layer['saturated'])} of its activations are cut off: try --thresholds"
            " percentile:99.99"
        )
    if (layer.get("saturated_weights") or 0) >= _NOTABLE:
        return f"{percent(layer['saturated_weights'])} of its weights saturate"
    if layer.get("sqnr_db") is None:
        return ""
    name = coding.resolution() if coding else ""
    return f"more --{name.replace('_', '-')}" if coding and name in coding.relevant_options else ""
