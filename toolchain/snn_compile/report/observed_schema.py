"""The structure of what ``report.json`` keeps of integers, messages and answers for its page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, NotRequired, TypedDict

IMAGE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")
NOTHING, POSITIVE, NEGATIVE = ".", "123456789", "abcdefghi"
"""A message in a raster: none, or its size in ninths of the layer's largest, by its sign."""
MOST_SAMPLES, MOST_STEPS, MOST_START = 16, 1 << 12, 1 << 16
"""Of a raster: samples, steps, and the step in which a window begins."""
_MESSAGES = re.compile(rf"[{NOTHING}{POSITIVE}{NEGATIVE}]*")
MOST_BINS, MOST_BITS, MOST_CLASSES = 256, 256, 64
"""Most bins of a histogram, logarithm of a value in one, and classes of a confusion matrix."""


class Histogram(TypedDict):
    """Counts of values: bin i holds those from ``low + i * width`` to below the next one's.

    ``high`` is the largest value that is possible, where the last bin reaches beyond it.
    ``zeros`` are values 0, which are in no bin then. ``log2``: bins are of logarithms to base 2.
    """

    low: float
    width: float
    high: NotRequired[float]
    counts: list[int]
    zeros: NotRequired[int]
    log2: NotRequired[bool]


class Activations(TypedDict):
    """The activations of a layer on its levels: counts of spikes, or payloads."""

    layer: str
    samples: int
    histogram: Histogram


class RasterLayer(TypedDict):
    """Messages of some neurons of a layer.

    ``start``: the step of the chip in which the layer's window begins. ``shown``: indices among its
    ``neurons``. ``rows``: for each sample and each of these neurons a text with a character for
    each step (``NOTHING``, ``POSITIVE``, ``NEGATIVE``).
    """

    layer: str
    start: int
    neurons: int
    shown: list[int]
    rows: list[list[str]]


class AnswersInTime(TypedDict):
    """The class of the first output after each step of its window, of each sample.

    ``start``: the step of the chip in which that window begins.
    """

    start: int
    classes: list[list[int]]


class Raster(TypedDict):
    """Messages in time, of the first ``samples`` samples; ``steps`` of a layer's window."""

    samples: int
    steps: int
    layers: list[RasterLayer]
    answers: NotRequired[AnswersInTime]


class OverTime(TypedDict):
    """Percentages of the first ``n`` samples after each step, read from the potentials."""

    output: str
    n: int
    top1: list[float] | None
    agreement: list[float]


class Confusion(TypedDict):
    """How often each label got each answer: all counts, or the most frequent mistakes.

    ``mistakes``: label, answer, count.
    """

    counts: NotRequired[list[list[int]]]
    mistakes: NotRequired[list[list[int]]]


class ChangedSample(TypedDict):
    """A sample that got another class; ``scores``: class, score before, score in fixed point."""

    sample: int
    label: int | None
    before: int
    fixed: int
    scores: list[list[float]]
    image: NotRequired[str]


class Changed(TypedDict):
    """Samples whose class in fixed point is not that of the first stage.

    ``gained`` are those that fixed point got right, ``lost`` those that the first stage did.
    """

    n: int
    gained: int | None
    lost: int | None
    samples: list[ChangedSample]


def wrong_observed(report: Mapping[str, Any]) -> str:
    """What the page cannot show of what was observed; empty if there is nothing."""
    return next(_complaints(report), "")


def _complaints(report: Mapping[str, Any]) -> Iterator[str]:
    for layer in report.get("layers") or []:
        for name in ("weights", "thresholds"):
            if (found := layer.get(f"{name}_histogram")) and not _is_histogram(found):
                yield f"the histogram of {name} of layer '{layer['name']}' is damaged"
    for one in report.get("activations") or []:
        if not _is_histogram(one["histogram"]):
            yield f"the histogram of activations of layer '{one['layer']}' is damaged"
    raster = report.get("raster")
    if raster and not _is_raster(raster):
        yield "the spike raster is damaged"
    for curve in report.get("over_time") or []:
        top1, agreement = curve["top1"], curve["agreement"]
        each = [*agreement, *(top1 or [])]
        if not agreement or not all(0 <= value <= 100 for value in each):
            yield "the accuracy over time is damaged"
        if top1 is not None and len(top1) != len(agreement):
            yield "the accuracy over time is damaged"
    for output in report.get("outputs") or []:
        if (confusion := output.get("confusion")) and not _is_confusion(confusion):
            yield f"the confusion matrix of output '{output['name']}' is damaged"
        for sample in (output.get("changed") or {}).get("samples", ()):
            if "image" in sample and not IMAGE.fullmatch(sample["image"]):
                yield f"output '{output['name']}' has an image that is no PNG"
            if not all(len(score) == 3 for score in sample["scores"]):
                yield f"output '{output['name']}' lacks scores of a changed sample"


def _is_histogram(found: Mapping[str, Any]) -> bool:
    counts = found["counts"]
    numbers = (found["low"], found["width"], found.get("high", 0.0))
    fits = 0 < len(counts) <= MOST_BINS and min(counts) >= 0 and found.get("zeros", 0) >= 0
    if found.get("log2") and not 0 <= found["low"] + len(counts) * found["width"] <= MOST_BITS:
        return False
    return fits and all(isfinite(one) for one in numbers) and found["width"] > 0


def _is_raster(raster: Mapping[str, Any]) -> bool:
    n, steps = raster["samples"], raster["steps"]
    if not (0 < n <= MOST_SAMPLES and 0 < steps <= MOST_STEPS):
        return False
    answers = raster.get("answers", {"start": 0, "classes": n * [steps * [0]]})
    return (
        len(answers["classes"]) == n
        and all(len(classes) == steps for classes in answers["classes"])
        and all(0 <= one["start"] <= MOST_START for one in (answers, *raster["layers"]))
        and all(
            len(layer["rows"]) == n
            and all(
                len(rows) == len(layer["shown"])
                and all(len(row) == steps and _MESSAGES.fullmatch(row) for row in rows)
                for rows in layer["rows"]
            )
            for layer in raster["layers"]
        )
    )


def _is_confusion(confusion: Mapping[str, Any]) -> bool:
    counts, mistakes = confusion.get("counts"), confusion.get("mistakes")
    if counts is not None:
        n = len(counts)
        square = all(len(row) == n and min(row) >= 0 for row in counts)
        return 0 < n <= MOST_CLASSES and square
    return mistakes is not None and all(len(row) == 3 for row in mistakes)
