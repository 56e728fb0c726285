"""The accuracy ladder: the effect of each stage of a compilation on the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from snn_compile.report import metrics
from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.samples.rows import Rows, computed, head

Values = Sequence[Rows]
"""The values of each output, (n, ...)."""


@dataclass
class Ladder:
    """Figures of each stage on one evaluation set.

    A stage may be evaluated on fewer samples than the others, the first ones. Its entry then holds,
    as ``before``, the figures of the stage that it is compared with on the same samples.

    Attributes:
        expected: of each output.
        rungs: entries of ``report.json``.
    """

    expected: Sequence[Expected]
    rungs: list[dict[str, Any]] = field(default_factory=list)
    _first: Values | None = None
    _whole: tuple[str, Values] | None = None
    """The latest stage that was evaluated on all samples, and its answers."""
    _latest: tuple[str, Values] | None = None
    """The latest stage and its answers."""

    def add(self, stage: str, values: Values, note: str = "") -> None:
        """Add a stage from its outputs.

        The other stages are compared with the first; it has all samples. The note replaces the
        usual note of the stage.
        """
        self.add_answers(stage, self.answers_of(values), note)

    def add_answers(self, stage: str, answers: Values, note: str = "") -> None:
        """Add a stage from what is compared of each output."""
        n = len(answers[0])
        if self._first is None:
            self._first = answers
        figures = self.judged(answers)
        rung: dict[str, Any] = {"stage": stage, **figures, "n": n}
        if note:
            rung["note"] = note
        if self._whole is None or n == len(self._first[0]):
            self._whole = stage, answers
        else:
            latest = self._latest
            before, known = latest if latest and len(latest[1][0]) >= n else self._whole
            rung["before"] = {"stage": before, **self.judged([head(some, n) for some in known])}
        self._latest = stage, answers
        self.rungs.append(rung)

    def repeat(self, stage: str, of: str) -> None:
        """Add a stage with the same answers as another, by construction."""
        same = next(rung for rung in self.rungs if rung["stage"] == of)
        self.rungs.append({**same, "stage": stage})

    @property
    def answers(self) -> Values:
        """Answers of the latest stage evaluated on all samples."""
        if self._whole is None:
            raise ValueError("nothing has been evaluated")
        return self._whole[1]

    @property
    def first(self) -> Values:
        """Answers of the first stage."""
        if self._first is None:
            raise ValueError("nothing has been evaluated")
        return self._first

    def answers_of(self, values: Values) -> Values:
        """What is compared of each output."""
        pairs = zip(self.expected, values, strict=True)
        return [computed(partial(metrics.answers, expected), some) for expected, some in pairs]

    def judged(self, answers: Values) -> dict[str, Any]:
        """The figures of the answers to the first samples.

        ``top1`` and ``agreement`` are those of the first output with classes. All outputs have
        their figures in ``outputs``, unless it is the only one.
        """
        first = answers if self._first is None else self._first
        triples = zip(self.expected, answers, first, strict=True)
        found = [metrics.compare(*triple) for triple in triples]
        classes = next((one for one in found if one["kind"] == OutputKind.CLASSES), {})
        figures = {key: classes.get(key) for key in ("top1", "agreement")}
        return figures if classes and len(found) == 1 else {**figures, "outputs": found}
