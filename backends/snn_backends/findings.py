"""What a verification in several runs has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from snn_compile.hil.divergence import Divergence
from snn_compile.hil.verification import Verification


@dataclass
class Findings:
    """Faults, notes and counts of runs, and the first divergence of them all.

    Attributes:
        faults: what is wrong; a verification without any says equal.
        notes: what else is to be told.
        compared: number of values compared.
        steps: number of steps that were run.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: int = 0
    steps: int = 0
    _first: Divergence | None = None

    def add(self, what: str, compared: int, divergence: Divergence | None, note: str) -> None:
        """Take down one comparison.

        Args:
            what: was compared.
            compared: number of values.
            divergence: the first one, if they are not equal.
            note: about it.
        """
        self.compared += compared
        self.notes.append(f"{what}: {note}")
        if divergence is not None:
            self.faults.append(f"{what}: {divergence}")
            self._first = self._first or divergence

    def verification(self, against: str, mode: str, n_stimuli: int) -> Verification:
        """The verdict, with every fault and note."""
        return Verification(
            against=against,
            mode=mode,
            stimuli=n_stimuli,
            steps=self.steps,
            compared=self.compared,
            equal=not self.faults,
            first_divergence=self._first,
            details=(*self.faults, *self.notes),
        )
