"""A sweep for continuous integration: each point is a check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn_compile.errors import CompileError, LimitError
from snn_compile.report.outcome import Check
from snn_compile.report.tables import Row, Table
from snn_compile.sweep.rows import COLUMNS, rows
from snn_compile.sweep.schema import SweepPoint

_NOT_MADE = ("skipped", "dropped", "not-run")


def checks_of(sweep: Mapping[str, Any]) -> list[Check]:
    """What became of each point."""
    return [_check(point) for point in sweep["points"]]


def _check(point: SweepPoint) -> Check:
    check = Check(point["name"], seconds=point.get("seconds"))
    if point["state"] in _NOT_MADE:
        check.skipped = point.get("note") or point["state"]
    elif point["state"] == "over-limit":
        check.complaints.append(LimitError(f"{point['name']} breaks a limit"))
    elif error := point.get("error"):
        check.complaints.append(
            CompileError(error["message"], code=error["code"], hint=error.get("hint", ""))
        )
    return check


def table_of(sweep: Mapping[str, Any]) -> Table:
    """The compiled points."""
    found = [
        Row((row.point["name"], *map(str, row.cells), row.front))
        for row in rows(sweep)
        if row.is_compiled
    ]
    return Table("points", ("point", *COLUMNS, "on the front of"), tuple(found))
