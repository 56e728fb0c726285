"""Event-camera recordings: conversion of event lists to trains of frames, one per time step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import Origin, UsageError
from snn_compile.files.documents import TooLargeError, check_size, too_large
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Shape
from snn_compile.samples.arrays import EVENT_KEYS
from snn_compile.samples.rows import Array, Index, Rows, indices, together

LATEST_US = 1 << 53
"""Largest time stamp; times since 1970 are far below."""
MAX_TIMESTAMP_US = 1 << 50
"""Longest recording, some 35 years; times the steps of a window it fits 64 bits."""
EVENT_BYTES = 96
"""Memory that an event takes while it is counted: twelve numbers of 64 bits."""


@dataclass(frozen=True, eq=False)
class Recordings:
    """Events of one or several recordings, read when they are asked for.

    Attributes:
        events: x (column), y (row), p (polarity, 0 or 1) and t_us (time in microseconds, in any
            order) of each event, (n,) integers.
        offsets: (N + 1,); recording k is events ``offsets[k]`` to ``offsets[k + 1]``.
        labels: (N,) integers, or None.
        file: their origin.
        ends: smallest and largest x and y; None without events.
    """

    events: Mapping[str, Rows]
    offsets: Int
    labels: npt.NDArray[np.int64] | None
    file: str
    ends: tuple[Int, Int] | None

    @staticmethod
    def of(arrays: Mapping[str, Rows], file: str) -> Recordings:
        """The recordings in the arrays of a file: x, y, p, t_us and perhaps offsets and label.

        Raises:
            UsageError: they are invalid.
        """
        events = {key: _whole(arrays[key], key, file) for key in EVENT_KEYS}
        sizes = {len(values) for values in events.values()}
        if len(sizes) > 1:
            raise _error(f"{', '.join(EVENT_KEYS)} must have one entry an event", file)
        (n,) = sizes
        offsets = _integers(arrays.get("offsets", np.array([0, n])), "offsets", file)
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != n or (np.diff(offsets) < 0).any():
            raise _error(f"offsets must rise from 0 to the number of events, {n:,}", file)
        ends = _checked_ends(events, file)
        labels = None
        if "label" in arrays:
            labels = _integers(arrays["label"], "label", file)
            if len(labels) != len(offsets) - 1:
                raise _error("label must have one entry a recording", file)
        return Recordings(events, offsets, labels, file, ends)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def required_labels(self) -> npt.NDArray[np.int64]:
        """The labels.

        Raises:
            UsageError: there are none.
        """
        if self.labels is None:
            raise UsageError(
                "it has no labels ('label')",
                code="missing-labels",
                origin=Origin(self.file),
                hint="add label, one integer a recording",
            )
        return self.labels

    def train_rows(self, shape: Shape, n_steps: int, step_us: float | None) -> Rows:
        """The trains of ``trains``, made whenever they are read; errors as there."""
        self._check_pixels(shape)
        return TrainRows(self, shape, n_steps, step_us)

    def trains(
        self,
        shape: Shape,
        n_steps: int,
        step_us: float | None,
        chosen: npt.NDArray[np.intp] | None = None,
    ) -> Int:
        """Event counts of each pixel in each step.

        Args:
            shape: of a frame: (2, H, W), one map for each polarity, or (1, H, W) for both in one.
            n_steps: in a train.
            step_us: length of a step in microseconds, counted from the first event of a recording;
                events after the last step are dropped. None: each recording is cut into
                ``n_steps`` steps of the same length.
            chosen: some of the recordings by their numbers; None for all N.

        Returns:
            (N, n_steps, *shape) int64.

        Raises:
            UsageError: the input shape does not fit events, or pixels lie outside of it.
        """
        self._check_pixels(shape)
        listed = np.arange(len(self)) if chosen is None else chosen
        size = int(np.prod(shape))
        longest = int(np.diff(self.offsets)[listed].max(initial=0))
        try:
            check_size(f"{len(listed):,} trains of frames", 8 * len(listed) * n_steps * size)
            check_size(f"a recording of {longest:,} events", EVENT_BYTES * longest)
        except TooLargeError as error:
            raise too_large(self.file, error) from error
        trains = np.zeros((len(listed), n_steps, *shape), np.int64)
        for place, k in enumerate(listed):
            part = slice(int(self.offsets[k]), int(self.offsets[k + 1]))
            x, y, p, t_us = (self.events[key][part].astype(np.int64) for key in EVENT_KEYS)
            pixels = np.ravel_multi_index((p if shape[0] == 2 else np.zeros_like(p), y, x), shape)
            steps = _steps(t_us, n_steps, step_us)
            kept = steps < n_steps
            counts = np.bincount(steps[kept] * size + pixels[kept], minlength=n_steps * size)
            trains[place] = counts.reshape(trains.shape[1:])
        return trains

    def _check_pixels(self, shape: Shape) -> None:
        """Check that the events fit an input."""
        if len(shape) != 3 or shape[0] not in (1, 2):
            raise _error(
                f"it holds events, but the network takes ({', '.join(map(str, shape))})",
                self.file,
                hint="events fit an input of (2, H, W), one map a polarity, or (1, H, W)",
            )
        if self.ends is None:
            return
        (column, row), least = self.ends[1], self.ends[0].min()
        if least < 0 or column >= shape[2] or row >= shape[1]:
            raise _error(
                f"events up to column {column}, row {row}, but the network"
                f" takes frames of {shape[2]} columns and {shape[1]} rows",
                self.file,
                hint="crop or bin the recordings to the size that the network was trained for",
            )


def _checked_ends(events: Mapping[str, Rows], file: str) -> tuple[Int, Int] | None:
    """The smallest and the largest x and y; the other values are checked, in one pass."""
    low, high = list[Int](), list[Int]()
    for parts in together(*(events[key] for key in EVENT_KEYS)):
        values = np.stack(
            [_int64(part, key, file) for key, part in zip(EVENT_KEYS, parts, strict=True)]
        )
        low.append(values.min(axis=1))
        high.append(values.max(axis=1))
    if not low:
        return None
    least, most = np.min(low, axis=0), np.max(high, axis=0)
    if least[2] < 0 or most[2] > 1:
        raise _error("p must be 0 or 1, the polarity of each event", file)
    if least[3] < -LATEST_US or most[3] > LATEST_US:
        raise _error("t_us must be times in microseconds", file)
    if most[3] - least[3] > MAX_TIMESTAMP_US:
        raise _error("the times are decades apart", file)
    return least[:2], most[:2]


@dataclass(frozen=True, eq=False)
class TrainRows:
    """Trains of frames, made of recordings whenever they are read.

    Attributes:
        recordings: the events.
        frame: shape of a frame.
        n_steps: in a train.
        step_us: as of ``Recordings.trains``.
    """

    recordings: Recordings
    frame: Shape
    n_steps: int
    step_us: float | None

    @property
    def shape(self) -> tuple[int, ...]:
        """As of ``Rows``."""
        return (len(self), self.n_steps, *self.frame)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of ``Rows``."""
        return np.dtype(np.int64)

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: Index, /) -> Array:
        chosen = indices(index, len(self))
        return self.recordings.trains(self.frame, self.n_steps, self.step_us, chosen)


def _steps(t_us: Int, n_steps: int, step_us: float | None) -> Int:
    """The step of each event; the last event of a recording that is cut evenly is in the last."""
    if not len(t_us):
        return t_us
    since = t_us - int(t_us.min())
    if step_us is not None:
        steps: Int = np.minimum(np.floor_divide(since, step_us), n_steps).astype(np.int64)
    else:
        steps = since * n_steps // (int(since.max()) + 1)
    return steps


def _whole(values: Rows, key: str, file: str) -> Rows:
    if len(values.shape) != 1 or values.dtype.kind not in "iub":
        raise _error(f"{key} must be a list of integers, not {values.dtype}{values.shape}", file)
    return values


def _integers(values: Rows, key: str, file: str) -> Int:
    return _int64(_whole(values, key, file)[:], key, file)


def _int64(values: Array, key: str, file: str) -> Int:
    if values.dtype == np.uint64 and values.size and int(values.max()) >= 1 << 63:
        raise _error(f"{key} has integers of more than 63 bits", file)
    return values.astype(np.int64)


def _error(message: str, file: str, hint: str = "") -> UsageError:
    return UsageError(
        message,
        code="bad-recording",
        origin=Origin(file),
        hint=hint
        or "x, y, p, t_us: one entry an event; offsets: the first event of each recording",
    )
