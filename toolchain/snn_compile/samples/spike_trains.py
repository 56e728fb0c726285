"""Samples for spiking networks: trains of frames, constant currents, recorded events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.ir.graph import Shape
from snn_compile.options import CompileOptions
from snn_compile.samples.arrays import (
    Labels,
    Samples,
    as_rows,
    check_samples,
    holds_events,
    read_npz,
    x_and_labels,
)
from snn_compile.samples.events import Recordings
from snn_compile.samples.named import ArraysLike, only_rows
from snn_compile.samples.outputs import OutputShapes
from snn_compile.samples.readers import Request, open_samples, parts_of
from snn_compile.samples.rows import Rows


@dataclass(frozen=True, eq=False)
class TrainData:
    """Both sets of samples.

    Attributes:
        calibrate: for the range of the input, or None.
        evaluate: labelled or not, or None.
        trains: whether each sample has a frame for every step; None without samples.
    """

    calibrate: Samples | None
    evaluate: Samples | None
    trains: bool | None


def load_trains(
    request: Request,
    options: CompileOptions,
    outputs: OutputShapes,
    calibrate: ArraysLike | None,
    evaluate: tuple[ArraysLike, Labels | None] | None,
) -> TrainData:
    """Both sets of samples, from arrays or files; all errors at once.

    Args:
        request: what the network takes.
        options: name the files.
        outputs: of the network.
        calibrate: replaces ``options.calibrate``: (N, T, *shape), or (N, *shape) for constant
            currents; or recorded events, as in a file.
        evaluate: samples and labels (or None); replaces ``options.evaluate``.
    """
    errors: list[CompileError] = []
    trains: set[bool] = set()
    ((_, shape),) = request.shapes.items()

    def load(given: ArraysLike | None, labels: Labels | None, part: str, path: Path | None) -> Any:
        if given is None and path is None:
            return None
        try:
            classes: tuple[str, ...] = ()
            if given is not None:
                x, source = _given(given, request), "x"
            else:
                found = read_trains(Path(str(path)), replace(request, part=part), outputs)
                x, labels, source, classes = found.x, found.labels, str(path), found.classes
            train = len(x.shape) == len(shape) + 2
            trains.add(train)
            expected = _with_steps(x, shape, request.n_steps, source) if train else shape
            samples = check_samples(x, labels, expected, raw=True, outputs=outputs, source=source)
            return replace(samples, classes=classes)
        except CompileError as error:
            errors.append(error)
        return None

    x, y = evaluate if evaluate is not None else (None, None)
    parts = parts_of(
        options.calibrate if calibrate is None else None, options.evaluate if x is None else None
    )
    samples = (
        load(calibrate, None, parts[0], options.calibrate),
        load(x, y, parts[1], options.evaluate),
    )
    if len(trains) > 1:
        message = "one set of data holds trains (N, T, ...), the other frames (N, ...)"
        errors.append(UsageError(message, code="wrong-shape", hint="use one form for both"))
    raise_all(errors)
    return TrainData(*samples, next(iter(trains), None))


@dataclass(frozen=True, eq=False)
class Trains:
    """What a file has of samples for a spiking network.

    Attributes:
        x: (N, T, *shape) trains, or (N, *shape) constant currents.
        labels: or None.
        classes: names of the classes, if the data has them.
    """

    x: Rows
    labels: Labels | None
    classes: tuple[str, ...] = ()


def read_trains(
    path: Path, request: Request, outputs: OutputShapes | None, *, need_labels: bool = False
) -> Trains:
    """The samples of a file or folder, not yet compared with the network.

    Args:
        path: of an array, of recorded events, or of a folder of recordings.
        request: what the network takes.
        outputs: of the network; None leaves labels unread.
        need_labels: whether samples without labels are refused.

    Raises:
        UsageError: it cannot be read.
    """
    content = open_samples(path, request)
    if content is not None:
        content.check(path)
        (x,) = content.arrays.values()
        found = Trains(x, content.labels or None, content.classes)
    else:
        arrays = read_npz(path, outputs=outputs)
        if holds_events(arrays):
            recordings = Recordings.of(arrays, str(path))
            found = Trains(_trains(recordings, request), recordings.labels)
        else:
            x, labels = x_and_labels(arrays)
            found = Trains(x, labels or None)
    if need_labels and found.labels is None:
        raise UsageError(
            "it has no labels",
            code="missing-labels",
            origin=Origin(str(path)),
            hint="add them: 'label' of recordings, 'y' of samples, one integer each; or a folder"
            " for each class",
        )
    return found


def _given(given: ArraysLike, request: Request) -> Rows:
    """The samples in arrays, or in the events of recordings."""
    if isinstance(given, Mapping) and holds_events(given):
        arrays = {key: as_rows(given[key], key) for key in given}
        return _trains(Recordings.of(arrays, "events"), request)
    return only_rows(given)


def _trains(recordings: Recordings, request: Request) -> Rows:
    ((_, shape),) = request.shapes.items()
    return recordings.train_rows(shape, request.n_steps, request.step_us)


def _with_steps(x: Rows, shape: Shape, n_steps: int, source: str) -> Shape:
    """The shape of a train of frames."""
    if x.shape[1] != n_steps:
        raise UsageError(
            f"x has trains of {x.shape[1]} steps, but the window has {n_steps}",
            code="wrong-shape",
            origin=Origin(source),
            hint=f"set -T {x.shape[1]}",
        )
    return (n_steps, *shape)
