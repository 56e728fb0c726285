"""Doubts about labels: of another order, of other samples, or not of these outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import Origin
from snn_compile.passes import Finding
from snn_compile.report.host import MAX_CLASSES
from snn_compile.samples.outputs import PROBABILITY, Expected, OutputKind
from snn_compile.significance import (
    FALSE_ALARM,
    are_associated,
    binomial_tail,
    chance_of_gain,
)

MIN_SAMPLES = 16
"""Fewer samples say nothing about labels."""
MAX_ROWS = 4
"""Rows by which labels may be displaced from their samples."""
MAX_PERMUTED = 100
"""Classes up to which a permutation is looked for."""
MAX_NAMED = 16
"""Classes that a message lists."""
MARGIN = 0.05
"""Share of right answers by which an explanation beats a simpler one."""
CERTAIN = 0.5
"""Share of right answers above which a permutation of the labels is suggested."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Answered:
    """Some samples of a set, their labels, and what the network answers to them.

    Attributes:
        expected: of the output; ``y`` has the labels of the whole set.
        rows: (n,) of these samples in the set.
        answers: (n, ...) as of ``metrics.answers``.
        values: (n, *shape) of the output; None if only the answers are known.
        file: of the labels.
    """

    expected: Expected
    rows: Array
    answers: Array
    values: Array | None = None
    file: str = ""

    @property
    def y(self) -> Array:
        """(n, ...) labels or targets of these samples."""
        if self.expected.y is None:
            raise ValueError(f"'{self.expected.name}' has no labels")
        return np.asarray(self.expected.y[self.rows])

    @property
    def scores(self) -> Array:
        """(n,) the score of each sample."""
        return scores(self.expected.kind, self.answers, self.y)

    def warning(self, code: str, message: str, hint: str) -> Finding:
        """A warning about the labels."""
        return Finding(message, Origin(self.file) if self.file else None, code, hint, warning=True)


def scores(kind: OutputKind, answers: Array, y: Array) -> Array:
    """How right each answer is, (n,): 1 or 0, a share of the positions, or less than 0."""
    if kind is OutputKind.CLASSES:
        return np.asarray(answers == y, np.float64)
    n = len(y)
    if kind is OutputKind.SEGMENTATION:
        counts = (y >= 0).reshape(n, -1)
        right = ((answers == y).reshape(n, -1) & counts).sum(axis=1)
        return np.asarray(right / np.maximum(counts.sum(axis=1), 1), np.float64)
    return np.asarray(-np.square(answers - y).reshape(n, -1).mean(axis=1), np.float64)


@dataclass(frozen=True)
class Explanation:
    """What would explain wrong answers.

    Attributes:
        finding: the warning.
        score: mean score of the answers, if it is so.
    """

    finding: Finding
    score: float


def better(one: Explanation | None, other: Explanation | None) -> Explanation | None:
    """The one that explains more; the first one, if both explain about the same."""
    if one is None or other is None:
        return one or other
    return other if other.score > one.score + MARGIN else one


def label_explanation(answered: Answered) -> Explanation | None:
    """What explains wrong answers by the labels; None if nothing does for certain."""
    if len(answered.rows) < MIN_SAMPLES or answered.scores.min() == answered.scores.max() > 0:
        return None
    if answered.expected.kind is OutputKind.REGRESSION:
        return next((Explanation(one, 0.0) for one in _targets(answered)), None)
    tried = (_shifted, _displaced, _permuted, _misread)
    return reduce(better, (explained(answered) for explained in tried))


def is_guessing(answered: Answered) -> bool:
    """Whether the answers are no better than the same one for every sample."""
    n, y = len(answered.rows), answered.y
    if n < MIN_SAMPLES:
        return False
    if answered.expected.kind is OutputKind.REGRESSION:
        always = scores(OutputKind.REGRESSION, np.broadcast_to(y.mean(axis=0), y.shape), y)
        return bool(
            answered.scores.mean() <= always.mean()
            and chance_of_gain(answered.scores, always) > FALSE_ALARM
        )
    counted = y[y >= 0]
    if counted.min(initial=0) == counted.max(initial=0):
        return False  # with a single class nothing can be told
    if answered.expected.kind is OutputKind.SEGMENTATION:
        commonest = np.bincount(counted).argmax()
        always = scores(OutputKind.SEGMENTATION, np.full_like(y, commonest), y)
        recalls = [float((answered.answers[y == c] == c).mean()) for c in np.unique(counted)]
        is_better = float(np.mean(recalls)) > 1.1 / len(recalls)
        return bool(answered.scores.mean() <= always.mean() and not is_better)
    right, most = int(answered.scores.sum()), int(np.bincount(y).max())
    if binomial_tail(right, n, most / n) <= FALSE_ALARM:
        return False
    return not are_associated(answered.answers, y)


def guessing(answered: Answered) -> Finding:
    """The warning if nothing explains why answers are no better than the same for each sample."""
    kind, y, n = answered.expected.kind, answered.y, len(answered.rows)
    hint = "check that x and y belong together, and preprocess x as in training"
    if kind is OutputKind.REGRESSION:
        message = f"on {n:,} samples the network is no better than the mean of the targets"
        return answered.warning("no-better-than-guessing", message, hint)
    counts = np.bincount(y[y >= 0])
    share = 100 * float(answered.scores.mean())
    message = (
        f"the network as the file has it is right on {share:.1f} % of {n:,} samples, which is no"
        f" better than to answer class {counts.argmax()} always ({100 * _share(counts):.1f} %)"
    )
    return answered.warning("no-better-than-guessing", message, hint)


def classes_missing(expected: Expected, file: str) -> Finding | None:
    """Classes of the output that no label names, if there are more than chance leaves out."""
    if expected.kind is not OutputKind.CLASSES or expected.y is None:
        return None
    if expected.n_classes == MAX_CLASSES:
        return None  # integers of the file: nobody knows how many classes there are
    n, n_classes = len(expected.y), expected.n_classes
    present = np.unique(expected.y[:])
    missing = np.setdiff1d(np.arange(n_classes), present)
    # The probability that equally common classes leave these out, or others as many.
    chance = n * log(max(len(present), 1) / n_classes) + _log_ways(n_classes, len(missing))
    if not len(missing) or chance > log(FALSE_ALARM):
        return None
    named = ", ".join(str(c) for c in missing[:MAX_NAMED])
    more = f" and {len(missing) - MAX_NAMED:,} more" if len(missing) > MAX_NAMED else ""
    hint = "take evaluation samples of all classes; the accuracy is that of the others"
    if len(missing) > n_classes // 2 and present.max() < n_classes // 2:
        hint = "labels are indices into the network's output: check that they are of its classes"
    found = Finding(
        f"the {n:,} labels name {len(present):,} of the network's {n_classes:,} classes; there are"
        f" none of {named}{more}",
        Origin(file) if file else None,
        "classes-missing",
        hint,
        warning=True,
    )
    return found


def _share(counts: Array) -> float:
    return float(counts.max() / counts.sum())


def _log_ways(n: int, k: int) -> float:
    return float(np.log(np.arange(n - k + 1, n + 1) / np.arange(1, k + 1)).sum())


def _gain(answered: Answered, others: Array, n_tried: int) -> float | None:
    """The mean score with other labels, if it is better beyond chance; else None."""
    changed = scores(answered.expected.kind, answered.answers, others)
    if chance_of_gain(changed, answered.scores) > FALSE_ALARM / n_tried:
        return None
    counts = np.bincount(others[others >= 0])
    if answered.expected.kind is OutputKind.CLASSES:
        right, n = int(changed.sum()), len(others)
        if binomial_tail(right, n, _share(counts)) > FALSE_ALARM:
            return None
    return float(changed.mean())


def _shifted(answered: Answered) -> Explanation | None:
    """Labels that are all too small or too large by the same number."""
    y, k = answered.y, answered.expected.n_classes
    gains = dict[int, float]()
    for shift in range(1, k):
        others = np.where(y >= 0, (y + shift) % k, y)
        gain = _gain(answered, others, k + 2 * MAX_ROWS)
        if gain is not None:
            gains[shift] = gain
    if not gains:
        return None
    shift = max(gains, key=lambda one: gains[one])
    now, then = 100 * float(answered.scores.mean()), 100 * gains[shift]
    amount = shift if shift <= k // 2 else shift - k
    largest, smallest = int(y.max()) + amount, int(y[y >= 0].min()) + amount
    if k == 2:
        remedy, what = "1 - y", "the two classes are exchanged"
    else:
        by = f"{'+' if amount > 0 else '-'} {abs(amount)}"
        remedy = f"y {by}" if smallest >= 0 and largest < k else f"(y {by}) % {k}"
        what = f"the labels are too {'small' if amount > 0 else 'large'} by {abs(amount)}"
    found = answered.warning(
        "labels-shifted",
        f"{what}: on {len(y):,} samples {now:.1f} % are right, and {then:.1f} % with {remedy}",
        f"write {remedy} in place of y",
    )
    return Explanation(found, gains[shift])


def _displaced(answered: Answered) -> Explanation | None:
    """Labels that belong to a neighbouring sample."""
    whole = answered.expected.y
    if whole is None or len(whole) <= 2 * MAX_ROWS:
        return None
    n_tried = answered.expected.n_classes + 2 * MAX_ROWS
    gains = dict[int, float]()
    for rows in (*range(-MAX_ROWS, 0), *range(1, MAX_ROWS + 1)):
        gain = _gain(answered, whole[(answered.rows + rows) % len(whole)], n_tried)
        if gain is not None:
            gains[rows] = gain
    if not gains:
        return None
    rows = max(gains, key=lambda one: gains[one])
    now, then = 100 * float(answered.scores.mean()), 100 * gains[rows]
    found = answered.warning(
        "labels-displaced",
        f"labels belong to other samples: {now:.1f} % are right, and {then:.1f} % with the label"
        f" {abs(rows)} {'further on' if rows > 0 else 'before'}",
        f"write numpy.roll(y, {-rows}) in place of y, or write x and y again together",
    )
    return Explanation(found, gains[rows])


def _permuted(answered: Answered) -> Explanation | None:
    """Labels of the same classes in another order, if one half of the samples shows it to both."""
    k = answered.expected.n_classes
    if answered.expected.kind is not OutputKind.CLASSES or not 2 < k <= MAX_PERMUTED:
        return None
    half = np.random.default_rng(0).permutation(len(answered.rows)) % 2 == 0
    table = np.zeros((k, k), np.int64)
    np.add.at(table, (answered.y[half], answered.answers[half]), 1)
    if (table.sum(axis=1) == 0).any() or table.max(axis=1).sum() < CERTAIN * half.sum():
        return None
    order = table.argmax(axis=1)
    if (order == np.arange(k)).all():
        return None
    if len(np.unique(order)) < k:  # else no assignment is better
        from scipy.optimize import linear_sum_assignment  # slow to import

        order = linear_sum_assignment(-table)[1]
    others = order[answered.y]
    unseen = replace(answered, rows=answered.rows[~half], answers=answered.answers[~half])
    gain = _gain(unseen, others[~half], 1)
    if gain is None or gain < CERTAIN:
        return None
    now, n = 100 * float(unseen.scores.mean()), len(unseen.rows)
    is_by_name = order.tolist() == _by_name(k) or np.argsort(order).tolist() == _by_name(k)
    why = " (they are sorted as words: 0, 1, 10, 11)" if is_by_name else ""
    shown = ", ".join(map(str, order[:MAX_NAMED])) + (", ..." if k > MAX_NAMED else "")
    found = answered.warning(
        "labels-permuted",
        f"the classes of the labels are in another order{why}: {now:.1f} % of {n:,} samples are"
        f" right, and {100 * gain:.1f} % in the order found on {int(half.sum()):,} others",
        f"write numpy.array([{shown}])[y] in place of y, after a look at the names of the classes",
    )
    return Explanation(found, gain)


def _by_name(k: int) -> list[int]:
    """The classes from 0 to k - 1, sorted as words."""
    return sorted(range(k), key=str)


def _misread(answered: Answered) -> Explanation | None:
    """Outputs of which the least, or another threshold, tells the class."""
    values, expected = answered.values, answered.expected
    if values is None or values.dtype.kind != "f" or expected.kind is not OutputKind.CLASSES:
        return None
    values = values.reshape(len(values), -1)
    if values.shape[1] > 1:
        others, what = values.argmin(axis=1), "the smallest output tells the class"
        hint = "export the model with its outputs negated, as scores in place of distances"
    elif expected.threshold == 0 and values.min() >= 0 and values.max() <= 1:
        others = np.asarray(values[:, 0] > PROBABILITY, np.int64)
        what = "the output is a probability, and classes are told apart at 0"
        hint = "export the model so that its last operator is the Sigmoid, or without it"
    else:
        return None
    changed = scores(expected.kind, others, answered.y)
    tail = binomial_tail(int(changed.sum()), len(others), _share(np.bincount(answered.y)))
    if max(chance_of_gain(changed, answered.scores), tail) > FALSE_ALARM:
        return None
    now, then = (100 * float(some.mean()) for some in (answered.scores, changed))
    message = f"{what}: {now:.1f} % of {len(others):,} samples are right, and {then:.1f} % by that"
    found = answered.warning("outputs-unlike-labels", message, hint)
    return Explanation(found, float(changed.mean()))


def _targets(answered: Answered) -> Iterator[Finding]:
    """Targets that are probabilities of classes, or in another unit than the outputs."""
    y, answers = answered.y.reshape(len(answered.rows), -1), answered.answers
    answers = answers.reshape(len(y), -1).astype(np.float64)
    if y.shape[1] > 1 and _are_probabilities(y) and not _are_probabilities(answers):
        yield answered.warning(
            "outputs-unlike-labels",
            "the targets are probabilities of classes, and the outputs are not: errors between them"
            " say nothing",
            "store the classes instead: y.argmax(axis=1), integers",
        )
        return
    if not is_guessing(answered):
        return
    a, b = answers.ravel(), y.ravel()
    if a.std() > 0 and b.std() > 0 and float(np.corrcoef(a, b)[0, 1]) > UNIT_CORRELATION:
        slope, shift = np.polyfit(b, a, 1)
        yield answered.warning(
            "outputs-unlike-labels",
            f"the targets are in another unit: the outputs are about {slope:.4g} times them"
            f" {'+' if shift >= 0 else '-'} {abs(shift):.4g}",
            "scale the targets as in training",
        )


UNIT_CORRELATION = 0.9
"""Correlation of outputs and targets above which only their units differ."""


def _are_probabilities(rows: Array) -> bool:
    """Whether rows are probabilities of classes."""
    within = rows.min() >= -1e-6 and rows.max() <= 1 + 1e-6
    return bool(within and np.allclose(rows.sum(axis=1), 1, atol=1e-3))
