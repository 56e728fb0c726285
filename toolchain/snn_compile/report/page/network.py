"""The network as a list of layers, with their connections drawn beside it.

Every layer is a dot below the one before it. What a layer passes to the next one is a straight
line; what it passes further down runs to the left, in a lane of its own. The list is text at the
reader's size, so it holds its shape on any width, and only the lines are a drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn_compile.report import figures

ROW = 42
"""Height of a layer in CSS pixels."""
_LANE, _WIDEST = 11.0, 120.0
"""Distance of two lanes, and the most that all take."""
_EDGE = 8.0
"""From the dots to the right end of the drawing."""
_BEND = 10.0


@dataclass(frozen=True)
class Stop:
    """A layer or an input.

    Attributes:
        y: of its dot.
        name: of the layer.
        link: id of the layer's section; empty for an input.
        words: operator, shape, fan-in.
        reads: names of what it reads.
        kind: ``input``, ``join``, ``relay``, ``readout`` or ``layer``.
    """

    y: float
    name: str
    link: str
    words: str
    reads: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Network:
    """The list and its drawing.

    Attributes:
        stops: inputs and layers, in order.
        paths: of the connections.
        x: of the dots.
        width: of the drawing; height likewise.
        height: see width.
        row: height of a layer.
    """

    stops: tuple[Stop, ...]
    paths: tuple[str, ...]
    x: float
    width: float
    height: float
    row: int = ROW


def section_of(index: int) -> str:
    """The id of a layer's section; names of layers are not fit for it."""
    return f"layer-{index}"


def network(report: Mapping[str, Any]) -> Network | None:
    """The network of a report; None if it does not say what its layers read."""
    layers: Sequence[Mapping[str, Any]] = report.get("layers") or []
    sources = _sources(report, layers)
    if not any(sources.values()):
        return None
    known = {layer["name"] for layer in layers}
    inputs = dict.fromkeys(one for each in sources.values() for one in each if one not in known)
    order = {name: row for row, name in enumerate([*inputs, *(one["name"] for one in layers)])}
    lanes = _lanes(order, sources)
    gap = min(_LANE, _WIDEST / max(len(set(lanes.values())), 1))
    width = gap * (max(lanes.values(), default=-1) + 1) + 2 * _EDGE
    x = round(width - _EDGE, 1)
    paths = [
        _path(x, gap, lanes.get(source, 0), order[source], order[name])
        for name, each in sources.items()
        for source in each
        if order[source] < order[name]
    ]
    stops = [
        Stop(_y(order[name]), name, "", _shape_of(report, name), (), "input") for name in inputs
    ]
    read = {source for each in sources.values() for source in each}
    for index, layer in enumerate(layers):
        name = layer["name"]
        kind = _kind(layer, len(sources[name]), name in read)
        words = _words(layer)
        stops.append(
            Stop(_y(order[name]), name, section_of(index), words, tuple(sources[name]), kind)
        )
    return Network(tuple(stops), tuple(paths), x, round(width, 1), float(ROW * len(order)))


def _sources(
    report: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """What each layer reads; of older reports the links between placed layers."""
    found: dict[str, list[str]] = {
        layer["name"]: list(dict.fromkeys(layer.get("sources") or [])) for layer in layers
    }
    if not any(found.values()):
        for link in (report.get("resources") or {}).get("links") or []:
            if link["target"] in found and link["source"] not in found[link["target"]]:
                found[link["target"]].append(link["source"])
    return found


def _kind(layer: Mapping[str, Any], n_sources: int, is_read: bool) -> str:
    if layer.get("relay"):
        return "relay"
    if not is_read:
        return "readout"
    return "join" if n_sources > 1 or str(layer.get("op")).endswith(" join") else "layer"


def _words(layer: Mapping[str, Any]) -> str:
    parts = [str(layer.get("op") or ""), figures.times(layer.get("shape") or [])]
    if layer.get("fan_in") is not None:
        parts.append(f"fan-in {layer['fan_in']:,}")
    return " · ".join(part for part in parts if part)


def _shape_of(report: Mapping[str, Any], name: str) -> str:
    """Shape of an input."""
    for one in report.get("inputs") or []:
        if one["name"] == name:
            return figures.times(one["shape"])
    shape = (report.get("model") or {}).get("input_shape")
    return figures.times(shape) if shape and not report.get("inputs") else ""


def _lanes(order: Mapping[str, int], sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The lane of each source that is read further down than in the next row, 0 being the inner."""
    last: dict[str, int] = {}
    for name, each in sources.items():
        for source in each:
            if order[name] > order[source] + 1:
                last[source] = max(last.get(source, 0), order[name])
    taken: list[int] = []  # the row until which each lane is taken
    found = {}
    for source in sorted(last, key=order.__getitem__):
        free = (lane for lane, until in enumerate(taken) if until <= order[source])
        lane = next(free, len(taken))
        taken[lane : lane + 1] = [last[source]]
        found[source] = lane
    return found


def _path(x: float, gap: float, lane: int, first: int, last: int) -> str:
    """From the dot of one row to that of a later one."""
    above, below = _y(first), _y(last)
    if last == first + 1:
        return f"M{x},{above}V{below}"
    left = round(x - gap * (lane + 1), 1)
    return (
        f"M{x},{above}C{x},{above + _BEND} {left},{above + _BEND / 2} {left},{above + 2 * _BEND}"
        f"V{below - 2 * _BEND}C{left},{below - _BEND / 2} {x},{below - _BEND} {x},{below}"
    )


def _y(row: int) -> float:
    return ROW * (row + 0.5)
