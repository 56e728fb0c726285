"""Figures of an output: how well it meets labels or targets, and how close it is to another stage.

========== ===================================================== ================================
kind       against labels or targets                             against the first stage (ONNX)
========== ===================================================== ================================
classes    ``top1``                                              ``agreement`` (arg-max)
segment.   ``pixel_accuracy``, ``mean_iou``                      ``agreement`` (per position)
regression ``mse``, ``r2``                                       ``mse_onnx``, ``r2_onnx``
========== ===================================================== ================================

Shares are in percent, of what ``of`` says: pixels, positions of another kind, or integers, which
are answers themselves; ``r2`` is the share of the variance of all values that is explained, at
most 1. Figures without labels, or without variance, are None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from snn_compile.numerics.products import mean_of_parts
from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.samples.rows import Array, Rows, blocks, head, together

Figures = dict[str, Any]
"""``name``, ``kind`` and the figures of the kind."""

_MEASURES = {
    OutputKind.CLASSES: ("top1", "agreement"),
    OutputKind.SEGMENTATION: ("pixel_accuracy", "agreement"),
    OutputKind.REGRESSION: ("r2", "r2_onnx"),
}
AGAINST_FIRST = ("agreement", "mse_onnx", "r2_onnx")
"""Figures against the first stage."""
_DIGITS = 4


def judge(expected: Expected, predicted: Array, onnx: Array) -> Figures:
    """The figures of one output on the first n samples of what is expected.

    Args:
        expected: kind, and labels or targets, of the output.
        predicted: (n, *shape) values.
        onnx: (n, *shape) values of the stage that others are compared with.
    """
    return compare(expected, answers(expected, predicted), answers(expected, onnx))


def answers(expected: Expected, values: Array) -> Array:
    """What is compared of an output (n, *shape): a class, a class per position, or the values.

    Integers are classes themselves: (n, *positions).
    """
    if expected.kind is OutputKind.REGRESSION:
        return values.reshape(len(values), *expected.shape)
    if values.dtype.kind == "i":
        positions = expected.shape[1:] if expected.kind is OutputKind.SEGMENTATION else ()
        return values.reshape(len(values), *positions)
    if expected.kind is OutputKind.CLASSES:
        values, axis = values.reshape(len(values), prod(values.shape[1:])), 1
    else:
        values, axis = values.reshape(len(values), *expected.shape), 1 + expected.axis
    if values.shape[axis] == 1:
        return np.asarray(np.take(values, 0, axis) > expected.threshold, np.int64)
    return np.asarray(values.argmax(axis), np.int64)


def classes_of(report: Mapping[str, Any], shape: tuple[int, ...]) -> Expected:
    """The first output of a compiled network, of which ``shape`` is a sample's, as classes."""
    shown: Mapping[str, Any] = next(iter(report.get("outputs") or ()), {})
    return Expected(shown.get("name", ""), shape, threshold=shown.get("threshold", 0.0))


def compare(expected: Expected, found: Rows, first: Rows) -> Figures:
    """The figures from what :func:`answers` returned, for n samples and at least as many."""
    n, kind = len(found), expected.kind
    first, y = head(first, n), None if expected.y is None else head(expected.y, n)
    if kind is OutputKind.REGRESSION:
        mse, r2 = (None, None) if y is None else _errors(found, y)
        mse_onnx, r2_onnx = _errors(found, first)
        figures: Figures = {"mse": mse, "r2": r2, "mse_onnx": mse_onnx, "r2_onnx": r2_onnx}
    elif kind is OutputKind.SEGMENTATION:
        figures = {"pixel_accuracy": None, "mean_iou": None, "agreement": _equal(found, first)}
        if y is not None and (counts := _counts(found, y, expected.n_classes))[1].any():
            both, labels, answers = counts
            figures["pixel_accuracy"] = _percent(int(both.sum()), int(labels.sum()))
            figures["mean_iou"] = _mean_iou(both, labels + answers - both)
    else:
        top1 = None if y is None else _equal(found, y)
        figures = {"top1": top1, "agreement": _equal(found, first)}
    of = {"of": expected.answers} if expected.answers else {}
    return {"name": expected.name, "kind": kind.value, **of, **figures}


def measure(figures: Mapping[str, Any]) -> str:
    """The key of the main figure: against labels or targets, else against the first stage."""
    labelled, unlabelled = _MEASURES[OutputKind(figures["kind"])]
    return unlabelled if figures.get(labelled) is None else labelled


def score(figures: Mapping[str, Any]) -> float | None:
    """The main figure in points: percent of samples, of pixels, or of the variance explained."""
    key = measure(figures)
    value = figures.get(key)
    return value if value is None or not key.startswith("r2") else 100 * float(value)


def of_rung(rung: Mapping[str, Any]) -> list[Figures]:
    """The figures of each output in an entry of the ladder."""
    single = {"name": "", "kind": OutputKind.CLASSES.value}
    return rung.get("outputs") or [{**single, "top1": None, "agreement": None, **rung}]


def most_points_lost(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> float | None:
    """Points lost by the output that lost the most; None if no output can be judged."""
    lost = [points_lost(one, other) for one, other in zip(before, after, strict=True)]
    return max((points for points in lost if points is not None), default=None)


def points_lost(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """Points of the main figure that an output has lost; None where it has none."""
    key, (one, other) = measure(before), (score(before), score(after))
    if one is None or other is None or key != measure(after):
        return None
    return one - other


def _errors(found: Rows, wanted: Rows) -> tuple[float | None, float | None]:
    """Mean squared error, and R² over all values, weighted by their variance.

    None where values are no numbers (a logarithm of less than 0), which have no error.
    """
    # Means have the same bits on every machine: searches decide by them.
    mean = mean_of_parts(lambda: (some.astype(np.float64) for some in blocks(wanted)))

    def errors() -> Iterator[Array]:
        for one, other in together(found, wanted):
            yield np.square(one - other.astype(np.float64)).ravel()

    def deviations() -> Iterator[Array]:
        for some in blocks(wanted):
            yield np.square(some.astype(np.float64) - mean).ravel()

    mse, variance = (float(mean_of_parts(of)) for of in (errors, deviations))
    if not np.isfinite([mse, variance]).all():
        return None, None
    return mse, 1.0 if not mse else (1 - mse / variance if variance else None)


def _counts(found: Rows, wanted: Rows, n_classes: int) -> Array:
    """Of each class, where labels count: right answers, labels and answers, (3, classes).

    There may be many classes, such as indices: no table of all pairs is made.
    """
    total = np.zeros((3, n_classes), np.int64)
    for one, other in together(found, wanted):
        counts = other >= 0
        answers, labels = one[counts].astype(np.int64), other[counts].astype(np.int64)
        for row, classes in zip(total, (labels[labels == answers], labels, answers), strict=True):
            row += np.bincount(classes, minlength=n_classes)
    return total


def _mean_iou(both: Array, either: Array) -> float:
    """Mean over the classes that occur of intersection over union, in percent."""
    return round(100 * float((both[either > 0] / either[either > 0]).mean()), _DIGITS)


def _equal(one: Rows, other: Rows) -> float:
    """Share of equal values, in percent."""
    equal = sum(int(np.count_nonzero(a == b)) for a, b in together(one, other))
    return _percent(equal, prod(one.shape))


def _percent(part: int, whole: int) -> float:
    return round(100 * (part / whole), _DIGITS)
