"""Answers of the outputs: in time, by class, and where compilation changed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn_compile.report import figures
from snn_compile.report.drawing import layout, path
from snn_compile.report.page.raster import class_name

_STRONGEST = 100
_LABELLED = 6
"""Most steps with a label."""


@dataclass(frozen=True)
class InTime:
    """Percentages of an output after each step.

    Attributes:
        output: its name.
        n: number of samples.
        ticks: heights of the grid lines with their labels.
        marks: x and label of some steps.
        lines: what is drawn, its class and its path.
        rows: step and percentages of each line.
    """

    output: str
    n: int
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, str], ...]
    lines: tuple[tuple[str, str, str], ...]
    rows: tuple[tuple[int, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Cell:
    """Count of a pair of label and answer, and how strong its colour is, from 0 to 100."""

    count: int
    strength: int


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix.

    Attributes:
        names: of the classes.
        rows: counts of each label, by answers.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Score:
    """A class with its score before and in fixed point; whether it is the answer of either."""

    name: str
    before: str
    fixed: str
    is_before: bool
    is_fixed: bool


@dataclass(frozen=True)
class ChangedSample:
    """A sample that got another class.

    Attributes:
        sample: its index.
        image: as a data URI; empty without one.
        label: its class, if known.
        before: class of the first stage, fixed: in fixed point.
        fixed: see before.
        verdict: what the change did to the accuracy.
        scores: of a few classes.
    """

    sample: int
    image: str
    label: str
    before: str
    fixed: str
    verdict: str
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class OutputAnswers:
    """The answers of one output.

    Attributes:
        name: of the output.
        in_time: percentages after each step, or None.
        matrix: confusion of few classes, or None.
        mistakes: the most frequent ones of many classes: label, answer, count.
        n_changed: samples with another class than before; None if unknown.
        lost: what the changes did to the accuracy.
        changed: the first of them.
    """

    name: str
    in_time: InTime | None
    matrix: Matrix | None
    mistakes: tuple[tuple[str, str, int], ...]
    n_changed: int | None
    lost: str
    changed: tuple[ChangedSample, ...]


def answers(report: Mapping[str, Any]) -> tuple[OutputAnswers, ...]:
    """The answers of each output that has classes, as far as the report keeps them."""
    names = figures.option(report, "labels")
    curves = {curve["output"]: curve for curve in report.get("over_time") or []}
    found = []
    for output in report.get("outputs") or []:
        confusion, changed = output.get("confusion") or {}, output.get("changed")
        curve = curves.get(output["name"])
        if not confusion and changed is None and curve is None:
            continue
        counts = confusion.get("counts")
        mistakes = tuple(
            (class_name(names, label), class_name(names, answer), n)
            for label, answer, n in confusion.get("mistakes") or []
        )
        found.append(
            OutputAnswers(
                output["name"],
                None if curve is None else _in_time(curve),
                None if counts is None else _matrix(counts, names),
                mistakes,
                None if changed is None else changed["n"],
                "" if changed is None else _lost(changed),
                tuple(_changed(one, names) for one in (changed or {}).get("samples") or []),
            )
        )
    return tuple(found)


def _in_time(curve: Mapping[str, Any]) -> InTime:
    both = {"agreement": curve["agreement"]}
    if curve.get("top1"):
        both = {"top-1 accuracy": curve["top1"], **both}
    drawing = layout([value for values in both.values() for value in values], 0.1)
    n = len(curve["agreement"])
    evenly = layout(curve["agreement"], 0.1).places
    xs = [x for x, _ in evenly]
    heights = [y for _, y in drawing.places]
    lines = []
    for index, name in enumerate(both):
        ys = heights[index * n : (index + 1) * n]
        lines.append((name, f"line-{index}", path(zip(xs, ys, strict=True))))
    every = max(1, -(-n // _LABELLED))
    shown = sorted({*range(every - 1, n, every), 0, n - 1})
    return InTime(
        curve["output"],
        curve["n"],
        drawing.ticks,
        tuple((xs[step], str(step + 1)) for step in shown),
        tuple(lines),
        tuple((step + 1, tuple(v[step] for v in both.values())) for step in range(n)),
    )


def _matrix(counts: Sequence[Sequence[int]], names: Any) -> Matrix:
    """Colours by the share of a label's samples."""
    rows = []
    for row in counts:
        total = max(sum(row), 1)
        rows.append(tuple(Cell(n, round(_STRONGEST * n / total)) for n in row))
    return Matrix(tuple(class_name(names, index) for index in range(len(counts))), tuple(rows))


def _lost(changed: Mapping[str, Any]) -> str:
    if changed.get("lost") is None or not changed["n"]:
        return ""
    other = changed["n"] - changed["lost"] - changed["gained"]
    return (
        f"{changed['lost']:,} of them were right before, {changed['gained']:,} are right now,"
        f" {other:,} neither"
    )


def _changed(one: Mapping[str, Any], names: Any) -> ChangedSample:
    label, verdict = one["label"], ""
    if label is not None:
        right = {one["before"]: "right before", one["fixed"]: "right now"}
        verdict = right.get(label, "wrong both times")
    scores = tuple(
        Score(
            class_name(names, int(index)),
            figures.number(float(before)),
            figures.number(float(fixed)),
            int(index) == one["before"],
            int(index) == one["fixed"],
        )
        for index, before, fixed in one["scores"]
    )
    return ChangedSample(
        one["sample"],
        one.get("image", ""),
        "" if label is None else class_name(names, label),
        class_name(names, one["before"]),
        class_name(names, one["fixed"]),
        verdict,
        scores,
    )
