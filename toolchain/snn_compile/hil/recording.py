"""Reading traces: a few stimuli of one layer at a time, and only if every hash matches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, DeviceError, Origin, UsageError, VerificationError
from snn_compile.files.archives import Archive
from snn_compile.files.documents import (
    DAMAGE,
    TooLargeError,
    describe_error,
    open_regular,
    parse_json,
    too_large,
)
from snn_compile.files.presence import no_such_file
from snn_compile.hil import trace
from snn_compile.hil.header import Header, parse_header
from snn_compile.hil.trace import MESSAGE
from snn_compile.pluralize import pluralize

BATCH_BYTES = 64 << 20
"""Default size of one layer's dense messages per batch."""
_MAX_HEADER_SIZE = 64 << 20
_SEAL_BYTES = 64


@dataclass
class Recording:
    """An open trace with valid hashes. Close it, or use it in a ``with`` statement.

    Attributes:
        path: the file.
        header: its description.
    """

    path: Path
    header: Header
    _archive: Archive = field(repr=False)

    @staticmethod
    def open(path: str | Path) -> Recording:
        """Open a trace and check every hash in it.

        Raises:
            UsageError: the file does not exist, is no trace, or has a later version.
            DeviceError: the file is damaged or cut off.
            VerificationError: its content does not match its hashes.
        """
        return Recording._opened(Path(path), whole=True)

    @staticmethod
    def read_header(path: str | Path) -> Header:
        """The description of a trace; of its content, nothing is read or checked.

        Raises:
            CompileError: as ``open``.
        """
        with Recording._opened(Path(path), whole=False) as recording:
            return recording.header

    @staticmethod
    def _opened(path: Path, *, whole: bool) -> Recording:
        try:
            with open_regular(path) as stream:
                if stream.read(2) != b"PK":
                    raise _error(UsageError, path, "not-a-trace", "not a recorded trace", "")
            archive = Archive(path)
        except FileNotFoundError as error:
            raise no_such_file(path) from error
        except DAMAGE as error:
            raise _damaged(path, error) from error
        try:
            recording = Recording(path, _header(path, archive), archive)
            if whole:
                recording._check()
        except BaseException as error:
            archive.close()
            if isinstance(error, DAMAGE):
                raise _damaged(path, error) from error
            raise
        return recording

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers whose messages were recorded, in topological order."""
        return tuple(s.name for s in self.header.series if s.quantity == MESSAGE)

    def messages(
        self, layer: str, first: int = 0, stop: int | None = None, *, quantity: str = MESSAGE
    ) -> npt.NDArray[np.int32]:
        """Messages of a layer for stimuli ``first`` to ``stop``, across pieces of the file.

        Args:
            layer: name of the population.
            first: index of the first stimulus.
            stop: index after the last one; by default the end of the recording.
            quantity: ``message`` or ``potential``.

        Returns:
            (stop - first, T, *shape) int32.

        Raises:
            KeyError: the layer was not recorded.
            IndexError: the stimuli were not recorded.
        """
        index = self._index(layer, quantity)
        stop = self.header.recorded if stop is None else stop
        if not 0 <= first <= stop <= self.header.recorded:
            raise IndexError(f"stimuli {first} to {stop} of {self.header.recorded}")
        shape = self.header.series[index].shape
        dense = np.zeros((stop - first, self.header.about.n_steps, prod(shape)), np.int32)
        for number, piece in enumerate(self.header.pieces):
            if piece.first < stop and first < piece.first + piece.count:
                events = self._events(number, index)
                events = events[(events[:, 0] >= first) & (events[:, 0] < stop)]
                dense[events[:, 0] - first, events[:, 1], events[:, 2]] = events[:, 3]
        return dense.reshape(*dense.shape[:2], *shape)

    def ranges(self, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """Consecutive ranges of stimuli whose dense messages fit the memory, up to ``stop``."""
        stop = self.header.recorded if stop is None else min(stop, self.header.recorded)
        largest = max((prod(s.shape) for s in self.header.series), default=1)
        size = max(1, BATCH_BYTES // (4 * largest * self.header.about.n_steps))
        for first in range(0, stop, size):
            yield first, min(stop, first + size)

    def same_stimuli(self, other: Recording) -> bool:
        """Whether the stimuli in both files are equal."""
        count = min(self.header.recorded, other.header.recorded)
        return bool((self._stimuli()[:count] == other._stimuli()[:count]).all())

    def check_stimuli(self, frames: npt.NDArray[np.integer]) -> None:
        """Check that these are the device's stimuli, or the first of them.

        Raises:
            UsageError: they differ.
        """
        known = self._stimuli()
        if len(frames) > len(known):
            raise _error(
                UsageError,
                self.path,
                "other-stimulus",
                f"it was recorded for {pluralize(len(known), 'stimulus')}, not {len(frames)}",
                f"compare fewer: --stimuli {len(known)}",
            )
        differing = (trace.stimulus_digests(frames) != known[: len(frames)]).any(axis=1)
        if differing.any():
            raise _error(
                UsageError,
                self.path,
                "other-stimulus",
                f"it was recorded with different stimuli (the first difference is stimulus"
                f" {int(differing.argmax())})",
                "use the data of the recording, or record it again",
            )

    def _index(self, layer: str, quantity: str) -> int:
        for index, series in enumerate(self.header.series):
            if (series.name, series.quantity) == (layer, quantity):
                return index
        raise KeyError(f"{quantity} of {layer}")

    def _events(self, number: int, index: int) -> npt.NDArray[np.int64]:
        """The events of one piece of one series, checked; (events, 4)."""
        piece, series = self.header.pieces[number], self.header.series[index]
        events = self._array(trace.event_file(number, index), (piece.events[index], 4), 8)
        if events.dtype != trace.EVENT_TYPE:
            raise ValueError(f"events of type {events.dtype}")
        wide = events.astype(np.int64)
        size, n_steps = prod(series.shape), self.header.about.n_steps
        stimulus, step, neuron, value = wide.T
        inside = (stimulus >= piece.first) & (stimulus < piece.first + piece.count)
        inside &= (step >= 0) & (step < n_steps) & (neuron >= 0) & (neuron < size) & (value != 0)
        order = (stimulus * n_steps + step) * size + neuron
        if not inside.all() or (np.diff(order) <= 0).any():
            raise ValueError("events out of range or out of order")
        return wide

    def _array(self, name: str, shape: tuple[int, ...], itemsize: int) -> npt.NDArray[Any]:
        """An array whose size is known beforehand: the header bounds every array."""
        return self._archive.array(name, shape=shape, kinds="iu", itemsize=itemsize)

    def _stimuli(self) -> npt.NDArray[np.uint8]:
        return self._array(trace.STIMULUS, (self.header.n_stimuli, 32), 1)

    def _check(self) -> None:
        """Check every array against its hash."""
        self._stimuli()
        for index, series in enumerate(self.header.series):
            digest = hashlib.sha256()
            for number in range(len(self.header.pieces)):
                events = self._events(number, index)
                digest.update(np.ascontiguousarray(events, trace.EVENT_TYPE).tobytes())
            if digest.hexdigest() != self.header.digests[index]:
                raise _changed(self.path, f"the events of '{series.name}'")


def _header(path: Path, archive: Archive) -> Header:
    if trace.HEADER not in archive.names:
        raise _error(UsageError, path, "not-a-trace", "not a recorded trace", "")
    content = archive.content(trace.HEADER, _MAX_HEADER_SIZE)
    header = parse_json(content, trace.HEADER)
    if header["format"] != trace.FORMAT:
        raise _error(UsageError, path, "not-a-trace", "not a recorded trace", "")
    if header["version"] != trace.VERSION:
        raise _error(
            UsageError,
            path,
            "trace-version",
            f"a trace of version {header['version']}; this tool reads version {trace.VERSION}",
            "use the version of snn-compile that wrote it",
        )
    if archive.content(trace.SEAL, _SEAL_BYTES).decode() != hashlib.sha256(content).hexdigest():
        raise _changed(path, trace.HEADER)
    return parse_header(header)


def _error(
    kind: type[CompileError], path: Path, code: str, message: str, hint: str
) -> CompileError:
    hint = hint or "record one: snn-compile hil DIR --device NAME --record FILE"
    return kind(message, code=code, origin=Origin(str(path)), hint=hint)


def _damaged(path: Path, error: BaseException) -> CompileError:
    if isinstance(error, OSError) and error.filename is not None:
        what = f"cannot be read: {error.strerror}"
        return _error(UsageError, path, "unreadable-trace", what, "check the path")
    if isinstance(error, TooLargeError):
        return too_large(path, error)
    return _error(
        DeviceError,
        path,
        "trace-damaged",
        f"the trace is damaged or cut off ({describe_error(error)})",
        "copy it again from where it was recorded, or record it again",
    )


def _changed(path: Path, what: str) -> CompileError:
    return _error(
        VerificationError,
        path,
        "trace-changed",
        f"{what} changed after the recording: the hash differs",
        "copy it again from where it was recorded, or record it again",
    )
