"""One table for a network: untuned, and tuned by each method, over numbers of time steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import Any

from snn_compile.errors import Origin, UsageError
from snn_compile.files.documents import read_json, reading
from snn_compile.files.writing import replace_text
from snn_compile.options import CompileOptions
from snn_compile.report.observer import Advance, Observer, SilentObserver
from snn_compile.samples.readers.digest import content_hash
from snn_compile.sealed.provenance import provenance
from snn_compile.tune.driver import tune_model
from snn_compile.tune.options import TuneOptions
from snn_compile.tune.seeds import checkpoint_of, spread

METHODS = ("psg", "qcfs")
SCHEMA, FILE = 1, "table.json"


@dataclass(frozen=True)
class TableRequest:
    """What is compared.

    Attributes:
        model: the file.
        train: labelled data.
        held_out: data to measure progress, or None.
        steps: numbers of time steps, a row for each.
        options: of tuning; the method is that of the column.
        compiling: options of the compilation, with evaluation data.
    """

    model: Path
    train: Path
    held_out: Path | None
    steps: Sequence[int]
    options: TuneOptions
    compiling: CompileOptions

    def fingerprint(self) -> str:
        """Hash of everything that a cell depends on, besides its method and steps."""
        compiling = provenance(self.model, self.compiling.override({"timesteps": 1}))
        files = [content_hash(path) for path in (self.train, self.held_out) if path]
        known = repr((compiling, files, replace(self.options, method="psg").as_dict()))
        return sha256(known.encode()).hexdigest()


@dataclass(frozen=True)
class Cell:
    """One network of the table.

    Attributes:
        steps: T.
        method: of the training.
        before: accuracy in percent before it.
        after: accuracy afterwards with each seed.
        cpu_seconds: of all trainings.
    """

    steps: int
    method: str
    before: float
    after: tuple[float, ...]
    cpu_seconds: float


def tuning_table(
    request: TableRequest, folder: Path, observer: Observer | None = None
) -> list[Cell]:
    """Train all networks of a table, or those that an interrupted call has left.

    Args:
        request: what is compared.
        folder: where results are kept as they come, in ``table.json``.
        observer: receives progress.

    Raises:
        UsageError: the folder belongs to another table; or as of ``tune_model``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, fingerprint = folder / FILE, request.fingerprint()
    cells = _kept(file, fingerprint)
    observer = observer or SilentObserver()
    for steps, method in _missing(request, cells):
        observer.stage("table", f"T = {steps}, {method}")
        cells.append(_cell(request, steps, method, folder, observer))
        document = {"schema": SCHEMA, "fingerprint": fingerprint, "cells": _plain(cells)}
        replace_text(file, json.dumps(document, indent=1) + "\n")
    return cells


def as_markdown(cells: Sequence[Cell]) -> str:
    """The table, with the number of points that each training won."""
    methods = list(dict.fromkeys(cell.method for cell in cells))
    rows = [["T", "untuned, %", *(f"{method}, %" for method in methods)]]
    for steps in sorted({cell.steps for cell in cells}):
        of_row = {cell.method: cell for cell in cells if cell.steps == steps}
        row = [str(steps), f"{next(iter(of_row.values())).before:.2f}"]
        for method in methods:
            cell = of_row.get(method)
            gain = "" if cell is None else f" ({mean(cell.after) - cell.before:+.2f})"
            row.append("" if cell is None else spread(cell.after) + gain)
        rows.append(row)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    lines = [" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _missing(request: TableRequest, cells: Sequence[Cell]) -> Iterator[tuple[int, str]]:
    known = {(cell.steps, cell.method) for cell in cells}
    for steps in dict.fromkeys(request.steps):
        for method in METHODS:
            if (steps, method) not in known:
                yield steps, method


def _cell(request: TableRequest, steps: int, method: str, folder: Path, observer: Observer) -> Cell:
    checkpoint = folder / f"{method}-{steps}.checkpoint"
    tuned = tune_model(
        request.model,
        request.train,
        options=request.options.override({"method": method}),
        compile_options=request.compiling.override({"timesteps": steps}),
        held_out=request.held_out,
        checkpoint=checkpoint,
        observer=_Quiet(observer),
    )
    for index in range(request.options.seeds):
        checkpoint_of(checkpoint, index).unlink(missing_ok=True)
    found = tuned.report["tune"]
    after = [seed["after"] for seed in found.get("seeds") or [found]]
    taken = sum(one["cpu_seconds"] for one in tuned.report["timing"] if one["stage"] == "tune")
    return Cell(steps, method, found["before"], tuple(after), taken)


class _Quiet(SilentObserver):
    """Shows the progress of a training, and of its epochs nothing."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    @contextmanager
    def progress(self, name: str, text: str, total: int) -> Iterator[Advance]:
        """Shown."""
        with self.observer.progress(name, text, total) as advance:
            yield advance


def _plain(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [{**vars(cell), "after": list(cell.after)} for cell in cells]


def _kept(file: Path, fingerprint: str) -> list[Cell]:
    """The cells that are known.

    Raises:
        UsageError: they are of other files or options.
    """
    if not file.exists():
        return []
    hint = "name another folder with -o, or remove it"
    with reading(file, UsageError, "bad-checkpoint", "the table is damaged", hint):
        document = read_json(file)
        cells = [Cell(**{**cell, "after": tuple(cell["after"])}) for cell in document["cells"]]
    if document.get("schema") != SCHEMA or document.get("fingerprint") != fingerprint:
        raise UsageError(
            "the table belongs to another network, other data or other options",
            code="other-checkpoint",
            origin=Origin(str(file)),
            hint=hint,
        )
    return cells
