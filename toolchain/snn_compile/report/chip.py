"""Drawing of the chips, with cores as tiles in the colours of their layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from snn_compile.pluralize import pluralize

WIDTH = 860
_MARGIN, _GAP, _HEADING = 10, 4, 22
_MANY = 224
"""Largest number of cores with a tile each; beyond, neighbours with equal layers share one."""
_SIZES = ((32, 8, 46), (_MANY, 12, 36))
"""Largest number of tiles, columns of the drawing, and height of a tile."""
_GROUPED = (5, 50)
_GOLDEN = 137.508
"""Hue step between layers in degrees, so that neighbouring layers are distinct."""
_LETTER = 6.6
"""Width of a character of the tiles' text."""


@dataclass(frozen=True)
class Tile:
    """A core, or neighbouring cores with the same layers.

    Attributes:
        x: left edge, y: upper edge, width, height: of the rectangle.
        fill: height of the coloured part, proportional to the use of the tightest limit.
        stripes: left edge, width and hue in degrees of each layer on the tile.
        title: core numbers and use in percent.
        layer: names of the layers, shortened to the width of the tile.
    """

    x: float
    y: float
    width: float
    height: float
    fill: float
    stripes: tuple[tuple[float, float, float], ...]
    title: str
    layer: str


@dataclass(frozen=True)
class Board:
    """The frame of a chip."""

    y: float
    height: float
    label: str


@dataclass(frozen=True)
class Chips:
    """The drawing.

    Attributes:
        height: of the drawing.
        boards: the chips in use.
        tiles: of their cores.
        legend: hue, name and cores of each layer.
        rows: the tiles in words: chip, cores, layers, use of the tightest limit in percent.
    """

    height: float
    boards: tuple[Board, ...]
    tiles: tuple[Tile, ...]
    legend: tuple[tuple[float, str, str], ...]
    rows: tuple[tuple[int, str, str, str], ...] = ()


@dataclass(frozen=True)
class _Group:
    """Cores that share a tile."""

    chip: int
    layers: tuple[str, ...]
    first: int
    last: int
    low: float
    high: float

    @property
    def cores(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"

    @property
    def use(self) -> str:
        low, high = f"{self.low:.0f}", f"{self.high:.0f}"
        return high if self.first == self.last or low == high else f"{low} to {high}"

    @property
    def title(self) -> str:
        return f"{self.cores}: {self.use} %"


def chips(report: Mapping[str, Any]) -> Chips | None:
    """The drawing of a report; None without placed cores."""
    cores = [
        core
        for core in (report.get("resources") or {}).get("per_core") or []
        if core.get("populations")
    ]
    if not cores:
        return None
    groups = list(_groups(cores))
    colours = hues(report)
    boards, tiles, height = _lay_out(groups, colours)
    placed = cores_of_layers(cores)
    legend = tuple((hue, name, pluralize(placed[name], "core")) for name, hue in colours.items())
    rows = tuple((one.chip, one.cores, ", ".join(one.layers), one.use) for one in groups)
    return Chips(height, boards, tiles, legend, rows)


def cores_of_layers(per_core: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """The number of cores of each layer."""
    return Counter(layer for core in per_core for layer in core.get("populations") or ())


def hues(report: Mapping[str, Any]) -> dict[str, float]:
    """The hue in degrees of each placed layer, in the order of the network."""
    cores = (report.get("resources") or {}).get("per_core") or []
    placed = {layer for core in cores for layer in core.get("populations") or ()}
    names = [layer["name"] for layer in report.get("layers") or [] if layer["name"] in placed]
    names += sorted(placed - set(names))
    return {name: round(index * _GOLDEN % 360, 1) for index, name in enumerate(names)}


def _groups(cores: Sequence[Mapping[str, Any]]) -> Iterator[_Group]:
    """One group for each core or, with many cores, for neighbours with equal layers."""
    one_each = len(cores) <= _MANY

    def key(core: Mapping[str, Any]) -> tuple[Any, ...]:
        chip, layers = core.get("chip") or 0, tuple(core["populations"])
        return (chip, layers, core.get("core")) if one_each else (chip, layers)

    for _, same in groupby(cores, key):
        members = list(same)
        full = [float(core.get("percent") or 0.0) for core in members]
        numbers = [int(core.get("core") or 0) for core in members]
        chip, layers = members[0].get("chip") or 0, tuple(members[0]["populations"])
        yield _Group(chip, layers, numbers[0], numbers[-1], min(full), max(full))


def _lay_out(
    groups: Sequence[_Group], colours: Mapping[str, float]
) -> tuple[tuple[Board, ...], tuple[Tile, ...], float]:
    """The tiles, row by row in the frames of their chips."""
    grouped = any(group.first != group.last for group in groups)
    sizes = [(columns, tall) for most, columns, tall in _SIZES if len(groups) <= most]
    columns, tall = _GROUPED if grouped or not sizes else sizes[0]
    wide = (WIDTH - 2 * _MARGIN - (columns - 1) * _GAP) / columns
    boards, tiles, y = [], [], 0.0
    for chip, members in groupby(groups, lambda group: group.chip):
        on_chip = list(members)
        rows = math.ceil(len(on_chip) / columns)
        height = _HEADING + rows * (tall + _GAP) + _MARGIN
        n_cores = sum(group.last - group.first + 1 for group in on_chip)
        boards.append(Board(y, height, f"chip {chip} · {pluralize(n_cores, 'core')}"))
        for index, group in enumerate(on_chip):
            row, column = divmod(index, columns)
            x = _MARGIN + column * (wide + _GAP)
            own = [colours[name] for name in group.layers]
            part = wide / len(own)
            tiles.append(
                Tile(
                    round(x, 1),
                    round(y + _HEADING + row * (tall + _GAP), 1),
                    round(wide, 1),
                    tall,
                    round(tall * min(max(group.high, 2.0), 100.0) / 100, 1),
                    tuple((round(x + i * part, 1), round(part, 1), h) for i, h in enumerate(own)),
                    group.title,
                    _shorten(group.layers, int((wide - 6) / _LETTER)),
                )
            )
        y += height + 8
    return tuple(boards), tuple(tiles), y


def _shorten(layers: Sequence[str], room: int) -> str:
    """The name of the first layer and the number of others, in at most ``room`` characters."""
    more = f" +{len(layers) - 1}" if len(layers) > 1 else ""
    name, left = layers[0], room - len(more)
    if len(name) > left:
        name = name.rpartition("/")[2]
    return (name if len(name) <= left else "…" + name[2 - left :]) + more  # as wide as two
