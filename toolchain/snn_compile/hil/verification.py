"""The outcome of comparing a device with the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snn_compile.hil.divergence import Divergence


@dataclass(frozen=True)
class Verification:
    """What was compared, and whether all of it was equal, bit for bit.

    Attributes:
        against: name of the device or backend.
        mode: how it was run.
        stimuli: number of stimuli.
        steps: steps of the device's clock that were run.
        compared: number of messages and potentials compared.
        equal: whether every comparison, of files and of messages, found equality; None if there
            was nothing to compare with, and ``mode`` says why.
        first_divergence: the first message that differs, if one does.
        details: what else there is to say, one line each; what was found unequal comes first.
        form: which of several ways to run it this was; empty where there is one. In a report, an
            outcome takes the place of an older one against the same, in the same form.
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
        """For ``report.json``."""
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
