"""From an exception to one line on standard error and an exit code."""

from __future__ import annotations

import errno
import os

import click

from snn_compile.cli.signals import Terminated
from snn_compile.errors import CompileError, CompileErrors, exit_code
from snn_compile.passes import PassFailure
from snn_compile.printable import printable

INTERNAL = 1
USAGE = 2
INTERRUPTED = 130
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a write without free space; they do not name the file."""
OURS = (errno.EBADF, errno.EFAULT)
"""Errors that are not caused by a disk or a folder."""


def report_failure(error: BaseException, *, debug: bool) -> int:
    """Report the error, with a traceback only on request, and return the exit code.

    Notes of the exception are the last lines: how to go on.
    """
    notes = getattr(error, "__notes__", ())
    code = _report(error, debug=debug)
    for note in notes:
        print_message(note)
    return code


def _report(error: BaseException, *, debug: bool) -> int:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        print_message("interrupted")
        return INTERRUPTED
    if isinstance(error, Terminated):
        print_message("interrupted" if error.exit_code == INTERRUPTED else "ended by a signal")
        return error.exit_code
    if debug and not isinstance(error, click.ClickException):
        import traceback

        print_message(printable("".join(traceback.format_exception(error)).rstrip(), keep="\n"))
    if isinstance(error, CompileError):
        from snn_compile.cli import refused

        if isinstance(error, CompileErrors):
            _print_all(error)
        else:
            print_error(error)
            if error.survey is not None and error.survey.cut_at:
                print_message(refused.sentence(error.survey))
        if error.nearest:
            _print_hint(error.nearest)
        return exit_code(error)
    if isinstance(error, click.ClickException):
        return _report_usage(error)
    if isinstance(error, MemoryError):
        print_message("error[out-of-memory]: not enough memory", "a smaller data set needs less")
        return INTERNAL
    if isinstance(error, OSError) and error.errno and error.errno not in OURS:
        where = f"{_shown(error.filename)}: " if error.filename else ""
        hint = "check the path and its permissions"
        if error.errno in FULL:
            hint = "make room on the disk"
        elif error.errno == errno.ENOENT and not where:
            hint = "the working folder may have been removed"
        print_message(printable(f"{where}error[file]: {error.strerror}"), hint)
        return USAGE
    where = hint = ""
    if isinstance(error, PassFailure):
        where, hint = f"pass '{error.step.name}': ", _replayed(error)
        error = error.__cause__ or error
    kind = type(error).__name__
    text = printable(" ".join(str(error).split()))
    print_message(
        f"internal error: {where}{kind}: {text}" + ("" if debug else " (run with --debug)"), hint
    )
    return INTERNAL


def _replayed(failure: PassFailure) -> str:
    """The hint for an internal failure of a pass; writes the file that replays it."""
    from snn_compile.pipeline import replay

    try:
        path = replay.save(failure)
    except Exception as error:  # noqa: BLE001  (the first failure matters)
        return f"the file that replays it cannot be written: {printable(str(error))}"
    return (
        f"snn-compile replay {printable(str(path))} reproduces it; that file holds the network"
        " and the calibration samples"
    )


def _print_all(errors: CompileErrors) -> None:
    """Print the first errors of each kind, and a table of the kinds if there are more."""
    from snn_compile.cli import refused
    from snn_compile.cli.console import messages, show_table

    hidden = 0
    for error, more in refused.few(errors.errors):
        print_error(error)
        if more:
            print_message(f"... and {more} more of this kind")
            hidden += more
    if hidden:
        print_message("")
        show_table(messages(), refused.table(refused.group_errors(errors.errors)))
    survey = next((one.survey for one in errors.errors if one.survey), None)
    if summary := refused.sentence(survey):
        print_message(summary)


def print_error(error: CompileError) -> None:
    """Write an error: origin, message and hint."""
    where = f"{error.origin}: " if error.origin else ""
    code = click.style(f"error[{error.code}]", fg="red", bold=True)
    print_message(f"{where}{code}: {error.message}", error.hint)


def print_message(message: str, hint: str = "") -> None:
    """Write a line, and an optional hint, to standard error."""
    click.echo(message, err=True, color=_colour())
    if hint:
        _print_hint(hint)


def _print_hint(hint: str) -> None:
    click.echo(f"hint: {hint}", err=True, color=_colour())


def _shown(name: object) -> str:
    """A file name in the system's form."""
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else str(name)


def _report_usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return USAGE
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
    message = printable(" ".join(error.format_message().split()).rstrip("."))
    print_message(
        click.style("error[usage]", fg="red", bold=True) + f": {message}",
        f"see {path or 'snn-compile'} --help",
    )
    return USAGE


def _colour() -> bool | None:
    """Off if NO_COLOR is set; else click decides by the terminal."""
    return False if os.environ.get("NO_COLOR") else None
