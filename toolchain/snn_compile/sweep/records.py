"""The record of each finished point: what a sweep that is run again need not do again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from snn_compile import sealed
from snn_compile.errors import CompileError, CompileErrors, exit_code
from snn_compile.files import typed
from snn_compile.files.documents import read_json
from snn_compile.files.writing import replace_text
from snn_compile.report.schema import plain
from snn_compile.sweep.goal import FIGURES
from snn_compile.sweep.schema import POINTS, Failure, Screening, SweepMachine, SweepPoint
from snn_compile.workers import Machine

COMPILED = ("done", "over-limit")
"""States of a point that has a folder."""
MAX_FIGURE = 1e18
"""Largest figure that can be drawn without an overflow."""


class Records:
    """The records in the folder of a sweep.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / POINTS

    def place(self, name: str) -> Path:
        """The compiled folder of a point."""
        return self.folder / name

    def find(self, name: str, key: str) -> SweepPoint | None:
        """The record of a point, if it is of the same inputs and its network is there."""
        try:
            record = read_json(self._path(name))
            if typed.complaint(record, SweepPoint, name) or record.get("key") != key:
                return None
            if not self._is_plausible(record, name):
                return None
            if record["state"] in COMPILED and sealed.read_seal(self.place(name)) != record["seal"]:
                return None
        except (OSError, ValueError, KeyError, CompileError):
            return None  # absent, damaged or foreign: the point is compiled again
        found: SweepPoint = record
        return found

    def keep(self, record: SweepPoint) -> None:
        """Write a record as a whole, or not at all; it is on the disk afterwards."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False)
        replace_text(self._path(record["name"]), text + "\n")

    def _is_plausible(self, record: SweepPoint, name: str) -> bool:
        """Whether a record says what a sweep would write: the page links to what it names.

        Raises:
            KeyError: something is missing.
        """
        state = record["state"]
        if record["name"] != name or record["seconds"] < 0:
            return False
        figures: Mapping[str, Any] = record
        if any(abs(figures.get(figure) or 0.0) > MAX_FIGURE for figure in FIGURES):
            return False
        if state in COMPILED:
            return record["folder"] == f"{self.folder.name}/{name}"
        if state in ("failed", "lost"):
            error = record["error"]
            return error.keys() >= get_type_hints(Failure).keys() and error["exit_code"] > 0
        proof = record["screening"]
        if state != "dropped" or not proof.keys() >= get_type_hints(Screening).keys():
            return False
        return 0 <= proof["wins"] <= proof["discordant"] <= proof["n"]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def machine_of(machine: Machine) -> SweepMachine:
    """A machine as it is recorded: without the process."""
    return {
        "host": machine.host,
        "cpu": machine.cpu,
        "blas": machine.blas,
        "versions": dict(machine.versions),
    }


def failure_of(error: CompileError) -> Failure:
    """An error as it is recorded; of several, their messages together."""
    errors = error.errors if isinstance(error, CompileErrors) else (error,)
    hints: list[Any] = [one for one in (*(e.hint for e in errors), error.nearest) if one]
    return {
        "code": error.code,
        "message": "; ".join(dict.fromkeys(one.message for one in errors)),
        "origin": str(error.origin or ""),
        "hint": "; ".join(dict.fromkeys(hints)),
        "exit_code": exit_code(error),
    }
