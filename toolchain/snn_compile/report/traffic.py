"""Drawing of the traffic between layers: layers in a row, and an arc for each link."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snn_compile.report import figures
from snn_compile.report.chip import WIDTH, hues

_LEFT, _RIGHT, _BELOW = 60, 40, 96
_WIDEST = 96.0
"""Largest distance of two layers."""
_LETTERS = 18
"""Most characters of a layer's name."""
_STEEP = 0.62
"""Height of an arc as a share of its span."""
_HIGHEST = 200.0
_HEAVIEST = 12.0
"""Width of the link with the most traffic."""
_SHOWN = 8
"""Number of links in the table."""


@dataclass(frozen=True)
class Stop:
    """A layer: its position, hue in degrees and name; the input has no hue."""

    x: float
    hue: float | None
    name: str


@dataclass(frozen=True)
class Arc:
    """A link: its path, its width by the square root of the traffic, and its description."""

    path: str
    width: float
    words: str


@dataclass(frozen=True)
class Traffic:
    """The drawing and the table below it.

    Attributes:
        height: of the drawing.
        base: height of the row of layers.
        stops: the layers.
        arcs: the links.
        links: source, target and messages of the links with the most traffic.
        others: number of links that the table leaves out.
        unit: the quantity that the links count.
    """

    height: float
    base: float
    stops: tuple[Stop, ...]
    arcs: tuple[Arc, ...]
    links: tuple[tuple[str, str, str], ...]
    others: int
    unit: str


def traffic(report: Mapping[str, Any]) -> Traffic | None:
    """The traffic of a report; None without links."""
    links, unit = _messages(report)
    if not links:
        return None
    colours = hues(report)
    sources = [source for source, _, _ in links if source not in colours]
    names = [*dict.fromkeys(sources), *colours]
    gap = min((WIDTH - _LEFT - _RIGHT) / max(len(names) - 1, 1), _WIDEST)
    place = {name: round(_LEFT + index * gap, 1) for index, name in enumerate(names)}
    spans = [abs(place[target] - place[source]) for source, target, _ in links]
    base = round(min(_STEEP * max(spans), _HIGHEST) + _HEAVIEST, 1)
    heaviest = max(n for _, _, n in links) or 1.0
    arcs = []
    for (source, target, n), span in zip(links, spans, strict=True):
        x0, x1 = place[source], place[target]
        high = round(base - 4 / 3 * min(_STEEP * span, _HIGHEST), 1)
        width = round(max(_HEAVIEST * math.sqrt(max(n / heaviest, 0.0)), 0.6), 1)
        words = f"{source} to {target}: {figures.short(n)} {unit}"
        arcs.append(Arc(f"M{x0},{base} C{x0},{high} {x1},{high} {x1},{base}", width, words))
    heavy = sorted(links, key=lambda link: -link[2])
    return Traffic(
        base + _BELOW,
        base,
        tuple(Stop(place[name], colours.get(name), _shorten(name)) for name in names),
        tuple(arcs),
        tuple((source, target, figures.short(n)) for source, target, n in heavy[:_SHOWN]),
        max(len(heavy) - _SHOWN, 0),
        unit,
    )


def _shorten(name: str) -> str:
    return name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"


def _messages(report: Mapping[str, Any]) -> tuple[list[tuple[str, str, float]], str]:
    """Source, target and messages of each link, and the name of that quantity."""
    entries = (report.get("resources") or {}).get("links") or []
    sent = {
        layer["name"]: layer["spikes_per_inference"] / layer["neurons"]
        for layer in report.get("layers") or []
        if layer.get("spikes_per_inference") is not None and layer.get("neurons")
    }
    unit = "messages per inference" if sent else "messages if every neuron sends one"
    links = [
        (link["source"], link["target"], link["axons"] * sent.get(link["source"], 1.0))
        for link in entries
    ]
    return links, unit
