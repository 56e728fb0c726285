"""Bars of each layer's cores, with their lower bound, and of its energy and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn_compile.report import figures


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


def shares(report: Mapping[str, Any]) -> list[Row]:
    """One row for each placed layer, in the order of the network."""
    resources = report.get("resources") or {}
    placed = _cores(resources.get("per_core") or [])
    bounds = _bounds(resources)
    layers = [layer for layer in report.get("layers") or [] if layer["name"] in placed]
    largest = {
        "cores": max(placed.values(), default=0),
        **{
            name: max((_value(layer, name) or 0.0 for layer in layers), default=0.0)
            for name in ("energy", "time")
        },
    }
    rows = []
    for layer in layers:
        n_cores, bound = placed[layer["name"]], bounds.get(layer["name"])
        text = f"{n_cores:,}" if bound is None else f"{n_cores:,}, bound {bound:.1f}"
        most = largest["cores"]
        cores = Bar(text, n_cores / most, None if bound is None else min(bound / most, 1.0))
        bars = (_bar(layer, name, largest[name]) for name in ("energy", "time"))
        rows.append(Row(layer["name"], cores, *bars))
    return rows


def _cores(per_core: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The number of cores of each layer."""
    placed: dict[str, int] = {}
    for core in per_core:
        for layer in core.get("populations") or ():
            placed[layer] = placed.get(layer, 0) + 1
    return placed


def _bounds(resources: Mapping[str, Any]) -> dict[str, float]:
    """A lower bound of each layer's share of cores, the largest over the limits of a core."""
    found: dict[str, float] = {}
    for entry in (resources.get("lower_bound") or {}).get("layers") or []:
        if entry.get("limit"):
            cores = entry["bound"] / entry["limit"]
            found[entry["layer"]] = max(found.get(entry["layer"], 0.0), cores)
    return found


def _value(layer: Mapping[str, Any], name: str) -> float | None:
    return (layer.get(name) or {}).get("value")


def _bar(layer: Mapping[str, Any], name: str, largest: float) -> Bar | None:
    value = _value(layer, name)
    if value is None:
        return None
    return Bar(figures.estimate({**layer[name], "low": None}), value / largest if largest else 0.0)
