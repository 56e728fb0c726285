"""Recordings of events, one a file: as N-MNIST has them, or as structured arrays of numpy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError
from snn_compile.files.documents import DamagedError, check_size
from snn_compile.files.npy import structured
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape
from snn_compile.samples.arrays import EVENT_KEYS
from snn_compile.samples.events import EVENT_BYTES, Recordings
from snn_compile.samples.readers.content import Content, Request, complaint
from snn_compile.samples.readers.decoded import DecodedRows, UnusableError

_BYTES = 5
"""Of an event of N-MNIST: x, y, and 24 bits of the polarity and the time in microseconds."""
_TIME = (1 << 23) - 1
FIELDS = {
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "polarity", "pol"),
    "t_us": ("t_us", "t", "timestamp", "ts"),
}
"""Names of the fields of a structured array; times are in microseconds, as of tonic."""


class OtherEventsError(UnusableError):
    """Events that the network does not take."""

    def __init__(self, error: UsageError) -> None:
        super().__init__(error.message)
        self.code, self.hint = error.code, error.hint


@dataclass(frozen=True)
class Decoder:
    """From the file of a recording to a train of frames.

    Attributes:
        frame: shape of a frame.
        n_steps: in a train.
        step_us: as of ``Recordings.trains``.
    """

    frame: Shape
    n_steps: int
    step_us: float | None

    @property
    def shape(self) -> Shape:
        """Of a train."""
        return (self.n_steps, *self.frame)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the counts."""
        return np.dtype(np.int64)

    def __call__(self, stream: BinaryIO) -> Int:
        """Event counts of each pixel in each step.

        Raises:
            DamagedError: it is no recording, or one of other pixels.
        """
        events = events_of(stream)
        try:
            train: Int = Recordings.of(events, "").trains(self.frame, self.n_steps, self.step_us)[0]
        except UsageError as error:
            raise OtherEventsError(error) from error
        return train


def events_of(stream: BinaryIO) -> dict[str, npt.NDArray[Any]]:
    """The events in a file, by the names that ``Recordings.of`` takes.

    Raises:
        DamagedError: it holds none.
    """
    if stream.read(1) == b"\x93":
        stream.seek(0)
        return fields_of(structured(stream, "it"))
    stream.seek(0)
    size = os.fstat(stream.fileno()).st_size
    if not size:
        raise DamagedError("it is empty")
    if size % _BYTES:
        raise DamagedError(f"its {size:,} bytes are no whole number of events, {_BYTES} bytes each")
    n_events = size // _BYTES
    check_size(f"a recording of {n_events:,} events", EVENT_BYTES * n_events)
    stored = np.frombuffer(stream.read(size), np.uint8).reshape(-1, _BYTES).astype(np.int64)
    time = stored[:, 2] << 16 | stored[:, 3] << 8 | stored[:, 4]
    return {"x": stored[:, 0], "y": stored[:, 1], "p": time >> 23, "t_us": time & _TIME}


def fields_of(events: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """The events of a structured array.

    Raises:
        DamagedError: it lacks fields.
    """
    names = events.dtype.names or ()
    found = {key: next((n for n in FIELDS[key] if n in names), "") for key in EVENT_KEYS}
    if missing := [key for key, name in found.items() if not name]:
        raise DamagedError(
            f"it has no field {missing[0]}" + (f", only {', '.join(names)}" if names else "")
        )
    return {key: events[name].reshape(-1) for key, name in found.items()}


def read_events(where: Path, files: Sequence[Path], request: Request) -> Content:
    """The recordings in files, one in each.

    Raises:
        UsageError: the network takes no events.
    """
    name, frame = request.file_input
    if not request.n_steps:
        raise complaint(
            where,
            "it holds recorded events, but the network takes whole frames",
            "wrong-shape",
            "sum them to frames; events are for networks trained with spikes",
        )
    decoder = Decoder(frame, request.n_steps, request.step_us)
    rows = DecodedRows.of_files(files, decoder, "recordings")
    return Content({name: rows}, are_decoded=True)
