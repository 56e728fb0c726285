"""The record of progress of a sweep: as that of a compilation, in ``.NAME.work`` beside its folder.

The stage ``points`` counts those that are compiled here; each point that is being compiled is a
stage of its own. A sweep of less than a second has no record, and none is left when it has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snn_compile.files import claims
from snn_compile.pipeline.progress_record import EVERY, RECORD, ProgressRecord
from snn_compile.pipeline.work import folder_of
from snn_compile.sweep.run import SweepObserver
from snn_compile.sweep.schema import SweepPoint

POINTS = "points"


class RecordedSweep:
    """A ``SweepObserver`` that records, and forwards to another one."""

    def __init__(self, observer: SweepObserver, record: ProgressRecord) -> None:
        self._observer, self._record = observer, record

    def begin(self, total: int, kept: int) -> None:
        """As of ``SweepObserver``."""
        self._record.begin(POINTS, total - kept)
        self._observer.begin(total, kept)

    def started(self, name: str) -> None:
        """As of ``SweepObserver``."""
        self._record.begin(name, None)
        self._observer.started(name)

    def screening(self, n_samples: int, n_points: int) -> None:
        """As of ``SweepObserver``."""
        self._observer.screening(n_samples, n_points)

    def finished(self, record: SweepPoint) -> None:
        """As of ``SweepObserver``."""
        self._record.end(record["name"], record["seconds"])
        self._record.advance(1)
        self._observer.finished(record)


@contextmanager
def recorded(observer: SweepObserver, folder: Path, model: Path) -> Iterator[SweepObserver]:
    """Record a sweep into ``folder`` while it runs.

    Args:
        observer: follows it, too.
        folder: of the sweep.
        model: the user's file.
    """
    place = folder_of(folder)
    ours = {RECORD, f"{RECORD}.new"}
    is_free = not place.exists() or {one.name for one in place.iterdir()} <= ours

    def make() -> None:
        if not is_free:
            raise FileExistsError(str(place))
        place.mkdir(mode=0o700, exist_ok=True)

    record = ProgressRecord(place, model.name, folder.name, dict, make)
    ended = threading.Event()

    def write_until_ended() -> None:
        while not ended.wait(EVERY):
            record.write()

    thread = threading.Thread(target=write_until_ended, name="progress", daemon=True)
    thread.start()
    try:
        yield RecordedSweep(observer, record)
    finally:
        ended.set()
        thread.join()
        if is_free:
            claims.remove(place)
