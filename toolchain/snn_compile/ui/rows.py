"""Rows of the tables on the first page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from snn_compile import sealed
from snn_compile.errors import CompileError
from snn_compile.hil.header import Header
from snn_compile.pipeline.progress_record import DONE, RUNNING, Record
from snn_compile.pluralize import pluralize
from snn_compile.printable import printable
from snn_compile.report import cost_figures, figures
from snn_compile.report.heartbeat import clock
from snn_compile.report.schema import REPORT
from snn_compile.sweep.rows import count, summary
from snn_compile.sweep.schema import Sweep


@dataclass(frozen=True)
class Cell:
    """What a table shows, and what it is sorted by (None: last, in either order)."""

    text: str
    key: float | str | None
    kind: str = ""


@dataclass(frozen=True)
class NetworkRow:
    """A compiled folder.

    Attributes:
        name: of the folder, below the one that is shown.
        seal: of its network; empty if it cannot be read.
        cells: by the keys of ``COLUMNS``.
        error: why there are no cells.
    """

    name: str
    seal: str = ""
    cells: Mapping[str, Cell] | None = None
    error: str = ""


def _number(value: Any, text: str) -> Cell:
    return Cell(text, None) if value is None else Cell(text, float(value))


def _accuracy(report: Mapping[str, Any]) -> Cell:
    measure = figures.measure(report)
    value = figures.rung(report, figures.ANSWER).get(measure)
    kind = "" if measure == "top1" else "agreement"
    return Cell("–" if value is None else f"{value:.2f}", value, kind)


def _drop(report: Mapping[str, Any]) -> Cell:
    answer, first = figures.rung(report, figures.ANSWER), figures.reference(report)
    now, before = answer.get("top1"), first.get("top1")
    if now is None or before is None:
        return Cell("", None)
    change = now - before
    return Cell(figures.points(change), change)


def _estimate(name: str) -> Callable[[Mapping[str, Any]], Cell]:
    def cell(report: Mapping[str, Any]) -> Cell:
        found = (report.get("cost") or {}).get(name) or {}
        value = found.get("value")
        return _number(value, cost_figures.estimate({**found, "low": None}))

    return cell


def _cores(report: Mapping[str, Any]) -> Cell:
    cores = (report.get("resources") or {}).get("cores")
    return _number(cores, "" if cores is None else f"{cores:,}")


def _steps(report: Mapping[str, Any]) -> Cell:
    steps = report.get("total_steps")
    return _number(steps, "" if steps is None else f"{steps:,}")


def _coding(report: Mapping[str, Any]) -> Cell:
    words = str(report.get("coding", ""))
    if report.get("timesteps", 1) > 1:
        words += f", T = {report['timesteps']}"
    return Cell(words, words)


def _bits(report: Mapping[str, Any]) -> Cell:
    bits = [layer["weight_bits"] for layer in report.get("layers") or () if "weight_bits" in layer]
    if not bits:
        return Cell("", None)
    low, high = min(bits), max(bits)
    return Cell(str(low) if low == high else f"{low} to {high}", float(high))


def _verified(report: Mapping[str, Any]) -> Cell:
    """How many comparisons there are, and whether all were equal."""
    known = report.get("verification") or ()
    outcomes = [one for one in known if one.get("equal") is not None]
    if not outcomes:
        return Cell("not yet", 0.0)
    wrong = [one for one in outcomes if not one["equal"]]
    names = ", ".join(str(one.get("against", "")) for one in wrong or outcomes)
    if wrong:
        return Cell(f"differs: {names}", -1.0, "bad")
    return Cell(f"equal: {names}", len(outcomes), "good")


def _model(report: Mapping[str, Any]) -> Cell:
    name = figures.header(report)[0]
    return Cell(name, name.lower())


@dataclass(frozen=True)
class Column:
    """A column of the table of networks.

    Attributes:
        title: its head.
        cell: of a report.
        numeric: whether it is aligned as numbers are.
        falling: whether the largest comes first when it is sorted by.
    """

    title: str
    cell: Callable[[Mapping[str, Any]], Cell]
    numeric: bool = True
    falling: bool = False


COLUMNS: Mapping[str, Column] = {
    "model": Column("model", _model, numeric=False),
    "coding": Column("coding", _coding, numeric=False),
    "bits": Column("bits", _bits),
    "accuracy": Column("accuracy %", _accuracy, falling=True),
    "drop": Column("change", _drop, falling=True),
    "energy": Column("energy", _estimate("energy")),
    "latency": Column("latency", _estimate("latency")),
    "cores": Column("cores", _cores),
    "steps": Column("steps", _steps),
    "verified": Column("verified", _verified, numeric=False),
}
WRITTEN, NAME = "written", "name"
"""Two columns more: when the folder was written, and its name."""
SORTABLE = (NAME, *COLUMNS, WRITTEN)


def network_row(name: str, folder: Path) -> NetworkRow:
    """The row of a compiled folder; one that cannot be read says why.

    Args:
        name: of the folder.
        folder: to read.
    """
    try:
        seal, report = sealed.read_seal(folder), sealed.read_report(folder)
        if not report:
            return NetworkRow(name, seal, error=f"there is no {REPORT}")
        cells = {key: column.cell(report) for key, column in COLUMNS.items()}
        written = (folder / REPORT).stat().st_mtime
    except CompileError as error:
        return NetworkRow(name, error=str(error))
    except Exception as error:  # noqa: BLE001  (a folder of a stranger: its row says so)
        return NetworkRow(name, error=printable(f"{type(error).__name__}: {error}"))
    when = datetime.fromtimestamp(written, UTC).astimezone()
    cells[WRITTEN] = Cell(f"{when:%Y-%m-%d %H:%M}", written)
    return NetworkRow(name, seal, cells)


def in_order(rows: Sequence[NetworkRow], key: str, *, falling: bool) -> list[NetworkRow]:
    """Rows sorted by a column; those without a value last, in either order."""

    def value(row: NetworkRow) -> Any:
        return row.name.lower() if key == NAME else row.cells and row.cells[key].key

    known = [row for row in rows if value(row) is not None]
    known.sort(key=value, reverse=falling)
    return [*known, *(row for row in rows if value(row) is None)]


def work_row(folder: str, record: Record) -> dict[str, Any]:
    """A running or interrupted command.

    Args:
        folder: that it writes into, by its name.
        record: of its progress.

    Raises:
        ValueError: the record holds no dates.
        OverflowError: it has no durations.
    """
    stages = record["stages"]
    running = [stage for stage in stages if stage["state"] == RUNNING]
    counted = [stage for stage in running if stage["total"]] or running
    bars = [
        {
            "stage": stage["stage"],
            "done": stage["done"],
            "total": stage["total"],
            "text": _of_stage(stage),
        }
        for stage in counted[-1:]
    ]
    others = [stage["stage"] for stage in running if stage not in counted[-1:]]
    return {
        "name": record["output"] if folder == "." else f"{folder}/{record['output']}",
        "model": PurePath(record["model"]).name,
        "state": record["state"],
        "running": record["state"] == RUNNING,
        "started": _clock_time(record["started"]),
        "error": "",
        "bars": bars,
        "others": others,
        "done": [
            {"stage": stage["stage"], "seconds": clock(stage["seconds"])}
            for stage in stages
            if stage["state"] == DONE
        ],
    }


def _clock_time(date: str) -> str:
    return f"{datetime.fromisoformat(date).astimezone():%Y-%m-%d %H:%M:%S}"


def _of_stage(stage: Mapping[str, Any]) -> str:
    parts = []
    if stage["total"]:
        parts.append(f"{stage['done']:,} of {stage['total']:,}")
    parts.append(clock(stage["seconds"]))
    if stage["remaining"]:
        parts.append(f"about {clock(stage['remaining'])} left")
    return " · ".join(parts)


def sweep_row(name: str, sweep: Sweep) -> dict[str, Any]:
    """A sweep in a line.

    Raises:
        CompileError: it names no model.
    """
    model = (sweep.get("files") or {}).get("model")
    if model is None:
        raise CompileError("the sweep names no model", code="unreadable-sweep")
    return {
        "name": name,
        "model": PurePath(model["path"]).name,
        "points": count(sweep),
        "summary": summary(sweep),
        "error": "",
    }


def trace_row(name: str, header: Header | None, error: str) -> dict[str, Any]:
    """A recording of a device."""
    if header is None:
        return {"name": name, "seal": "", "error": error}
    stimuli = pluralize(header.n_stimuli, "stimulus")
    whole = stimuli if header.complete else f"{header.recorded:,} of {stimuli}"
    return {
        "name": name,
        "seal": header.about.network,
        "device": printable(header.about.device),
        "exact": header.about.exact,
        "stimuli": whole,
        "complete": header.complete,
        "why": printable(header.why),
        "layers": len({series.name for series in header.series}),
        "error": "",
    }
