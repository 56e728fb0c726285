"""The journal of a compilation: findings and times, recorded and forwarded to an observer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from snn_compile.passes import Finding, Instruments, StopAfterPass, watched
from snn_compile.report.heartbeat import Step
from snn_compile.report.observer import Advance, Observer
from snn_compile.report.stage_usage import StageUsage

T = TypeVar("T")
Activity = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class Kept:
    """The result of a finished piece of work, with what the journal recorded of it.

    Attributes:
        value: the result.
        findings: what was found.
        timing: entries of its stages.
    """

    value: Any
    findings: tuple[Finding, ...] = ()
    timing: tuple[dict[str, Any], ...] = ()


class Work(Protocol):
    """Where a compilation records how far it is, and what an interrupted one goes on with."""

    def begin(self, stage: str, total: int | None = None) -> None:
        """A stage has begun; it has ``total`` items, if they are counted."""
        ...

    def advance(self, n: int) -> None:
        """Items of the latest counted stage are done; called from any thread."""
        ...

    def end(self, stage: str, seconds: float) -> None:
        """The latest stage of this name has ended."""
        ...

    def recall(self, name: str, expected: Any) -> Kept | None:
        """What an interrupted compilation kept under a name, if it is of this type."""
        ...

    def keep(self, name: str, kept: Kept) -> None:
        """Keep a result under a name; it may be too small to be worth it."""
        ...


class NoWork:
    """Nothing is recorded, nothing is kept: the default of the Python interface."""

    def begin(self, stage: str, total: int | None = None) -> None:
        """Not recorded."""

    def advance(self, n: int) -> None:
        """Not recorded."""

    def end(self, stage: str, seconds: float) -> None:
        """Not recorded."""

    def recall(self, name: str, expected: Any) -> Kept | None:
        """Nothing."""
        del name, expected
        return None

    def keep(self, name: str, kept: Kept) -> None:
        """Not kept."""


class Journal:
    """Collects the report's facts on the compilation itself.

    Attributes:
        observer: receives progress.
        instruments: instrumentation of passes.
        work: where progress is recorded, and results are kept for a compilation that resumes.
        findings: everything found so far.
        timing: seconds and peak memory of each stage, in order.
    """

    def __init__(
        self,
        observer: Observer,
        instruments: Instruments | None = None,
        work: Work | None = None,
    ) -> None:
        self.observer = observer
        self.instruments = instruments or Instruments()
        self.work = work or NoWork()
        self.findings: list[Finding] = []
        self.timing: list[dict[str, Any]] = []
        self._since_last = StageUsage()
        # An observer written for an earlier version knows no activities.
        self._activity: Activity = getattr(observer, "activity", nullcontext)

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
        with self._timed(name):
            yield

    @contextmanager
    def _timed(self, name: str, total: int | None = None) -> Iterator[None]:
        usage = StageUsage()
        self.work.begin(name, total)
        try:
            with self._activity(name):
                yield
        finally:
            self._record(usage, name)
            self.work.end(name, self.timing[-1]["seconds"])

    @contextmanager
    def passes(self, name: str) -> Iterator[None]:
        """A stage of passes, each of which is timed by itself."""
        start = time.perf_counter()
        self.work.begin(name)
        with self._activity(name), watched(self._counted):
            yield
        self.work.end(name, time.perf_counter() - start)

    @contextmanager
    def _counted(self, name: str, total: int) -> Iterator[Advance]:
        """Show the progress of a pass."""
        start = time.perf_counter()
        self.work.begin(name, total)
        with self._activity(name) as step:

            def advance(n: int) -> None:
                if isinstance(step, Step):
                    step.advance(n)
                self.work.advance(n)

            if isinstance(step, Step):
                step.total = total
            yield advance
        self.work.end(name, time.perf_counter() - start)

    @contextmanager
    def progress(self, name: str, text: str, total: int) -> Iterator[Advance]:
        """Time a stage and show its progress."""
        with self._timed(name, total), self.observer.progress(name, text, total) as show:

            def advance(n: int) -> None:
                show(n)
                self.work.advance(n)

            yield advance

    def recall(self, name: str, expected: Any, compute: Callable[[], T]) -> T:
        """The result that an interrupted compilation kept under a name, or else a new one.

        Findings and times are recorded as if it had been computed here.

        Args:
            name: of the result, unique in a compilation.
            expected: its type, as an annotation.
            compute: computes it.
        """
        if (kept := self.work.recall(name, expected)) is not None:
            self.add_findings(kept.findings)
            self.timing.extend(kept.timing)
            found: T = kept.value
            return found
        findings, timing = len(self.findings), len(self.timing)
        value = compute()
        recorded = tuple(self.findings[findings:]), tuple(self.timing[timing:])
        self.work.keep(name, Kept(value, *recorded))
        return value

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
