"""The trial of other readings of the evaluation samples on the user's own model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.data_checks.labels import (
    Answered,
    Explanation,
    better,
    classes_missing,
    guessing,
    is_guessing,
    label_explanation,
)
from snn_compile.data_checks.readings import Reading, combined, readings
from snn_compile.ir.graph import Shape
from snn_compile.ir.inputs import Inputs
from snn_compile.passes import Finding
from snn_compile.report import metrics
from snn_compile.samples.arrays import Samples
from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.significance import (
    ALIKE,
    FALSE_ALARM,
    are_alike,
    binomial_tail,
    chance_of_gain,
)

N_SAMPLES, MIN_TRIED = 256, 64
"""Samples that are looked at, evenly spaced; half as many, and again, of an expensive network."""
SCREENED = 8
"""One of so many samples is enough to leave out a reading that is no better on them."""
MAX_FINALISTS = 4
"""Readings that are tried on all samples."""
N_COMBINED = 2
"""Of the best readings, those that are tried together with a change of the other kind."""
MORE_SAMPLES = 1024
"""Samples for the finalists, if one of them is better on the first ones, but not for certain."""
MULTIPLICATIONS = 5 * 10**11
"""Most multiplications of all trials: some 10 s of one core."""

Array = npt.NDArray[Any]
Run = Callable[[Array], Mapping[str, Array]]
"""The outputs of the model file by name, for what it gets (N, *sample shape)."""


@dataclass(frozen=True, eq=False)
class Model:
    """The user's model file, ready to run.

    Attributes:
        run: runs it.
        cost: multiplications of one sample, or what takes as long.
        inputs: of the network.
        present: the user's reading of each input.
        layout: of the user's data.
        readings_of: other readings of the samples of an input.
        most: samples that are looked at.
    """

    run: Run
    cost: int
    inputs: Inputs[Any]
    present: Mapping[str, Reading]
    layout: str = "nchw"
    readings_of: Callable[[Array, Reading, Shape, str], Sequence[Reading]] = readings
    most: int = MORE_SAMPLES

    def readings(self, node: Any, x: Array) -> Sequence[Reading]:
        """Other readings of the samples of an input."""
        return self.readings_of(x, self.present[str(node.id)], node.shape, self.layout)


def evaluation_findings(model: Model, samples: Samples) -> list[Finding]:
    """Doubts about labelled samples; at most one that explains wrong answers.

    Nothing is said of unlabelled ones, and nothing where right answers leave no room.
    """
    labelled = next((one for one in samples.expected if one.y is not None), None)
    if labelled is None:
        return []
    missing = [found] if (found := classes_missing(labelled, samples.file)) else []
    n = _affordable(model, len(samples), _n_readings(model, samples))
    if n < min(MIN_TRIED, len(samples), model.most):
        message = (
            f"labels and preprocessing were not tried on the model: {MIN_TRIED} samples would take"
            f" more than {MULTIPLICATIONS:.0e} multiplications"
        )
        return [*missing, Finding(message, code="data-not-tried")]
    trial = Trial(model, samples, labelled, spaced(n, len(samples)))
    return [*missing, *trial.findings()]


def _n_readings(model: Model, samples: Samples) -> int:
    some = model.inputs.split(np.asarray(samples.x[:MIN_TRIED]))
    return sum(len(model.readings(node, some[node.id])) for node in model.inputs)


def _affordable(model: Model, n: int, n_readings: int) -> int:
    """How many samples can be tried, fewer than ``MIN_TRIED`` if that is too many."""
    n = min(n, N_SAMPLES, model.most)
    while n >= MIN_TRIED:
        runs = n * (1 + n_readings / SCREENED + MAX_FINALISTS)
        if runs * model.cost <= MULTIPLICATIONS:
            return n
        n //= 2
    return n if n * (1 + n_readings + MAX_FINALISTS) * model.cost <= MULTIPLICATIONS else 0


@dataclass(frozen=True, eq=False)
class _Scored:
    """A reading of one input, and the score of each sample with it."""

    input: str
    reading: Reading
    scores: Array


def spaced(n: int, of: int) -> Array:
    """Rows of n samples, evenly spaced: files are often sorted by class."""
    return np.unique(np.linspace(0, of - 1, n).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Trial:
    """Some samples, to be read in several ways.

    Attributes:
        model: the user's file.
        samples: the evaluation set.
        expected: of the output that is judged.
        rows: (n,) the samples in the set.
    """

    model: Model
    samples: Samples
    expected: Expected
    rows: Array

    def findings(self) -> list[Finding]:
        """What explains wrong answers, if anything does."""
        before = self._answered(self._x, {})
        if before is None:
            return []
        found = label_explanation(before)
        if found is None or before.expected.kind is not OutputKind.REGRESSION:
            found = better(found, self._other_reading(before))
        if found is not None:
            return [found.finding]
        return [guessing(before)] if is_guessing(before) else []

    @cached_property
    def _x(self) -> Array:
        return np.asarray(self.samples.x[self.rows])

    def _answered(self, x: Array, changed: Mapping[str, Reading]) -> Answered | None:
        """The answers to samples, some inputs of which are read otherwise."""
        inputs = self.model.inputs
        parts = inputs.split(x)
        ways = {**self.model.present, **changed}
        fed = inputs.join({node.id: ways[str(node.id)](parts[node.id]) for node in inputs})
        values = self.model.run(fed).get(self.expected.name)
        if values is None:
            return None
        expected = self.expected
        if values.dtype.kind == "i" and expected.y is not None:
            largest = int(max(values.max(initial=0), expected.y[self.rows].max(initial=0)))
            expected = replace(expected, shape=(largest + 1, *expected.shape[1:]))
        answers = metrics.answers(expected, values)
        return Answered(expected, self.rows, answers, values, self.samples.file)

    def _other_reading(
        self, before: Answered, among: Mapping[str, Sequence[Reading]] | None = None
    ) -> Explanation | None:
        """The reading with which the model is right most often, if that is beyond chance.

        If a reading is better on these samples, but not for certain, it is tried on more of them.

        Args:
            before: the answers to the samples as the user reads them.
            among: the readings of some inputs that are tried on more samples.
        """
        parts = self.model.inputs.split(self._x)
        best, promising = list[_Scored](), dict[str, list[Reading]]()
        for node in self.model.inputs:
            name = str(node.id)
            if node.step is not None:
                continue  # whole numbers are indices
            others = self.model.readings(node, parts[node.id])
            limit = FALSE_ALARM / (4 * max(len(others), 1) * len(self.model.inputs))
            if not self._has_room(before, limit):
                return None
            first = others if among is None else among.get(name, ())
            found, near = self._better(name, first, before.scores, limit)
            if found and not (found[0].reading.normalization and found[0].reading.arrangement):
                both = [r for one in found[:N_COMBINED] for r in combined(one.reading, others)]
                further, near = self._better(name, both, found[0].scores, limit)
                near = [found[0].reading, *near] if near and not further else []
                found = further or found
            best += found
            promising[name] = near
        if any(promising.values()) and among is None and (more := self._with_more_samples):
            answered = more._answered(more._x, {})
            return None if answered is None else more._other_reading(answered, promising)
        best.sort(key=lambda one: -float(one.scores.mean()))
        if not best:
            return None
        return Explanation(self._finding(best, before), float(best[0].scores.mean()))

    @property
    def _with_more_samples(self) -> Trial | None:
        """The same on more samples; None if there are none, or they take too long."""
        passes = 2 * (1 + MAX_FINALISTS)
        most = min(MORE_SAMPLES, self.model.most, len(self.samples))
        n = min(most, MULTIPLICATIONS // (passes * self.model.cost))
        return replace(self, rows=spaced(n, len(self.samples))) if n > len(self.rows) else None

    def _has_room(self, before: Answered, limit: float) -> bool:
        """Whether another reading could be better beyond chance."""
        most = 0.0 if self.expected.kind is OutputKind.REGRESSION else 1.0
        return 0.5 ** int((before.scores < most).sum()) <= limit

    def _better(
        self, name: str, others: Sequence[Reading], before: Array, limit: float
    ) -> tuple[list[_Scored], list[Reading]]:
        """Readings that are better beyond chance, the best first; and those that may be."""
        few = slice(None, None, SCREENED if len(before) >= MIN_TRIED else 1)
        screened = []
        for reading in others:
            found = self._scores(few, name, reading)
            if found.mean() > before[few].mean():
                screened.append((float(found.mean()), reading))
        screened.sort(key=lambda one: -one[0])
        better, near = list[_Scored](), list[Reading]()
        for _, reading in screened[:MAX_FINALISTS]:
            found = self._scores(slice(None), name, reading)
            chance = chance_of_gain(found, before)
            if chance <= limit and self._is_of_use(found, before):
                better.append(_Scored(name, reading, found))
            elif chance <= ALIKE:
                near.append(reading)
        return sorted(better, key=lambda one: -float(one.scores.mean())), near

    def _scores(self, some: slice, name: str, reading: Reading) -> Array:
        answered = replace(self, rows=self.rows[some])._answered(self._x[some], {name: reading})
        if answered is None:
            raise TypeError(f"the output '{self.expected.name}' was there before")
        return answered.scores

    def _is_of_use(self, found: Array, before: Array) -> bool:
        """Whether a reading is better than to guess; of real values, with half the error."""
        if self.expected.y is None or self.expected.kind is OutputKind.SEGMENTATION:
            return True
        if self.expected.kind is OutputKind.REGRESSION:
            targets = self.expected.y[self.rows].reshape(len(self.rows), -1)
            return bool(found.mean() > max(-float(targets.var(axis=0).mean()), before.mean() / 2))
        most = np.bincount(self.expected.y[self.rows]).max() / len(self.rows)
        return binomial_tail(int(found.sum()), len(found), float(most)) <= FALSE_ALARM

    def _finding(self, best: Sequence[_Scored], before: Answered) -> Finding:
        name, reading, found = best[0].input, best[0].reading, best[0].scores
        several = len(self.model.inputs) > 1
        of_input = f" of '{name}'" if several else ""
        whole = self.samples.x.dtype.kind in "iu"
        alike = [
            one.reading.remedy(one.input if several else "", whole_numbers=whole)
            for one in best[1:]
            if are_alike(one.scores, found)
        ]
        hint = reading.remedy(name if several else "", whole_numbers=whole)
        hint += f" (as good here: {' | '.join(alike)})" if alike else ""
        hint += "; calibration samples likewise"
        return before.warning(
            reading.code,
            f"the model is right more often if samples{of_input} are {reading.name}: on"
            f" {len(found):,} of them {self._score(before.scores)}, then {self._score(found)}",
            hint,
        )

    def _score(self, found: Array) -> str:
        if self.expected.kind is OutputKind.REGRESSION:
            return f"the mean squared error is {-found.mean():.4g}"
        return f"{100 * found.mean():.1f} % are right"
