"""Calibration and evaluation data: read from npz files and checked against the network's input."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from snn_compile.errors import raise_all
from snn_compile.files.archives import Arrays
from snn_compile.samples.npz import data_error, missing_arrays, read_arrays, rows_in
from snn_compile.samples.outputs import Expected, OutputKind, OutputShapes
from snn_compile.samples.rows import Array, Rows, blocks, computed

T = TypeVar("T")
Labels = Rows | Mapping[str, Rows]
"""Labels or targets: of the only output that they fit, or by ``y_NAME`` or ``NAME``."""

EVENT_KEYS = ("x", "y", "p", "t_us")
"""Arrays of a file of recorded events; ``snn_compile.samples.events`` reads it."""
MAX_MAGNITUDE = 1e15
"""Largest value of a sample: sums of squares must stay finite in single precision."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs of the network, with or without labels.

    Attributes:
        x: (N, *input shape), channels first; float32, or integers as stored.
        expected: what is known of each output.
        file: their origin, as named by the user.
        classes: names of the classes, if the data has them.
        unread: names of labels that were not read, because no output is theirs.
    """

    x: Rows
    expected: tuple[Expected, ...] = ()
    file: str = ""
    classes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def y(self) -> npt.NDArray[np.int64] | None:
        """(N,) labels of the first output, if it has classes and labels."""
        first = next(iter(self.expected), None)
        if first is None or first.y is None or first.kind is not OutputKind.CLASSES:
            return None
        return first.y[:]

    def __len__(self) -> int:
        return len(self.x)


def load_samples(
    path: Path,
    input_shape: tuple[int, ...],
    *,
    layout: str = "nchw",
    raw: bool = False,
    outputs: OutputShapes | None = None,
    need_labels: bool = False,
    name: str = "x",
) -> Samples:
    """Samples from an npz file with ``x`` and, perhaps, ``y``.

    Args:
        path: the file; nothing in it is unpickled.
        input_shape: of the network, without the batch axis, channels first.
        layout: of ``x`` in the file, ``nchw`` or ``nhwc``.
        raw: whether preprocessing is folded into the network, so that integers are accepted.
        outputs: of the network; None leaves labels unread.
        need_labels: whether a file without ``y`` is refused.
        name: another name of ``x``.

    Raises:
        UsageError: the file or its content is invalid.
    """
    arrays = read_npz(path, name=name, outputs=outputs)
    if holds_events(arrays):
        raise data_error(
            "it holds recorded events, but the network takes whole frames",
            "wrong-shape",
            path,
            "sum them to frames; events are for networks trained with spikes",
        )
    return samples_in(
        arrays,
        input_shape,
        layout=layout,
        raw=raw,
        outputs=outputs,
        need_labels=need_labels,
        source=str(path),
    )


def samples_in(
    arrays: Mapping[str, Rows],
    input_shape: tuple[int, ...],
    *,
    layout: str = "nchw",
    raw: bool = False,
    outputs: OutputShapes | None = None,
    need_labels: bool = False,
    source: str,
) -> Samples:
    """Samples from the arrays of an npz file; arguments and errors as in ``load_samples``."""
    x, labels = x_and_labels(arrays)
    if need_labels and not labels:
        raise data_error(
            "it has no labels ('y')",
            "missing-labels",
            source,
            "add y, one integer a sample",
        )
    return check_samples(
        x, labels, input_shape, layout=layout, raw=raw, outputs=outputs, source=source
    )


def x_and_labels(arrays: Mapping[str, Rows]) -> tuple[Rows, dict[str, Rows]]:
    """Samples and labels of an npz file; labels are optional."""
    return arrays["x"], {name: values for name, values in arrays.items() if name != "x"}


def check_samples(
    x: Rows,
    y: Labels | None,
    input_shape: tuple[int, ...],
    *,
    layout: str = "nchw",
    raw: bool = False,
    outputs: OutputShapes | None = None,
    source: str = "x",
) -> Samples:
    """Samples from arrays; arguments and errors as in ``load_samples``."""
    x = check_rows(x, input_shape, layout=layout, raw=raw, source=source)
    return labelled(x, y, outputs, source)


def as_rows(values: npt.ArrayLike | Rows, name: str = "x") -> Rows:
    """The values as one array, unless they are rows already.

    Raises:
        UsageError: they are several arrays of different shapes.
    """
    if isinstance(values, Rows) and isinstance(values.dtype, np.dtype):
        return values
    try:
        return np.asarray(values)
    except ValueError as error:
        raise data_error(
            f"{name} is no array: its parts have different shapes",
            "wrong-shape",
            name,
            "give one array of samples; of several inputs, an array for each by its name: {...}",
        ) from error


def check_rows(
    x: Rows,
    input_shape: tuple[int, ...],
    *,
    layout: str = "nchw",
    raw: bool = False,
    source: str = "x",
    name: str = "x",
) -> Rows:
    """The samples of one input, called ``name``; arguments and errors as in ``load_samples``."""
    x = _checked_type(as_rows(x, name), raw, source, name)
    x = _checked_shape(x, input_shape, layout, source, name)
    _check_values(x, source, name)
    return x


def _check_values(x: Rows, source: str, name: str) -> None:
    """Check that all values are finite and moderate, in one pass."""
    if x.dtype.kind in "iu" and x.dtype.itemsize <= 4:
        return  # any value is
    largest, start = 0.0, 0
    for block in blocks(x):
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            bad = start + int(np.argmin(np.isfinite(block.reshape(len(block), -1)).all(axis=1)))
            raise data_error(
                f"{name} is not finite (NaN or infinity; first in sample {bad})",
                "not-finite",
                source,
                "remove or repair these samples",
            )
        if block.size:
            largest = max(largest, abs(float(block.min())), abs(float(block.max())))
        start += len(block)
    if largest > MAX_MAGNITUDE:
        raise data_error(
            f"{name} has values up to {largest:.3g}; the largest allowed is {MAX_MAGNITUDE:g}",
            "out-of-range",
            source,
            "scale the samples, or remove invalid ones",
        )


def labelled(x: Rows, y: Labels | None, outputs: OutputShapes | None, source: str) -> Samples:
    """Checked samples with their labels, if there are any; errors as of ``load_samples``."""
    if outputs is None:
        return Samples(x, file=source)
    labels = y if isinstance(y, Mapping) else {} if y is None else {"y": y}
    arrays = {name: as_rows(values, name) for name, values in labels.items()}
    return Samples(x, outputs.expected(arrays, len(x), source), source)


def read_npz(
    path: Path,
    also: tuple[str, ...] = (),
    name: str = "x",
    outputs: OutputShapes | None = None,
) -> dict[str, Rows]:
    """The arrays of an npz file for samples, labels or recorded events.

    Large ones stay in the file, or, where they are compressed, in a temporary one.

    Args:
        path: the file; nothing in it is unpickled, and only requested members are inflated.
        also: further optional arrays.
        name: another name of ``x``, for files without one.
        outputs: of the network, which name further labels.

    Raises:
        UsageError: the file does not exist, is not an npz file, holds pickled objects or no ``x``,
            or its content exceeds what memory and disk have room for.
    """

    def select(arrays: Arrays) -> dict[str, Rows]:
        first = "x" if "x" in arrays else name
        if first not in arrays:
            raise missing_arrays(path, ["x"], sorted(arrays))
        wanted = {"x", "y", *also}
        if holds_events(arrays):
            wanted |= {*EVENT_KEYS, "offsets", "label"}
            return {key: arrays[key] for key in arrays if key in wanted}
        if outputs is not None:
            raise_all(outputs.misspelt([key for key in arrays if key != first], str(path)))
            wanted |= {*outputs.keys()}
        wanted -= {first}
        read = {key: rows_in(arrays, key, path) for key in arrays if key in wanted}
        return {"x": rows_in(arrays, first, path), **read}

    return read_arrays(path, select)


def holds_events(arrays: Container[str]) -> bool:
    """Whether an npz file is one of recorded events."""
    return all(key in arrays for key in EVENT_KEYS)


def _checked_type(x: Rows, raw: bool, source: str, name: str) -> Rows:
    """Floats as float32; integers unchanged, where the network accepts them."""
    if x.dtype.kind == "f":
        return x if x.dtype == np.float32 else computed(_as_float32, x)
    if x.dtype.kind == "b" and raw:
        return computed(lambda block: block.astype(np.uint8), x)
    if x.dtype.kind not in "iu":
        raise data_error(
            f"{name} has the type {x.dtype}; it must be float32 or an integer type",
            "wrong-dtype",
            source,
            "convert it with x.astype('float32')",
        )
    if not raw:
        raise data_error(
            f"{name} has the type {x.dtype}, but its scale is unknown",
            "wrong-dtype",
            source,
            f"set --mean-values and --scale-values{_of(name)} (0 and 1 if the network takes raw"
            " values), of pixels --preprocess (imagenet, unit, ...); or store"
            f" {name} as float32 in the network's range",
        )
    return x


def _as_float32(x: Array) -> Array:
    with np.errstate(over="ignore"):  # what overflows is reported as not finite
        return x.astype(np.float32, copy=False)


def _of(name: str) -> str:
    """The input that preprocessing has to name, if there are several."""
    return "" if name == "x" else f" of {name}"


def _checked_shape(
    x: Rows, input_shape: tuple[int, ...], layout: str, source: str, name: str
) -> Rows:
    """The samples with channels first, if they fit the network."""
    expected = input_shape
    if layout == "nhwc" and len(input_shape) == 3:
        expected = (*input_shape[1:], input_shape[0])
    if x.shape and len(x) == 0:
        raise data_error(
            f"{name} holds no samples", "empty-data", source, "at least one sample is required"
        )
    if x.shape[1:] != expected or not x.shape:
        wanted = ", ".join(str(size) for size in ("N", *expected))
        raise data_error(
            f"{name} has the shape {x.shape}, but the network takes ({wanted})",
            "wrong-shape",
            source,
            _shape_hint(x.shape, expected, layout),
        )
    if expected != input_shape:
        return computed(lambda block: np.ascontiguousarray(np.moveaxis(block, -1, 1)), x)
    return x


def _shape_hint(shape: tuple[int, ...], expected: tuple[int, ...], layout: str) -> str:
    if shape == expected:
        return "add the batch axis: x[None]"
    if len(expected) == 3 and len(shape) == 4:
        other = "nhwc" if layout == "nchw" else "nchw"
        turned = (*expected[1:], expected[0]) if layout == "nchw" else (expected[2], *expected[:2])
        if shape[1:] == turned:
            return f"set --layout {other}"
    if np.prod(shape[1:]) == np.prod(expected) and len(shape) > 1:
        return f"reshape it: x.reshape({', '.join(str(n) for n in (-1, *expected))})"
    return "x holds one sample a row, in the shape that the ONNX file states"
