"""``snn-compile conformance``: write the vectors, or check an implementation against them."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snn_compile.cli.completion import plugins
from snn_compile.cli.console import (
    as_json,
    common,
    device_settings,
    progress_observer,
    progress_options,
    results,
    show_json,
    show_table,
    time_limit,
)
from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snn_compile.conformance.check import Row
    from snn_compile.conformance.files import Case
    from snn_compile.report.observer import Observer


@dataclass(frozen=True)
class Request:
    """A parsed request.

    Attributes:
        folder: the set.
        device: name, perhaps with an argument, or None.
        backend: name, or None.
        traces: folder of traces, or None.
        options: for the device.
        record: where to keep traces, or None.
        time_limit: seconds for each vector.
    """

    folder: Path
    device: str | None
    backend: str | None
    traces: Path | None
    options: Mapping[str, str]
    record: Path | None
    time_limit: float

    @property
    def against(self) -> str:
        """The implementation under test, in words; empty without one."""
        return self.device or self.backend or (str(self.traces) if self.traces else "")


@click.command(
    "conformance", short_help="Small networks with their exact messages, for any backend."
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--device",
    metavar="NAME[:ARG]",
    shell_complete=plugins("devices"),
    help="Run a device on the set in DIR.",
)
@click.option("--backend", metavar="NAME", help="Emit and verify the set in DIR with a backend.")
@click.option(
    "--check",
    "traces",
    type=click.Path(path_type=Path),
    metavar="TRACES",
    help="Compare the traces NAME.npz of this folder with the set in DIR.",
)
@click.option("--only", multiple=True, metavar="V[,V]", help="Only these vectors.")
@device_settings
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="TRACES",
    help="Keep the device's traces in this folder.",
)
@time_limit(120.0, "Seconds for each vector.")
@as_json
@progress_options
@common
def command(
    folder: Path,
    device: str | None,
    backend: str | None,
    traces: Path | None,
    only: tuple[str, ...],
    settings: tuple[str, ...],
    record: Path | None,
    time_limit: float,
    as_json: bool,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Write the conformance vectors into DIR, or hold something against those that are there.

    A vector is a small network in integers, its stimuli, and what every layer must send. With
    --device, --backend or --check each of them is equal, different or left out with a reason. Exit
    code 7 if a bit differs, 8 if a vector has no outcome.
    """
    from snn_compile.cli.hil import parse_settings

    options = parse_settings(settings)
    request = Request(folder, device, backend, traces, options, record, time_limit)
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    names = [name.strip() for part in only for name in part.split(",") if name.strip()]
    refuse_mixtures(request)
    if not request.against:
        if names:
            raise UsageError("a set is written as a whole: no --only", code="bad-option")
        _write(folder, observer, as_json=as_json)
        return
    from snn_compile.conformance import files

    cases = files.read(folder, names)
    rows: list[Row] = []
    try:
        with observer.progress("conformance", request.against, len(cases)) as advance:
            for row in outcomes(request, cases):
                rows.append(row)
                advance(1)
    finally:
        if rows:
            _show(rows, request, as_json=as_json)
    found = [error for row in rows if (error := row.complaint(folder)) is not None]
    raise_all(sorted(found, key=lambda error: error.exit_code))


def refuse_mixtures(request: Request) -> None:
    """Check that at most one action is requested, with its own options only.

    Raises:
        UsageError: otherwise.
    """
    asked = [request.device, request.backend, request.traces]
    if sum(one is not None for one in asked) > 1:
        raise UsageError("--device, --backend and --check exclude each other", code="bad-option")
    if request.device is None and (request.options or request.record is not None):
        raise UsageError("--set and --record need --device", code="bad-option")
    for path in (request.traces,):
        if path is not None and not path.is_dir():
            raise UsageError(
                "the folder does not exist", code="no-such-file", origin=Origin(str(path))
            )


def outcomes(request: Request, cases: list[Case]) -> Iterator[Row]:
    """Yield one row per vector.

    Raises:
        CompileError: the device or backend is unknown or missing.
    """
    from snn_compile.conformance import check

    if request.traces is not None:
        exclusions = check.exclusions_of(request.traces, {case.name: case for case in cases})
        for case in cases:
            yield check.of_folder(case, request.traces, exclusions)
        return
    with tempfile.TemporaryDirectory(prefix="snn-compile-conformance-") as scratch:
        for number, case in enumerate(cases):
            if request.backend is not None:
                limit = request.time_limit
                yield check.verified_by(case, request.backend, Path(scratch), limit)
            else:
                yield _on_device(request, case, Path(scratch), first=not number)


def _on_device(request: Request, case: Case, scratch: Path, *, first: bool) -> Row:
    """Run one vector on the device, in a child process."""
    from snn_compile.conformance import check
    from snn_compile.hil.isolation import IsolatedDevice
    from snn_compile.plugins import BACKENDS

    name = request.device or ""
    kind = name.partition(":")[0]
    if kind in BACKENDS.names() and (why := check.refusal(case, kind)):
        return check.Row(case.name, check.EXCLUDED, why=why)
    folder = scratch / case.name
    check.compiled_folder(case, folder)
    kept = request.record or scratch / "traces"
    kept.mkdir(parents=True, exist_ok=True)
    device = IsolatedDevice(name, request.options, request.time_limit)
    try:
        try:
            capabilities = device.load(case.program, folder)
        except CompileError as error:
            if check.cannot_run(error):
                return check.Row(case.name, check.EXCLUDED, why=error.message)
            if first or isinstance(error, UsageError):  # the device is missing
                raise
            return check.Row(case.name, check.FAILED, why=error.message.splitlines()[0])
        record = kept / f"{case.name}.npz"
        limit = request.time_limit
        return check.run_on(case, device, capabilities, name, record, limit)
    finally:
        device.close()


def _write(folder: Path, observer: Observer, *, as_json: bool) -> None:
    from snn_compile.conformance import files
    from snn_compile.conformance.vectors import vectors

    chosen = vectors()
    with observer.progress("conformance", str(folder), len(chosen)) as advance:
        index = files.write(folder, chosen, advance)
    if as_json:
        show_json(index)
        return
    listed = index["vectors"]
    words = {word for entry in listed for word in entry["exercises"]}
    totals = [sum(entry[key] for entry in listed) for key in ("stimuli", "messages", "events")]
    console = results()
    console.print(
        f"wrote {folder}/   {len(listed)} vectors, {totals[0]} stimuli, {totals[1]:,} messages,"
        f" {totals[2]:,} of them not 0"
    )
    console.print(f"  {len(words)} things exercised; see {folder / files.INDEX}")


def _show(rows: list[Row], request: Request, *, as_json: bool) -> None:
    from snn_compile.conformance.check import DIFFERS, EQUAL, EXCLUDED, VERDICTS

    counts = Counter(row.verdict for row in rows)
    compared = sum(row.compared for row in rows)
    if as_json:
        content = {
            "set": str(request.folder),
            "against": request.against,
            "compared": compared,
            **{verdict: counts[verdict] for verdict in VERDICTS},
            "vectors": [row.as_dict() for row in rows],
        }
        show_json(content)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    styles = {EQUAL: "green", EXCLUDED: "dim", DIFFERS: "bold red"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("vector", no_wrap=True)
    table.add_column("compared", justify="right")
    table.add_column("")
    for row in rows:
        verdict = Text(row.verdict, styles.get(row.verdict, "red"))
        said_of_it = row.why or (row.note if row.verdict != EQUAL else "")
        if said_of_it:
            verdict.append(f": {said_of_it}", "dim" if row.verdict == EXCLUDED else "")
        table.add_row(row.vector, f"{row.compared:,}" if row.compared else "", verdict)
    console = results()
    show_table(console, table)
    summary = " · ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    console.print(f"{request.against}: {summary} · {pluralize(compared, 'message')} compared")
