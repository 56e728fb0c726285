"""The content of the files that were found, read once as long as they do not change."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from snn_compile import sealed
from snn_compile.errors import CompileError
from snn_compile.files.documents import inside, read_json, reading
from snn_compile.files.presence import no_such_file
from snn_compile.files.typed import complaint
from snn_compile.hil.header import Header
from snn_compile.hil.recording import Recording
from snn_compile.pipeline.progress_record import Record
from snn_compile.pipeline.progress_record import read as read_record
from snn_compile.report.schema import REPORT, plain
from snn_compile.signing import VERIFICATION
from snn_compile.sweep.schema import SCHEMA, SWEEP, Sweep
from snn_compile.ui.places import OutsideError, Places
from snn_compile.ui.rows import NetworkRow, network_row, sweep_row, trace_row, work_row
from snn_compile.ui.scan import TRACE_SUFFIX, scan

FRESH = 1.0
"""Seconds for which a look through the folder serves."""
T = TypeVar("T")
_State = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Overview:
    """What the first page shows; rows of what cannot be read say why.

    Attributes:
        works: running and interrupted commands.
        networks: compiled folders.
        sweeps: folders of sweeps.
        traces: recordings of devices.
        whole: false if there is more in the folder than is looked at.
    """

    works: tuple[Mapping[str, Any], ...]
    networks: tuple[NetworkRow, ...]
    sweeps: tuple[Mapping[str, Any], ...]
    traces: tuple[Mapping[str, Any], ...]
    whole: bool


@dataclass
class _Memory(Generic[T]):
    """Results of a function of a path, by the state of its files."""

    compute: Callable[[Path], T]
    files: tuple[str, ...]
    known: dict[Path, tuple[_State, T]] = field(default_factory=dict)

    def __call__(self, path: Path) -> T:
        state = tuple(self._states(path))
        before = self.known.get(path)
        if before is not None and before[0] == state:
            return before[1]
        value = self.compute(path)
        self.known[path] = state, value
        return value

    def forget_others(self, paths: list[Path]) -> None:
        for path in self.known.keys() - set(paths):
            del self.known[path]

    def _states(self, path: Path) -> Iterator[tuple[int, int, int]]:
        for name in self.files:
            status = None
            with suppress(OSError):
                status = os.stat(path / name if name else path)
            yield (status.st_mtime_ns, status.st_size, status.st_ino) if status else (0, 0, 0)


class Library:
    """Everything that a folder holds, for the pages.

    Args:
        places: the folder.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self._lock = threading.Lock()
        self._overview: Overview | None = None
        self._seen = 0.0
        files = (REPORT, VERIFICATION, sealed.MODEL)
        self._networks = _Memory(self._network, files)
        self._sweeps = _Memory(self._sweep, (SWEEP,))
        self._traces = _Memory(self._trace, ("",))

    def overview(self) -> Overview:
        """All rows, at most ``FRESH`` seconds old."""
        with self._lock:
            if self._overview is None or time.monotonic() - self._seen > FRESH:
                self._overview = self._look()
                self._seen = time.monotonic()
            return self._overview

    def folder(self, name: str) -> Path:
        """A compiled folder.

        Raises:
            OutsideError: there is none of this name.
        """
        folder = self.places.find(name)
        if not (folder / sealed.MODEL).is_file():
            raise OutsideError(name)
        return folder

    def trace(self, name: str) -> Path:
        """A file that may be a trace.

        Raises:
            OutsideError: there is none of this name.
        """
        path = self.places.find(name)
        if path.suffix != TRACE_SUFFIX or not path.is_file():
            raise OutsideError(name)
        return path

    def report(self, name: str) -> dict[str, Any]:
        """The report of a compiled folder.

        Raises:
            OutsideError: there is no compiled folder of this name.
            CompileError: its report cannot be read.
        """
        folder = self.folder(name)
        report = sealed.read_report(folder)
        if not report:
            raise no_such_file(folder / REPORT, "compile the model again")
        return report

    def sweep(self, name: str) -> Sweep:
        """The figures of a sweep.

        Raises:
            OutsideError: there is no sweep of this name.
            CompileError: its figures cannot be read.
        """
        folder = self.places.find(name)
        if not (folder / SWEEP).is_file():
            raise OutsideError(name)
        return read_sweep(folder)

    def _look(self) -> Overview:
        found = scan(self.places.root)
        for memory, paths in (
            (self._networks, found.networks),
            (self._sweeps, found.sweeps),
            (self._traces, found.archives),
        ):
            memory.forget_others(paths)
        networks = tuple(map(self._networks, found.networks))
        by_seal = {row.seal: row.name for row in networks if row.seal}
        traces = filter(None, map(self._traces, found.archives))
        works = ((path, read_record(path)) for path in found.works)
        return Overview(
            tuple(self._work(path, record) for path, record in works if record is not None),
            networks,
            tuple(map(self._sweeps, found.sweeps)),
            tuple({**one, "network": by_seal.get(one["seal"], "")} for one in traces),
            found.whole,
        )

    def _work(self, path: Path, record: Record) -> dict[str, Any]:
        try:
            return work_row(self.places.name(path.parent), record)
        except (ValueError, OverflowError) as error:
            return {"name": self.places.name(path), "error": f"its record is damaged: {error}"}

    def _network(self, folder: Path) -> NetworkRow:
        return network_row(self.places.name(folder), folder)

    def _sweep(self, folder: Path) -> Mapping[str, Any]:
        name = self.places.name(folder)
        try:
            return sweep_row(name, read_sweep(folder))
        except CompileError as error:
            return {"name": name, "error": str(error)}
        except Exception as error:  # noqa: BLE001  (a stranger's file: its row says so)
            return {"name": name, "error": f"{type(error).__name__}: {error}"}

    def _trace(self, path: Path) -> Mapping[str, Any] | None:
        """A row; None for an archive that is no trace."""
        header: Header | None = None
        error = ""
        try:
            header = Recording.read_header(path)
        except CompileError as complained:
            if complained.code == "not-a-trace":
                return None
            error = str(complained)
        return trace_row(self.places.name(path), header, error)


def read_sweep(folder: Path) -> Sweep:
    """The content of ``sweep.json``.

    Raises:
        CompileError: it is damaged, or of another version.
    """
    path = folder / SWEEP
    hint = "run the sweep again"
    with reading(path, CompileError, "unreadable-sweep", "the sweep is damaged", hint):
        content = read_json(inside(folder, SWEEP))
        if wrong := complaint(content, Sweep, SWEEP):
            raise ValueError(wrong)
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']}")
    found: Sweep = plain(content)
    return found
