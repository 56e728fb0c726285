"""Files and lines for continuous integration, written whether or not the command succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from snn_compile.errors import CompileError, Origin, UsageError

if TYPE_CHECKING:
    from snn_compile.report.outcome import Outcome

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class CiOutputs:
    """What is to be written.

    Attributes:
        summary: a page in Markdown, or None.
        junit: JUnit's XML, or None.
        github: whether annotations of GitHub Actions go to standard error.
    """

    summary: Path | None = None
    junit: Path | None = None
    github: bool = False

    @contextmanager
    def recording(self, command: str, subject: str) -> Iterator[Outcome]:
        """Record what a command comes to, and write it in the end.

        Raises:
            UsageError: a file cannot be written, or both have the same name.
        """
        from snn_compile.files.writing import require_file
        from snn_compile.report.outcome import Outcome

        files = [path for path in (self.summary, self.junit) if path is not None]
        for path in files:
            require_file(path)
        if len(files) == 2 and files[0].resolve() == files[1].resolve():
            raise UsageError("--summary and --junit name the same file", code="bad-option")
        outcome = Outcome(command, subject)
        try:
            yield outcome
        except BaseException as error:
            outcome.end(_complaints(error))
            try:
                self._write(outcome)
            except OSError as other:
                error.add_note(f"the files of continuous integration are not written: {other}")
            raise
        outcome.end()
        self._write(outcome)

    def _write(self, outcome: Outcome) -> None:
        from snn_compile.files.writing import replace_text
        from snn_compile.report import ci_files

        if self.github:
            for line in ci_files.workflow_commands(outcome):
                click.echo(line, err=True)
        if self.summary is not None:
            replace_text(self.summary, ci_files.summary(outcome))
        if self.junit is not None:
            replace_text(self.junit, ci_files.junit(outcome))


def _complaints(error: BaseException) -> list[CompileError]:
    """Any end of a command as errors."""
    from snn_compile.cli.signals import Terminated
    from snn_compile.options.declared import all_of

    if isinstance(error, CompileError):
        return all_of(error)
    if isinstance(error, KeyboardInterrupt | Terminated | click.Abort):
        return [CompileError("interrupted", code="interrupted")]
    if isinstance(error, OSError):
        origin = Origin(str(error.filename)) if error.filename else None
        return [UsageError(error.strerror or str(error), code="file", origin=origin)]
    return [CompileError(f"{type(error).__name__}: {error}")]


def outputs(*names: str, subject: str) -> Callable[[F], F]:
    """Add some of the options; the command gets the ``outcome`` to fill.

    Args:
        names: of ``summary``, ``junit`` and ``github``.
        subject: the argument that the command is about.
    """
    path = click.Path(path_type=Path)
    declared = {
        "summary": click.option(
            "--summary", type=path, metavar="MD", help="A page in Markdown, also if it fails."
        ),
        "junit": click.option(
            "--junit", type=path, metavar="XML", help="JUnit's XML for a build server, likewise."
        ),
        "github": click.option(
            "--github", is_flag=True, help="Annotations of GitHub Actions on standard error."
        ),
    }

    def add(command: F) -> F:
        @wraps(command)
        def recorded(**given: Any) -> Any:
            files = CiOutputs(**{name: given.pop(name) for name in names})
            about = given[subject]
            about = ", ".join(map(str, about)) if isinstance(about, tuple) else str(about)
            with files.recording(click.get_current_context().info_name or "", about) as outcome:
                return command(outcome=outcome, **given)

        found = cast("F", recorded)
        for name in reversed(names):
            found = declared[name](found)
        return found

    return add
