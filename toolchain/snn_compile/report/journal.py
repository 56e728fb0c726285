"""The journal of a compilation: findings and times, recorded and forwarded to an observer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from snn_compile.passes import Finding, Instruments, StopAfterPass
from snn_compile.report.observer import Advance, Observer
from snn_compile.report.stage_usage import StageUsage


class Journal:
    """Collects the report's facts on the compilation itself.

    Attributes:
        observer: receives progress.
        instruments: instrumentation of passes.
        findings: everything found so far.
        timing: seconds and peak memory of each stage, in order.
    """

    def __init__(self, observer: Observer, instruments: Instruments | None = None) -> None:
        self.observer = observer
        self.instruments = instruments or Instruments()
        self.findings: list[Finding] = []
        self.timing: list[dict[str, Any]] = []
        self._since_last = StageUsage()

    def add_findings(self, findings: Iterable[Finding]) -> None:
        """Record findings and forward them to the observer."""
        for finding in findings:
            self.findings.append(finding)
            self.observer.finding(finding)

    def record_pass(
        self, name: str, graph: object, findings: tuple[Finding, ...], seconds: float
    ) -> None:
        """Record a completed pass; the ``PassObserver`` of a pipeline.

        Raises:
            Stopped: the compilation ends after this pass, as requested.
        """
        self.add_findings(findings)
        self._record(self._since_last, name, seconds)
        self.observer.dump(name, getattr(graph, "program", graph))
        if name == self.instruments.stop_after:
            raise StopAfterPass(self.timing)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a stage."""
        usage = StageUsage()
        try:
            yield
        finally:
            self._record(usage, name)

    @contextmanager
    def progress(self, name: str, text: str, total: int) -> Iterator[Advance]:
        """Time a stage and show its progress."""
        with self.timed(name), self.observer.progress(name, text, total) as advance:
            yield advance

    def _record(self, usage: StageUsage, name: str, seconds: float | None = None) -> None:
        self.timing.append(usage.entry(name, seconds))
        self._since_last = StageUsage()

    @property
    def warnings(self) -> list[dict[str, str]]:
        """The ``warnings`` of ``report.json``."""
        return [
            {
                "code": finding.code,
                "message": finding.message,
                "origin": str(finding.origin or ""),
                "hint": finding.hint,
            }
            for finding in self.findings
            if finding.warning
        ]
