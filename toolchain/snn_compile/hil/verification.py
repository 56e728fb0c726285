"""The outcome of comparing a device with the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snn_compile.hil.divergence import Divergence


@dataclass(frozen=True)
class Verification:
    """The scope of a comparison, and whether all of it was bit-identical.

    Attributes:
        against: name of the device or backend.
        mode: mode of execution.
        stimuli: number of stimuli; 0 where files are compared and nothing is run.
        steps: steps of the device's clock.
        compared: number of messages and potentials compared.
        equal: whether all files and messages were equal; None if there was nothing to compare
            with, for the reason in ``mode``.
        first_divergence: the first message that differs, if one does.
        details: notes of one line each, differences first.
        form: which of several ways of execution; empty if there is only one. In a report, an
            outcome replaces an older one with the same ``against`` and ``form``.
    """

    against: str
    mode: str
    stimuli: int
    steps: int
    compared: int
    equal: bool | None
    first_divergence: Divergence | None = None
    details: tuple[str, ...] = ()
    form: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The entry of ``report.json``."""
        found = self.first_divergence
        return {
            "against": self.against,
            "mode": self.mode,
            "stimuli": self.stimuli,
            "steps": self.steps,
            "compared": self.compared,
            "equal": self.equal,
            "first_divergence": None if found is None else found.as_dict(),
            "details": list(self.details),
            "form": self.form,
        }
