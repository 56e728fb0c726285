"""Output streams, and the options common to all commands."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from snn_compile import memory
from snn_compile.printable import printable_json
from snn_compile.report.consoles import printable_console

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from snn_compile.report.progress import TerminalObserver

F = TypeVar("F", bound=Callable[..., Any])


def results() -> Console:
    """Standard output as a rich console: colour on a terminal only, and not with NO_COLOR."""
    return _fitted(printable_console(soft_wrap=True))


def messages() -> Console:
    """Standard error, likewise."""
    return _fitted(printable_console(stderr=True))


def show_json(value: Any) -> None:
    """Write a value as JSON to standard output."""
    click.echo(printable_json(value))


def _fitted(console: Console) -> Console:
    """If the output is not a terminal, tables have their full width."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 200
    return console


def show_table(console: Console, table: RenderableType) -> None:
    """Write a table; without blanks at the ends of lines where it goes to a file."""
    if console.is_terminal:
        console.print(table, soft_wrap=False)
        return
    with console.capture() as capture:
        console.print(table, soft_wrap=False)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    console.file.write("\n".join(lines).strip("\n") + "\n")
    console.file.flush()  # before any other output


def common(command: F) -> F:
    """Add the options common to all commands."""
    debug = click.option("--debug", is_flag=True, help="Show tracebacks.", expose_value=False)
    most = click.option(
        "--max-memory",
        type=_Size(),
        callback=_limit_memory,
        expose_value=False,
        metavar="SIZE",
        help="Memory limit for the content of a file (default: half of the free memory).",
    )
    return debug(most(command))


def _limit_memory(context: click.Context, option: click.Parameter, size: int | None) -> None:
    """Set the limit for the duration of the command."""
    del option
    memory.limit_to(size)
    context.call_on_close(lambda: memory.limit_to(None))


class _Size(click.ParamType[int]):
    """A size in bytes, such as 500M."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        try:
            return memory.parse_size(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a size: 500M or 4G.", param, ctx)


def progress_options(command: F) -> F:
    """Add the options that control progress output."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="Only results, warnings and errors.")
    bars = click.option("--no-progress", is_flag=True, help="No bars, no lines about progress.")
    return quiet(bars(command))


def progress_observer(
    *, quiet: bool, no_progress: bool, header: Console | None = None, **options: Any
) -> TerminalObserver:
    """The observer of the running command; until that ends, no silence is long.

    Args:
        quiet: of ``progress_options``.
        no_progress: likewise.
        header: where the header of the result goes, if anywhere.
        **options: of ``TerminalObserver``.
    """
    from snn_compile.report.progress import TerminalObserver

    made = TerminalObserver(messages(), header, quiet=quiet, bars=not no_progress, **options)
    context = click.get_current_context()
    context.with_resource(made.watched(context.info_name or ""))
    return made


as_json = click.option("--json", "as_json", is_flag=True, help="Write the result as JSON.")
"""For commands whose result a script may want to read."""

device_settings = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Device's options."
)
"""For commands that open a device."""


def time_limit(seconds: float, help: str) -> Callable[[F], F]:
    """The time limit of commands that wait for other processes."""
    return click.option(
        "--time-limit",
        type=click.FloatRange(0, min_open=True),
        default=seconds,
        show_default=True,
        metavar="S",
        help=help,
    )
