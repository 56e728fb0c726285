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
from snn_compile.samples.rows import Array, Index, Rows, indices

LATEST_US = 1 << 53
"""Largest time stamp; times since 1970 are far below."""
MAX_TIMESTAMP_US = 1 << 50
"""Longest recording, some 35 years; times the steps of a window it fits 64 bits."""


@dataclass(frozen=True, eq=False)
class Recordings:
    """Events of one or several recordings.

    Attributes:
        x: (n,) column of each event.
        y: (n,) row.
        p: (n,) polarity, 0 or 1.
        t_us: (n,) time in microseconds, in any order.
        offsets: (N + 1,); recording k is events ``offsets[k]`` to ``offsets[k + 1]``.
        labels: (N,) integers, or None.
        file: their origin.
    """

    x: Int
    y: Int
    p: Int
    t_us: Int
    offsets: Int
    labels: npt.NDArray[np.int64] | None
    file: str

    @staticmethod
    def of(arrays: Mapping[str, Array], file: str) -> Recordings:
        """The recordings in the arrays of a file: x, y, p, t_us and perhaps offsets and label.

        Raises:
            UsageError: they are invalid.
        """
        x, y, p, t_us = (_whole(arrays[key], key, file) for key in EVENT_KEYS)
        n = len(t_us)
        offsets = _whole(arrays.get("offsets", np.array([0, n])), "offsets", file)
        if {len(x), len(y), len(p)} != {n}:
            raise _error(f"{', '.join(EVENT_KEYS)} must have one entry an event", file)
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != n or (np.diff(offsets) < 0).any():
            raise _error(f"offsets must rise from 0 to the number of events, {n:,}", file)
        if n and (int(p.min()) < 0 or int(p.max()) > 1):
            raise _error("p must be 0 or 1, the polarity of each event", file)
        if n and not -LATEST_US <= int(t_us.min()) <= int(t_us.max()) <= LATEST_US:
            raise _error("t_us must be times in microseconds", file)
        if n and int(t_us.max()) - int(t_us.min()) > MAX_TIMESTAMP_US:
            raise _error("the times are decades apart", file)
        labels = None
        if "label" in arrays:
            labels = _whole(arrays["label"], "label", file)
            if len(labels) != len(offsets) - 1:
                raise _error("label must have one entry a recording", file)
        return Recordings(x, y, p, t_us, offsets, labels, file)

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

    def some(self, chosen: npt.NDArray[np.intp]) -> Recordings:
        """Some of the recordings, without labels."""
        parts = [slice(self.offsets[k], self.offsets[k + 1]) for k in chosen]
        ends = np.cumsum([0, *(part.stop - part.start for part in parts)])
        x, y, p, t_us = (
            np.concatenate([values[:0], *(values[part] for part in parts)])
            for values in (self.x, self.y, self.p, self.t_us)
        )
        return Recordings(x, y, p, t_us, ends, None, self.file)

    def train_rows(self, shape: Shape, n_steps: int, step_us: float | None) -> Rows:
        """The trains of ``trains``, made whenever they are read; errors as there."""
        self._check_pixels(shape)
        return TrainRows(self, shape, n_steps, step_us)

    def trains(self, shape: Shape, n_steps: int, step_us: float | None) -> Int:
        """Event counts of each pixel in each step.

        Args:
            shape: of a frame: (2, H, W), one map for each polarity, or (1, H, W) for both in one.
            n_steps: in a train.
            step_us: length of a step in microseconds, counted from the first event of a recording;
                events after the last step are dropped. None: each recording is cut into
                ``n_steps`` steps of the same length.

        Returns:
            (N, n_steps, *shape) int64.

        Raises:
            UsageError: the input shape does not fit events, or pixels lie outside of it.
        """
        self._check_pixels(shape)
        pixels = np.ravel_multi_index(
            (self.p if shape[0] == 2 else np.zeros_like(self.p), self.y, self.x), shape
        )
        size = int(np.prod(shape))
        try:
            check_size(f"{len(self):,} trains of frames", 8 * len(self) * n_steps * size)
        except TooLargeError as error:
            raise too_large(self.file, error) from error
        trains = np.zeros((len(self), n_steps, *shape), np.int64)
        for k, (first, stop) in enumerate(zip(self.offsets, self.offsets[1:], strict=False)):
            steps = _steps(self.t_us[first:stop], n_steps, step_us)
            kept = steps < n_steps
            places = steps[kept] * size + pixels[first:stop][kept]
            trains[k] = np.bincount(places, minlength=n_steps * size).reshape(trains.shape[1:])
        return trains

    def _check_pixels(self, shape: Shape) -> None:
        """Check that the events fit an input."""
        if len(shape) != 3 or shape[0] not in (1, 2):
            raise _error(
                f"it holds events, but the network takes ({', '.join(map(str, shape))})",
                self.file,
                hint="events fit an input of (2, H, W), one map a polarity, or (1, H, W)",
            )
        if len(self.x) and (
            min(int(self.x.min()), int(self.y.min())) < 0
            or int(self.x.max()) >= shape[2]
            or int(self.y.max()) >= shape[1]
        ):
            raise _error(
                f"events up to column {int(self.x.max())}, row {int(self.y.max())}, but the network"
                f" takes frames of {shape[2]} columns and {shape[1]} rows",
                self.file,
                hint="crop or bin the recordings to the size that the network was trained for",
            )


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
        some = self.recordings.some(indices(index, len(self)))
        return some.trains(self.frame, self.n_steps, self.step_us)


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


def _whole(values: Array, key: str, file: str) -> Int:
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iub":
        raise _error(f"{key} must be a list of integers, not {values.dtype}{values.shape}", file)
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
