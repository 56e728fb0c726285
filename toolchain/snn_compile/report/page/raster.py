"""Messages of a few neurons of each layer in time, for each sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from snn_compile.pluralize import pluralize
from snn_compile.report import figures
from snn_compile.report.observed_schema import NEGATIVE, NOTHING, POSITIVE

WIDTH, LEFT, TOP = 860, 150, 22
_NEURON, _GAP, _SHORTEST = 5, 7, 14
"""Height of a neuron, between layers, and least of a layer, whose name stands beside it."""
_LETTERS = 19
_STRENGTHS = ("weak", "medium", "strong")


@dataclass(frozen=True)
class Band:
    """A layer: its name, vertical middle and extent, and the paths of its messages by class."""

    name: str
    middle: float
    y: float
    height: float
    paths: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sample:
    """One sample: its bands, and all of it in words."""

    title: str
    bands: tuple[Band, ...]
    words: str


@dataclass(frozen=True)
class Raster:
    """The drawings of all samples.

    Attributes:
        samples: one drawing each.
        columns: time steps of the chip.
        step: width of a column.
        height: of a drawing.
        bottom: of its bands.
        ticks: x and label of some steps.
        steps: what each step has, in words.
        signed: whether there are messages below 0.
        sized: whether messages have sizes.
        neuron: height of a message.
        n_shown: neurons in a drawing, n_layers: layers.
        n_layers: see n_shown.
    """

    samples: tuple[Sample, ...]
    columns: int
    step: float
    height: float
    bottom: float
    ticks: tuple[tuple[float, str], ...]
    steps: tuple[str, ...]
    signed: bool
    sized: bool
    neuron: int
    n_shown: int
    n_layers: int


def raster(report: Mapping[str, Any]) -> Raster | None:
    """The raster of a report; None without one."""
    found = report.get("raster")
    if not found or not found["layers"]:
        return None
    layers: Sequence[Mapping[str, Any]] = found["layers"]
    starts = [one["start"] for one in (*layers, found.get("answers") or layers[0])]
    columns = max(starts) + found["steps"]
    y = float(TOP)
    places = []
    for layer in layers:
        height = max(_NEURON * len(layer["shown"]), _SHORTEST)
        places.append((y, height))
        y += height + _GAP
    samples = [_sample(layers, places, index, found["steps"]) for index in range(found["samples"])]
    step = (WIDTH - LEFT) / columns
    every = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1 << 20) if n * step >= 26)
    ticks = [(round(LEFT + k * step, 1), str(k)) for k in range(0, columns, every)]
    texts = [row for layer in layers for rows in layer["rows"] for row in rows]
    used = set().union(*texts) if texts else set()
    return Raster(
        tuple(samples),
        columns,
        round(step, 4),
        y + 4,
        y - _GAP,
        tuple(ticks),
        tuple(_steps(report, found, columns)),
        bool(used & set(NEGATIVE)),
        len(used - {NOTHING}) > 1,
        _NEURON,
        sum(len(layer["shown"]) for layer in layers),
        len(layers),
    )


def _sample(
    layers: Sequence[Mapping[str, Any]],
    places: Sequence[tuple[float, float]],
    index: int,
    steps: int,
) -> Sample:
    bands, words = [], []
    for layer, (y, height) in zip(layers, places, strict=True):
        rows = [row[:steps] for row in layer["rows"][index]]
        paths: dict[str, list[str]] = {}
        for k, row in enumerate(rows):
            middle = y + _NEURON * (k + 0.5)
            for kind, start, length in _runs(row):
                paths.setdefault(kind, []).append(f"M{layer['start'] + start} {middle:g}h{length}")
        joined = tuple((kind, "".join(parts)) for kind, parts in sorted(paths.items()))
        name, middle = _shorten(layer["layer"]), round(y + height / 2 + 4, 1)
        bands.append(Band(name, middle, y, height, joined))
        n = sum(steps - row.count(NOTHING) for row in rows)
        words.append(f"{layer['layer']} {n}")
    text = f"messages of the neurons shown: {', '.join(words)}"
    return Sample(f"sample {index}", tuple(bands), text)


def _runs(row: str) -> Iterator[tuple[str, int, int]]:
    """Class of strength, first step and length of successive messages of equal strength."""
    start = 0
    for kind, same in groupby(row, _strength):
        length = sum(1 for _ in same)
        if kind:
            yield kind, start, length
        start += length


def _strength(character: str) -> str:
    if character == NOTHING:
        return ""
    if character in POSITIVE:
        return _STRENGTHS[POSITIVE.index(character) // 3]
    if character in NEGATIVE:
        return f"below {_STRENGTHS[NEGATIVE.index(character) // 3]}"
    return ""


def _steps(report: Mapping[str, Any], found: Mapping[str, Any], columns: int) -> Iterator[str]:
    """What happens in each time step of the chip, over all samples."""
    counts = [[0] * columns for _ in range(found["samples"])]
    for layer in found["layers"]:
        for sample, rows in zip(counts, layer["rows"], strict=True):
            for row in rows:
                for step, character in enumerate(row[: found["steps"]]):
                    sample[layer["start"] + step] += character != NOTHING
    answers = found.get("answers") or {"start": 0, "classes": []}
    names = figures.option(report, "labels")
    for step in range(columns):
        parts = [f"{pluralize(sample[step], 'message')}" for sample in counts]
        text = ", ".join(f"sample {k}: {part}" for k, part in enumerate(parts))
        after = step - answers["start"]
        if answers["classes"] and 0 <= after < found["steps"]:
            classes = (class_name(names, answer[after]) for answer in answers["classes"])
            text += f"; largest outputs: {', '.join(classes)}"
        yield f"step {step} of {columns - 1}: {text}"


def class_name(names: Any, index: int) -> str:
    """A class by its name, if the data name it."""
    if isinstance(names, list | tuple) and 0 <= index < len(names):
        return str(names[index])
    return str(index)


def _shorten(name: str) -> str:
    return name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"
