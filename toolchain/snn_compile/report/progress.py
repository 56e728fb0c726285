"""An observer that writes to a terminal: a line for each finished stage, a bar for a long one.

Where no bars are drawn, lines tell of a long stage now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from snn_compile.passes import Finding
from snn_compile.report.consoles import printable_console
from snn_compile.report.heartbeat import Heartbeat, clock
from snn_compile.report.observer import Advance
from snn_compile.report.terminal import LABEL, row

HEADER = ("model", "target")
"""Stages that form the header of the result."""

_TEXT = 34
"""Width of the text before a bar."""


class TerminalObserver:
    """Writes stages, bars and warnings to one console, the header of the result to another.

    Attributes:
        console: for progress.
        results: for the header; None for machine-readable results.
        quiet: whether stages and bars are left out. Warnings never are.
        bars: whether to draw bars rather than plain lines.
        heartbeat: the lines about a long stage, while ``watched``.
        dump_after: names of the passes whose result is dumped; ``all`` for every one.
        show: prints a network as text.
        dumps: destination of dumped networks; the first console by default.
    """

    def __init__(
        self,
        console: Console,
        results: Console | None = None,
        *,
        quiet: bool = False,
        bars: bool = True,
        dump_after: tuple[str, ...] = (),
        show: Callable[[object], str] = repr,
        dumps: Console | None = None,
    ) -> None:
        self.console = console
        self.results = results
        self.quiet = quiet
        self.bars = bars and console.is_terminal
        self.heartbeat = Heartbeat(self._beat)
        self._tells = bars and not quiet
        self._is_drawing = False
        self.dump_after = dump_after
        self.show = show
        self.dumps = dumps or console
        self.headed = False
        self._open = False

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Write a line whenever a command of this name has been silent for a while."""
        if not self._tells:
            yield
            return
        with self.heartbeat.step(name), self.heartbeat.running():
            yield

    def stage(self, name: str, text: str) -> None:
        """Write a line."""
        self.heartbeat.finished(name)
        if name in HEADER:
            self._head(name, text)
        elif not self.quiet:
            self._space()
            self._print(self.console, row(name, text))

    @contextmanager
    def progress(self, name: str, text: str, total: int) -> Iterator[Advance]:
        """Draw a bar during the work; leave a line with its duration."""
        if self.quiet:
            yield lambda n: None
            return
        self._space()
        if not self.bars:
            start = time.perf_counter()
            with self.heartbeat.step(name, text, total) as step:
                yield step.advance
            took = clock(time.perf_counter() - start)
            self._print(self.console, row(name, f"{text:<{_TEXT}} {took}"))
            return
        label = TextColumn("{task.fields[label]}", "cyan", markup=False)
        words = TextColumn("{task.description}", markup=False)
        columns = (label, words, BarColumn(20), TimeElapsedColumn(), TimeRemainingColumn())
        with self._drawing(), Progress(*columns, console=self.console) as progress:
            title = f"  {name:<{LABEL - 1}}"
            task = progress.add_task(f"{text:<{_TEXT}}", total=total, label=title)
            yield lambda n: progress.advance(task, n)

    def activity(self, name: str) -> AbstractContextManager[object]:
        """Lines about this step, if it takes a while."""
        return self.heartbeat.step(name)

    def finding(self, finding: Finding) -> None:
        """Write a warning; notes are for the report."""
        if not finding.warning:
            return
        self._space()
        where = f"{finding.origin}: " if finding.origin else ""
        line = Text.assemble(
            where, (f"warning[{finding.code}]", "bold yellow"), f": {finding.message}"
        )
        self._print(self.console, line)
        if finding.hint:
            self._print(self.console, Text.assemble(("hint: ", "dim"), finding.hint))

    def dump(self, pass_name: str, graph: object) -> None:
        """Write the network, if this pass is selected."""
        self.heartbeat.finished(pass_name)
        if pass_name in self.dump_after or "all" in self.dump_after:
            self._print(self.dumps, Text(f"--- after {pass_name}", "bold"))
            self._print(self.dumps, Text(self.show(graph)))

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """A bar is on the terminal: it tells of itself."""
        self._is_drawing = True
        try:
            yield
        finally:
            self._is_drawing = False
            self.heartbeat.wrote()

    def _beat(self, name: str, text: str) -> None:
        if not self._is_drawing:
            self._print(self.console, row(f"{name} ", text))

    def _head(self, name: str, text: str) -> None:
        if self.results is None:
            return
        first, space, rest = text.partition("   ")
        bold = name == "model" and bool(space)
        self._print(self.results, Text.assemble((first, "bold" if bold else ""), space, rest))
        self.headed = True

    def _space(self) -> None:
        """An empty line between the header and the first stage."""
        if self.headed and not self._open and not self.quiet:
            self._open = True
            self.console.print()

    def _print(self, console: Console, text: Text) -> None:
        self.heartbeat.wrote()
        console.print(text, soft_wrap=True, highlight=False)


@contextmanager
def show_progress(name: str = "compile") -> Iterator[TerminalObserver]:
    """Write the progress of a compilation to standard output; use the result as ``observer``.

    A terminal shows bars; a notebook, where nothing can be drawn over, plain lines.

    >>> with show_progress() as observer:  # doctest: +SKIP
    ...     compiled = compile_model("model.onnx", observer=observer)
    """
    observer = TerminalObserver(printable_console(force_jupyter=False))
    with observer.watched(name):
        yield observer
