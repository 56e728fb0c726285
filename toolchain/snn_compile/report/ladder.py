"""The accuracy ladder: what each step of a compilation does to the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[Any]


@dataclass
class Ladder:
    """Accuracy and agreement of each stage on one evaluation set.

    Attributes:
        labels: (N,) integer labels, or None.
        rungs: entries of ``report.json``.
    """

    labels: npt.NDArray[np.int64] | None
    rungs: list[dict[str, Any]] = field(default_factory=list)
    _first: npt.NDArray[np.int64] | None = None

    def add(self, stage: str, scores: Scores, note: str = "") -> None:
        """Add a stage from its outputs (N, ...), whose largest entry is the answer.

        The first stage is the one that the others are compared with. A single output is a
        threshold at 0, not a class. The note stands in place of what is said of every such stage.
        """
        flat = scores.reshape(len(scores), -1)
        answers = flat.argmax(axis=1) if flat.shape[1] > 1 else (flat[:, 0] > 0).astype(np.int64)
        if self._first is None:
            self._first = answers
        top1 = None if self.labels is None else 100 * float((answers == self.labels).mean())
        agreement = 100 * float((answers == self._first).mean())
        rung = {"stage": stage, "top1": top1, "agreement": agreement, "n": len(answers)}
        if note:
            rung["note"] = note
        self.rungs.append({k: round(v, 4) if isinstance(v, float) else v for k, v in rung.items()})

    def repeat(self, stage: str, of: str) -> None:
        """Add a stage whose answers are another's, by construction."""
        same = next(rung for rung in self.rungs if rung["stage"] == of)
        self.rungs.append({**same, "stage": stage})
