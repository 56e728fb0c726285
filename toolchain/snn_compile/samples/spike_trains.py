"""Samples for spiking networks: trains of frames, constant currents, recorded events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.ir.graph import Shape
from snn_compile.options import CompileOptions
from snn_compile.samples.arrays import (
    Labels,
    Samples,
    check_samples,
    holds_events,
    read_npz,
    x_and_labels,
)
from snn_compile.samples.events import Recordings
from snn_compile.samples.named import ArraysLike, only_rows
from snn_compile.samples.outputs import OutputShapes
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
    options: CompileOptions,
    shape: Shape,
    n_steps: int,
    outputs: OutputShapes,
    calibrate: ArraysLike | None,
    evaluate: tuple[ArraysLike, Labels | None] | None,
) -> TrainData:
    """Both sets of samples, from arrays or files; all errors at once.

    Args:
        options: name the files, and the length of a step of recorded events.
        shape: of the network's input.
        n_steps: of a window.
        outputs: of the network.
        calibrate: replaces ``options.calibrate``: (N, T, *shape), or (N, *shape) for constant
            currents.
        evaluate: samples and labels (or None); replaces ``options.evaluate``.
    """
    errors: list[CompileError] = []
    trains: set[bool] = set()

    def load(given: ArraysLike | None, labels: Labels | None, file: Path | None) -> Samples | None:
        if given is None and file is None:
            return None
        try:
            if given is None:
                x, y, source = _read(Path(str(file)), shape, n_steps, options, outputs)
            else:
                x, y, source = only_rows(given), labels, "x"
            train = len(x.shape) == len(shape) + 2
            trains.add(train)
            expected = _with_steps(x, shape, n_steps, source) if train else shape
            return check_samples(x, y, expected, raw=True, outputs=outputs, source=source)
        except CompileError as error:
            errors.append(error)
        return None

    x, y = evaluate if evaluate is not None else (None, None)
    samples = load(calibrate, None, options.calibrate), load(x, y, options.evaluate)
    if len(trains) > 1:
        message = "one set of data holds trains (N, T, ...), the other frames (N, ...)"
        errors.append(UsageError(message, code="wrong-shape", hint="use one form for both"))
    raise_all(errors)
    return TrainData(*samples, next(iter(trains), None))


def _read(
    file: Path, shape: Shape, n_steps: int, options: CompileOptions, outputs: OutputShapes
) -> tuple[Rows, Labels | None, str]:
    arrays = read_npz(file, outputs=outputs)
    if holds_events(arrays):
        recordings = Recordings.of({key: values[:] for key, values in arrays.items()}, str(file))
        return (
            recordings.train_rows(shape, n_steps, options.event_step),
            recordings.labels,
            str(file),
        )
    x, y = x_and_labels(arrays)
    return x, y, str(file)


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
