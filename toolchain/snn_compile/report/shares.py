"""Bars of each layer's cores, with their lower bound, and of its energy and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snn_compile.pluralize import pluralize
from snn_compile.report import cost_figures
from snn_compile.report.chip import cores_of_layers


@dataclass(frozen=True)
class Bar:
    """A quantity of one layer.

    Attributes:
        text: the quantity with its unit.
        share: ratio to the largest layer, from 0 to 1.
        bound: lower bound as a ratio to the largest layer; None without one.
    """

    text: str
    share: float
    bound: float | None = None


@dataclass(frozen=True)
class Row:
    """The bars of one layer; None for an unknown quantity."""

    layer: str
    cores: Bar | None
    energy: Bar | None
    time: Bar | None


@dataclass(frozen=True)
class Part:
    """The bars of a kind of event; None for an unknown quantity."""

    name: str
    energy: Bar | None
    time: Bar | None


def shares(report: Mapping[str, Any]) -> list[Row]:
    """One row for each placed layer, in the order of the network."""
    resources = report.get("resources") or {}
    placed = cores_of_layers(resources.get("per_core") or [])
    demands = _demands(resources)
    layers = [layer for layer in report.get("layers") or [] if layer["name"] in placed]
    most = max((used for used, _ in demands.values()), default=0.0)
    largest = {
        name: max((_value(layer, name) or 0.0 for layer in layers), default=0.0)
        for name in ("energy", "time")
    }
    rows = []
    for layer in layers:
        name, cores = layer["name"], None
        if most and name in demands:
            used, bound = demands[name]
            on = pluralize(placed[name], "core")
            cores = Bar(f"{used:.1f}, bound {bound:.1f}, on {on}", used / most, bound / most)
        bars = (_bar(layer, quantity, largest[quantity]) for quantity in largest)
        rows.append(Row(name, cores, *bars))
    return rows


def parts(report: Mapping[str, Any]) -> list[Part]:
    """Energy and time of an inference by what takes them; empty without either."""
    entries = (report.get("cost") or {}).get("parts") or []
    largest = {
        name: max((_value(one, name) or 0.0 for one in entries), default=0.0)
        for name in ("energy", "time")
    }
    return [
        Part(one["part"], *(_bar(one, name, largest[name]) for name in largest)) for one in entries
    ]


def _demands(resources: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Demand of each layer on its tightest limit and the bound of it, in capacities of a core."""
    found: dict[str, tuple[float, float]] = {}
    for entry in (resources.get("lower_bound") or {}).get("layers") or []:
        if entry.get("limit"):
            cores = entry["used"] / entry["limit"], entry["bound"] / entry["limit"]
            found[entry["layer"]] = max(found.get(entry["layer"], (0.0, 0.0)), cores)
    return found


def _value(layer: Mapping[str, Any], name: str) -> float | None:
    return (layer.get(name) or {}).get("value")


def _bar(layer: Mapping[str, Any], name: str, largest: float) -> Bar | None:
    value = _value(layer, name)
    if value is None:
        return None
    return Bar(
        cost_figures.estimate({**layer[name], "low": None}), value / largest if largest else 0.0
    )
