"""Pass instrumentation of ``compile`` and ``check``: list, dump, stop, time, verify."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from snn_compile.cli.console import messages, progress_observer, results, show_json, show_table
from snn_compile.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from snn_compile.options import CompileOptions
    from snn_compile.passes import Instruments, Pass
    from snn_compile.report.progress import TerminalObserver

F = TypeVar("F", bound=Callable[..., Any])

ALL = "all"
_OPTIONS = (
    click.option("--list-passes", is_flag=True, help="Only list the passes that would run."),
    click.option("--stop-after", metavar="PASS", help="Only show the network after a pass."),
    click.option(
        "--dump-after", multiple=True, metavar="PASS", help="Show the network after a pass."
    ),
    click.option("--print-after-all", is_flag=True, help="Show the network after every pass."),
    click.option("--time-passes", is_flag=True, help="Show the duration of each pass."),
    click.option("--verify-each", is_flag=True, help="Check the result of each pass."),
)


@dataclass(frozen=True)
class AroundPasses:
    """The options of this file."""

    list_passes: bool
    stop_after: str | None
    dump_after: tuple[str, ...]
    print_after_all: bool
    time_passes: bool
    verify_each: bool

    @property
    def instruments(self) -> Instruments:
        """Instrumentation for the compilation."""
        from snn_compile.passes import Instruments

        return Instruments(self.stop_after or "", self.verify_each)

    @property
    def show_networks(self) -> bool:
        """Whether networks between passes are shown or checked, so that all passes have to run."""
        return bool(self.stop_after or self.dump_after or self.print_after_all or self.verify_each)

    def handle_queries(
        self, model: Path, options: CompileOptions, *, as_json: bool, with_data: bool = True
    ) -> bool:
        """Refuse unknown passes, and handle ``--list-passes``.

        Raises:
            UsageError: a name is that of no pass which runs with these options.
        """
        named = [name for name in (*self.dump_after, self.stop_after) if name not in (None, ALL)]
        if self.stop_after == ALL:
            named.append(ALL)
        if not (named or self.list_passes):
            return False
        from snn_compile.pipeline.driver import passes_of

        passes = passes_of(model, options, with_data=with_data)
        _refuse_unknown(named, [step.name for step in passes])
        if self.list_passes:
            _show(passes, options, as_json)
        return self.list_passes

    def observer(self, as_json: bool, quiet: bool, no_progress: bool) -> TerminalObserver:
        """The observer of the compilation; with ``--stop-after``, that pass alone is the result."""
        from snn_compile.ir.text import to_text

        stops = self.stop_after is not None
        shown = (*self.dump_after, *([ALL] * self.print_after_all), self.stop_after or "")
        return progress_observer(
            quiet=quiet,
            no_progress=no_progress,
            header=None if as_json or stops else results(),
            dump_after=shown,
            show=to_text,
            dumps=results() if stops else None,
        )

    def run_until_stop(self, compile: Callable[[], object]) -> None:
        """Run a compilation that stops after a pass.

        Raises:
            UsageError: ``auto`` resolved to a network without this pass.
        """
        from snn_compile.passes import StopAfterPass

        try:
            compile()
        except StopAfterPass as stop:
            self.show_times(stop.timing)
        else:
            raise UsageError(
                f"pass '{self.stop_after}' has not run: auto resolved to a network without it",
                code="unknown-pass",
                hint="set the option to a value",
            )

    def show_times(self, timing: Sequence[dict[str, Any]]) -> None:
        """Write the table of ``--time-passes``, if requested."""
        if not self.time_passes:
            return
        total = sum(row["seconds"] for row in timing)
        table = _table("stage", "seconds", "share", "peak MiB")
        for row in (*timing, {"stage": "total", "seconds": total}):
            share = f"{100 * row['seconds'] / total:.1f} %" if total else ""
            peak = row.get("peak_mb")
            memory = "" if peak is None else f"{peak:,.0f}"
            table.add_row(row["stage"], f"{row['seconds']:.3f}", share, memory)
        show_table(messages(), table)


def around_passes(command: F) -> F:
    """Add the options of this file; the command takes them as ``passes``."""
    names = AroundPasses.__dataclass_fields__

    @functools.wraps(command)
    def gathered(*args: Any, **given: Any) -> Any:
        around = AroundPasses(**{name: given.pop(name) for name in names})
        return command(*args, passes=around, **given)

    found: Any = gathered
    for option in reversed(_OPTIONS):
        found = option(found)
    wrapped: F = found
    return wrapped


def _refuse_unknown(requested: Sequence[str | None], known: Sequence[str]) -> None:
    from difflib import get_close_matches

    from snn_compile.pipeline.values import PASSES

    unknown = [name for name in requested if name is not None and name not in known]
    if not unknown:
        return
    close = get_close_matches(unknown[0], [*known, *(kind.name for kind in PASSES)], n=1)
    hint = f"did you mean {close[0]}? " if close and close[0] != unknown[0] else ""
    raise UsageError(
        f"no pass named '{unknown[0]}' runs with these options",
        code="unknown-pass",
        hint=f"{hint}passes: {', '.join(dict.fromkeys(known))}",
    )


def _show(passes: Sequence[Pass[Any, Any]], options: CompileOptions, as_json: bool) -> None:
    from snn_compile.options import AUTO
    from snn_compile.passes import options_of, spec, stages_of

    whole = ",".join(spec(step) for step in passes)
    if as_json:
        listed = [
            {"name": step.name, "stages": stages_of(step), "options": options_of(step)}
            for step in passes
        ]
        show_json({"passes": listed, "spec": whole})
        return
    table = _table("stage", "pass")
    for step in passes:
        table.add_row(" -> ".join(dict.fromkeys(stages_of(step))), spec(step))
    show_table(results(), table)
    click.echo(f"\n{whole}")
    found = [*options.automatic, *(["equalize"] if options.equalize == AUTO else [])]
    left_open = [name.replace("_", "-") for name in found]
    if left_open:
        messages().print(f"{', '.join(left_open)}: auto, resolved during compilation")


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in ("seconds", "share") else "left")
    return table
