"""What a command came to, for continuous integration: checks, warnings and tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snn_compile.errors import AccuracyError, CompileError, LimitError, VerificationError
from snn_compile.report.tables import Row, Table

FAILURES = (AccuracyError, LimitError, VerificationError)
"""Errors that say that a network is not what was asked for; others say that a check did not end."""


@dataclass
class Check:
    """Something that passes or fails.

    Attributes:
        name: of the check.
        complaints: why it fails; it passes without any.
        skipped: why it was not made; empty if it was.
        seconds: that it took, if known.
    """

    name: str
    complaints: list[CompileError] = field(default_factory=list)
    skipped: str = ""
    seconds: float | None = None

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, ``error`` or ``skipped``."""
        if not self.complaints:
            return "skipped" if self.skipped else "passed"
        return "failed" if isinstance(self.complaints[0], FAILURES) else "error"


@dataclass
class Outcome:
    """A command with all its checks.

    Attributes:
        command: its name.
        subject: the model or the folder that it was about.
        checks: in their order; the first one is the command itself.
        warnings: as ``report.json`` has them.
        tables: to show.
        notes: sentences to show before them.
    """

    command: str
    subject: str
    checks: list[Check] = field(default_factory=list)
    warnings: Sequence[Mapping[str, Any]] = ()
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.checks.append(Check(self.command))

    def end(self, complaints: Sequence[CompileError] = ()) -> None:
        """Set the time of the command, and what it ended with beyond its other checks."""
        known = {id(error) for check in self.checks for error in check.complaints}
        self.checks[0].complaints += [one for one in complaints if id(one) not in known]
        self.checks[0].seconds = time.monotonic() - self._began

    @property
    def complaints(self) -> list[CompileError]:
        """Those of all checks."""
        return [error for check in self.checks for error in check.complaints]

    @property
    def passed(self) -> bool:
        """Whether no check fails."""
        return not self.complaints

    def checks_table(self) -> Table:
        """The checks."""
        rows = []
        for check in self.checks:
            why = "; ".join(error.message for error in check.complaints) or check.skipped
            rows.append(Row((check.name, check.verdict, why)))
        return Table("checks", ("check", "result", "why"), tuple(rows), numeric=False)
