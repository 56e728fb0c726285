"""Figures of an output against labels or targets, from pieces of the samples.

They are those of ``report.metrics`` against labels, and of classes also which were taken for which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np

from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.samples.rows import Array, Rows, blocks

TOP = 5
"""The label counts as found among so many of the highest scores."""
MAX_DENSE = 2048
"""Classes of the largest confusion matrix that is kept as an array."""
_DIGITS = 4


class Tally(Protocol):
    """Figures of an output, in the order of its samples."""

    @property
    def expected(self) -> Expected:
        """What is expected of the output."""
        ...

    def add(self, values: Array, answers: Array) -> None:
        """Count the next samples: the output's values, and the answers that they are."""
        ...

    def figures(self) -> dict[str, Any]:
        """The figures of all samples so far."""
        ...


def tally_of(expected: Expected, names: tuple[str, ...] = ()) -> Tally | None:
    """The tally of an output; None without labels or targets."""
    if expected.y is None:
        return None
    if expected.kind is OutputKind.REGRESSION:
        return Errors(expected)
    return Classes(expected, names)


@dataclass
class Confusion:
    """How often each label was answered by each class.

    Attributes:
        n_classes: number of classes.
        pairs: counts by ``n_classes * label + answer``; pairs that never occurred are missing.
    """

    n_classes: int
    pairs: dict[int, int] = field(default_factory=dict)

    def add(self, labels: Array, answers: Array) -> None:
        """Count some labels, none of them negative, and the answers to them."""
        found, counts = np.unique(self.n_classes * labels + answers, return_counts=True)
        for pair, n in zip(found.tolist(), counts.tolist(), strict=True):
            self.pairs[pair] = self.pairs.get(pair, 0) + n

    @property
    def n(self) -> int:
        """Number of answers."""
        return sum(self.pairs.values())

    @property
    def n_correct(self) -> int:
        """Number of correct answers."""
        return sum(n for pair, n in self.pairs.items() if pair % (self.n_classes + 1) == 0)

    def matrix(self) -> Array | None:
        """(labels, answers) counts; None for too many classes."""
        if self.n_classes > MAX_DENSE:
            return None
        matrix = np.zeros(self.n_classes**2, np.int64)
        matrix[list(self.pairs)] = list(self.pairs.values())
        return matrix.reshape(self.n_classes, self.n_classes)

    def by_class(self) -> list[dict[str, int]]:
        """Of each class that occurs: labels, answers, and those that are both."""
        found: dict[int, dict[str, int]] = {}
        for pair, n in self.pairs.items():
            label, answer = divmod(pair, self.n_classes)
            for one in {label, answer}:
                counts = {"class": one, "labels": 0, "answers": 0, "correct": 0}
                found.setdefault(one, counts)
            found[label]["labels"] += n
            found[answer]["answers"] += n
            found[label]["correct"] += n if label == answer else 0
        return [found[one] for one in sorted(found)]

    def mistakes(self) -> list[dict[str, int]]:
        """Pairs of a label and another answer, the most frequent first."""
        wrong = [
            {"label": pair // self.n_classes, "answer": pair % self.n_classes, "n": n}
            for pair, n in self.pairs.items()
            if pair % (self.n_classes + 1)
        ]
        return sorted(wrong, key=lambda one: (-one["n"], one["label"], one["answer"]))


class Classes:
    """Accuracy of an output with classes: of samples, or of positions of a map.

    Args:
        expected: of the output; it has labels.
        names: of the classes, if known.
    """

    def __init__(self, expected: Expected, names: tuple[str, ...] = ()) -> None:
        self.expected = expected
        self.labels = _given(expected)
        self.names = names
        self.confusion = Confusion(expected.n_classes)
        self._done = 0
        self._among_highest = 0
        self._is_scored = True

    def add(self, values: Array, answers: Array) -> None:
        """Count the next samples."""
        labels = self._next_labels(len(answers))
        if self.expected.kind is OutputKind.SEGMENTATION:
            counts = labels >= 0
            self.confusion.add(labels[counts], answers[counts])
            return
        self.confusion.add(labels, answers)
        self._is_scored = values.dtype.kind == "f"  # integers are classes, without others behind
        if self._has_ranks and self._is_scored:
            self._among_highest += int((self._rank(values, labels) < TOP).sum())

    def figures(self) -> dict[str, Any]:
        """Accuracy, and the figures of each class."""
        confusion, maps = self.confusion, self.expected.kind is OutputKind.SEGMENTATION
        by_class = confusion.by_class()
        found: dict[str, Any] = {"name": self.expected.name, "kind": self.expected.kind.value}
        if self.expected.answers:
            found["of"] = self.expected.answers
        if maps:
            found |= {"pixel_accuracy": _percent(confusion.n_correct, confusion.n)}
            found["mean_iou"] = _mean_iou(by_class) if confusion.n else None
        else:
            found["top1"] = _percent(confusion.n_correct, confusion.n)
            if self._has_ranks and self._is_scored:
                found[f"top{TOP}"] = _percent(self._among_highest, confusion.n)
        found["classes"] = [self._class(one) for one in by_class]
        found["confusions"] = confusion.mistakes()
        return found

    def _class(self, counts: dict[str, int]) -> dict[str, Any]:
        index = counts["class"]
        named: dict[str, Any] = {"class": index}
        if self.names:
            named["name"] = self.names[index]
        more = {"accuracy": _percent(counts["correct"], counts["labels"])}
        more["precision"] = _percent(counts["correct"], counts["answers"])
        return {**named, **counts, **more}

    @property
    def _has_ranks(self) -> bool:
        """Whether the label can be beyond the highest scores."""
        return self.expected.kind is OutputKind.CLASSES and self.expected.n_classes > TOP

    def _rank(self, values: Array, labels: Array) -> Array:
        """How many classes are before the label; of equal scores, the first class is before."""
        scores = values.reshape(len(values), -1)
        of_label = np.take_along_axis(scores, labels[:, None], axis=1)
        before = np.arange(scores.shape[1]) < labels[:, None]
        higher = (scores > of_label) | ((scores == of_label) & before)
        return np.asarray(higher.sum(axis=1))

    def _next_labels(self, n: int) -> Array:
        labels = self.labels[self._done : self._done + n]
        self._done += n
        return labels


class Errors:
    """Mean squared error of real values, and the share of their variance that is explained.

    Args:
        expected: of the output; it has targets.
    """

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self.targets = _given(expected)
        self._done = 0
        self._squares = 0.0
        self._targets = 0.0
        """The sum of squares of the targets, less their mean over all samples."""
        total = sum(rows.sum(axis=0, dtype=np.float64) for rows in blocks(self.targets))
        self._mean = total / max(1, len(self.targets))

    def add(self, values: Array, answers: Array) -> None:
        """Count the next samples."""
        del values
        targets = self.targets[self._done : self._done + len(answers)]
        self._done += len(answers)
        self._squares += float(np.square(answers - targets).sum())
        self._targets += float(np.square(targets - self._mean).sum())

    def figures(self) -> dict[str, Any]:
        """Mean squared error and R²."""
        count = self._done * prod(self.targets.shape[1:])
        mse = self._squares / count if count else None
        r2 = None if mse is None or not self._targets else 1 - self._squares / self._targets
        found = {"mse": mse, "r2": 1.0 if mse == 0 else r2}
        return {"name": self.expected.name, "kind": self.expected.kind.value, **found}


def errors_by_sample(expected: Expected, first: int, answers: Array) -> Array | None:
    """What is wrong in each sample, the less the better; None without labels or targets.

    Of classes, whether the answer is wrong; of maps, the share of positions with a wrong one; of
    real values, the mean squared error. NaN where no position counts.
    """
    if expected.y is None:
        return None
    y = expected.y[first : first + len(answers)]
    if expected.kind is OutputKind.CLASSES:
        return np.asarray(answers != y, np.float64)
    rows = len(answers), -1
    if expected.kind is OutputKind.REGRESSION:
        return np.asarray(np.square(answers - y).reshape(rows).mean(axis=1), np.float64)
    counts = (y >= 0).reshape(rows)
    wrong = ((answers != y).reshape(rows) & counts).sum(axis=1)
    n = counts.sum(axis=1)
    found: Array = np.divide(wrong, n, out=np.full(len(answers), np.nan), where=n > 0)
    return found


def _given(expected: Expected) -> Rows:
    """The labels or targets.

    Raises:
        ValueError: there are none.
    """
    if expected.y is None:
        raise ValueError("an output without labels or targets")
    return expected.y


def _percent(part: int, n: int) -> float | None:
    return round(100 * (part / n), _DIGITS) if n else None


def _mean_iou(by_class: list[dict[str, int]]) -> float:
    """Mean over the classes that occur of intersection over union, in percent."""
    shares = [
        one["correct"] / (one["labels"] + one["answers"] - one["correct"]) for one in by_class
    ]
    return round(100 * float(np.mean(shares)), _DIGITS)
