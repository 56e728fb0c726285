"""The accuracy ladder: the effect of each stage of a compilation on the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[Any]
Answers = npt.NDArray[np.int64]


@dataclass
class Ladder:
    """Accuracy and agreement of each stage on one evaluation set.

    A stage may be evaluated on fewer samples than the others, the first ones. Its entry then holds,
    as ``before``, the figures of the stage that it is compared with on the same samples.

    Attributes:
        labels: (N,) integer labels, or None.
        rungs: entries of ``report.json``.
    """

    labels: npt.NDArray[np.int64] | None
    rungs: list[dict[str, Any]] = field(default_factory=list)
    _first: Answers | None = None
    _whole: tuple[str, Answers] | None = None
    """The latest stage that was evaluated on all samples, and its answers."""

    def add(self, stage: str, scores: Scores, note: str = "") -> None:
        """Add a stage from its outputs (n, ...), whose largest entry is the answer.

        The other stages are compared with the first; it has all samples. A single output is a
        threshold at 0, not a class. The note replaces the usual note of the stage.
        """
        answers = answers_of(scores)
        if self._first is None:
            self._first = answers
        rung: dict[str, Any] = {"stage": stage, **self.judged(answers), "n": len(answers)}
        if note:
            rung["note"] = note
        if self._whole is None or len(answers) == len(self._first):
            self._whole = stage, answers
        else:
            before, all_answers = self._whole
            rung["before"] = {"stage": before, **self.judged(all_answers[: len(answers)])}
        self.rungs.append(rung)

    def repeat(self, stage: str, of: str) -> None:
        """Add a stage with the same answers as another, by construction."""
        same = next(rung for rung in self.rungs if rung["stage"] == of)
        self.rungs.append({**same, "stage": stage})

    @property
    def answers(self) -> Answers:
        """Answers of the latest stage evaluated on all samples."""
        if self._whole is None:
            raise ValueError("nothing has been evaluated")
        return self._whole[1]

    def judged(self, answers: Answers) -> dict[str, float | None]:
        """Accuracy and agreement of the answers to the first samples, in percent."""
        n = len(answers)
        first = answers if self._first is None else self._first
        top1 = None if self.labels is None else _percent(answers == self.labels[:n])
        return {"top1": top1, "agreement": _percent(answers == first[:n])}


def answers_of(scores: Scores) -> Answers:
    """The largest entry of each output (n, ...); of a single one, whether it is above 0."""
    flat = scores.reshape(len(scores), -1)
    return flat.argmax(axis=1) if flat.shape[1] > 1 else (flat[:, 0] > 0).astype(np.int64)


def _percent(equal: npt.NDArray[np.bool_]) -> float:
    return round(100 * float(equal.mean()), 4)
