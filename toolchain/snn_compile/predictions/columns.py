"""What a network answers to a sample, as the columns of a table.

============ ==================================================================================
kind         columns
============ ==================================================================================
classes      ``label``, ``label_name``, ``correct``; ``top1``, ``top1_name``, ``top1_score``,
             ``top2`` and so on, by descending score
regression   ``values``, ``targets``, ``squared_error`` (their mean)
segmentation ``wrong`` (share of positions), ``map`` (the class of each position)
============ ==================================================================================

A score is the output's value. Names, labels and targets are there where they are known. Of several
outputs, the columns of each begin with its name and a dot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.predictions.tally import errors_by_sample
from snn_compile.report import metrics
from snn_compile.samples.outputs import Expected, OutputKind

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a piece of the table.

    Attributes:
        name: of the column.
        values: (n, ...): booleans, integers, reals or texts, several of them for each sample where
            there is another axis.
    """

    name: str
    values: Array

    @property
    def is_map(self) -> bool:
        """Whether an entry has more than one axis, so that it is no list of values."""
        return len([size for size in self.values.shape[1:] if size > 1]) > 1


@dataclass(frozen=True, eq=False)
class OutputColumns:
    """The columns of one output.

    Attributes:
        expected: of the output.
        top: number of classes for each sample.
        names: of the classes, if known.
        prefix: of the names of the columns.
    """

    expected: Expected
    top: int
    names: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def are_maps(self) -> bool:
        """Whether the answers have no place in a row."""
        if self.expected.kind is OutputKind.CLASSES:
            return False
        is_map = sum(size > 1 for size in self.expected.shape) > 1
        return is_map or self.expected.kind is OutputKind.SEGMENTATION

    def of(self, first: int, values: Array) -> Iterator[Column]:
        """The columns of some samples, from the output's values.

        Args:
            first: number of samples before these.
            values: (n, *shape).
        """
        answers = metrics.answers(self.expected, values)
        errors = errors_by_sample(self.expected, first, answers)
        kind = self.expected.kind
        if kind is OutputKind.CLASSES:
            found = self._classes(first, values, answers)
        elif kind is OutputKind.REGRESSION:
            found = self._values(first, answers, errors)
        else:
            found = [] if errors is None else [("wrong", errors)]
            found.append(("map", answers))
        return (Column(self.prefix + name, column) for name, column in found)

    def _classes(self, first: int, values: Array, answers: Array) -> list[tuple[str, Array]]:
        found: list[tuple[str, Array]] = []
        if self.expected.y is not None:
            labels = self.expected.y[first : first + len(answers)]
            found += [("label", labels), *self._named("label", labels)]
            found.append(("correct", labels == answers))
        scores = values.reshape(len(values), -1)
        highest = ranked(scores, self.top) if scores.shape[1] > 1 else answers[:, None]
        for rank, classes in enumerate(highest.T, 1):
            at = classes if scores.shape[1] > 1 else np.zeros_like(classes)
            score = np.take_along_axis(scores, at[:, None], axis=1)[:, 0]
            name = f"top{rank}"
            found += [(name, classes), *self._named(name, classes), (f"{name}_score", score)]
        return found

    def _named(self, name: str, classes: Array) -> list[tuple[str, Array]]:
        if not self.names:
            return []
        return [(f"{name}_name", np.asarray(self.names, object)[classes])]

    def _values(self, first: int, values: Array, errors: Array | None) -> list[tuple[str, Array]]:
        found: list[tuple[str, Array]] = [("values", values)]
        if self.expected.y is not None and errors is not None:
            targets = self.expected.y[first : first + len(values)]
            found += [("targets", targets), ("squared_error", errors)]
        return found


def ranked(scores: Array, n: int) -> Array:
    """(N, n) classes by descending score; of equal scores the first class is first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.asarray(order[:, :n])


def columns_of(
    expected: Sequence[Expected], names: Sequence[tuple[str, ...]], top: int
) -> list[OutputColumns]:
    """The columns of each output."""
    several = len(expected) > 1
    return [
        OutputColumns(one, top, of_classes, f"{one.name}." if several else "")
        for one, of_classes in zip(expected, names, strict=True)
    ]
