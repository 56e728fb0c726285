"""Formatting of estimates: energy, latency and throughput with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn_compile.report import figures

_BASES = {"us": (1e-6, "s")}
_PREFIXES = ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n"), (1e12, "p"))


def estimate(value: Mapping[str, Any] | None) -> str:
    """An estimate with its interval, or nothing: 0.21 (0.15 to 0.34) mJ."""
    if not value or value.get("value") is None:
        return ""
    best, interval, unit = scaled(value)
    return " ".join(part for part in (best, interval and f"({interval})", unit) if part)


def scaled(value: Mapping[str, Any]) -> tuple[str, str, str]:
    """An estimate's best value, its interval and the unit that suits their size."""
    factor, unit = 1.0, str(value.get("unit", ""))
    base, unit = _BASES.get(unit, (1.0, unit))
    if unit in ("J", "s") and value["value"]:
        fitting = (item for item in _PREFIXES if abs(base * value["value"]) * item[0] >= 0.1)
        factor, prefix = next(fitting, _PREFIXES[-1])
        factor, unit = base * factor, prefix + unit
    low, high = value.get("low"), value.get("high")
    interval = ""
    if low is not None and high is not None:
        interval = f"{low * factor:.3g} to {high * factor:.3g}"
    return f"{value['value'] * factor:.3g}", interval, unit


def cost(report: Mapping[str, Any]) -> str:
    """The cost of one inference, in a line."""
    known = report.get("cost") or {}
    parts = []
    if known.get("spikes_per_inference") is not None:
        parts.append(f"{figures.short(known['spikes_per_inference'])} spikes")
    if known.get("synops_per_inference") is not None:
        parts.append(f"{figures.short(known['synops_per_inference'])} synaptic operations")
    energy = known.get("energy") or {}
    if text := estimate(energy):
        static = estimate({**energy["static"], "low": None}) if energy.get("static") else ""
        parts.append(text + (f", {static} static" if static else ""))
    if text := estimate(known.get("latency")):
        parts.append(text)
    if throughput := known.get("throughput"):
        parts.append(
            f"{figures.short(throughput['value'])} inferences/s, limited by {limiting(report)}"
        )
    if interval := _interval(known):
        parts.append(interval)
    return " · ".join(parts)


def limiting(report: Mapping[str, Any]) -> str:
    """The resource that limits the throughput, as words for a message."""
    binding = (report.get("cost") or {}).get("binding") or {}
    if binding.get("resource") != "core":
        return {"host input": "the host's input", "link": "a link between chips"}.get(
            binding.get("resource", ""), "an unknown resource"
        )
    return f"core {binding['core']}"


def _interval(cost: Mapping[str, Any]) -> str:
    """The meaning of the intervals in parentheses, and the file of their constants."""
    for name in ("energy", "latency"):
        value = cost.get(name) or {}
        if value.get("low") is not None:
            source = str(value.get("source") or "").partition(":")[0]
            return f"(range of cited constants{f': {source}' if source else ''})"
    return ""
