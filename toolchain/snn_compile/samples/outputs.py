"""Kinds of a network's outputs, and the labels or targets that they are judged by.

Integers are labels, floats are targets. Without either, the shape of an output decides.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from math import prod

import numpy as np

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.samples.rows import Array, Rows, blocks, computed

IGNORED = (-1, 255)
"""Labels of pixels that do not count (255 by the convention of segmentation data sets)."""
PROBABILITY = 0.5
"""Threshold of a single value within [0, 1], as that of a Sigmoid; of any other value it is 0."""
_REGRESSION = "for real values, floats in the shape of the output and --output-kind regression"


class OutputKind(StrEnum):
    """What the values of an output are."""

    CLASSES = "classes"
    """One class for a sample: the largest value of all; a single value has a threshold."""
    REGRESSION = "regression"
    """Real values."""
    SEGMENTATION = "segmentation"
    """One class for each position: the largest value along an axis, or beyond a threshold."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of an output.

    Attributes:
        name: of the output, as in the user's file.
        shape: of a sample.
        kind: of its values.
        y: (N,) classes as int64, (N, *positions) classes as int64, with ``-1`` where no class
            counts, or (N, *shape) targets as float64; None where nothing is known.
        axis: of the classes in a sample; segmentation only.
        threshold: beyond which a value without others to compare it with is class 1.
        integers: whether the values of the output are integers, each of which is an answer: classes
            of pixels, or indices in a list.
    """

    name: str
    shape: tuple[int, ...]
    kind: OutputKind = OutputKind.CLASSES
    y: Rows | None = None
    axis: int = 0
    threshold: float = 0.0
    integers: bool = False

    @property
    def n_classes(self) -> int:
        """Number of classes; a single value tells two of them apart."""
        n = self.shape[self.axis] if self.kind is OutputKind.SEGMENTATION else prod(self.shape)
        return max(n, 2)

    @property
    def answers(self) -> str:
        """What a sample has several answers for, in words; empty if it has one, or real values."""
        if self.integers and self.kind is not OutputKind.REGRESSION:
            return "integers"
        if self.kind is not OutputKind.SEGMENTATION:
            return ""
        others = (size for axis, size in enumerate(self.shape) if axis != self.axis)
        return "pixels" if sum(size > 1 for size in others) == 2 else "positions"


@dataclass(frozen=True)
class OutputShapes:
    """The outputs of a network, as far as their labels are checked.

    Attributes:
        shapes: shape of a sample of each output, in order.
        asked: kinds that the user stated, by name; "" is the only output.
        input_shape: a map of this shape is an image, not one of classes.
        probabilities: outputs whose values lie within [0, 1] for any input.
        integers: outputs whose values are integers.
    """

    shapes: Mapping[str, tuple[int, ...]]
    asked: Mapping[str, OutputKind]
    input_shape: tuple[int, ...] = ()
    probabilities: Container[str] = ()
    integers: Container[str] = ()

    def expected(self, labels: Mapping[str, Rows], n: int, source: str) -> tuple[Expected, ...]:
        """What is expected of each output.

        Args:
            labels: labels or targets of ``n`` samples, by ``y``, ``y_NAME`` or ``NAME``.
            n: number of samples.
            source: their origin, as named by the user.

        Raises:
            UsageError: labels or kinds that fit no output; all complaints at once.
        """
        complaints = self.misspelt([*labels], source)
        given = self._assigned(labels, n, source, complaints)
        found = []
        for name, shape in self.shapes.items():
            try:
                key, y = given.get(name, ("y", None))
                one = self._expected(name, shape, key, y, n, source)
                whole = name in self.integers
                found.append(replace(one, threshold=self.threshold(name), integers=whole))
            except CompileError as error:
                complaints.append(error)
        raise_all(complaints)
        return tuple(found)

    def threshold(self, name: str) -> float:
        """Of the output, beyond which a single value is class 1."""
        return PROBABILITY if name in self.probabilities else 0.0

    def unknown(self, besides: Container[str] = ()) -> list[CompileError]:
        """Complaints about stated kinds of outputs that do not exist, or are not told apart.

        Outputs of the names ``besides`` exist, too.
        """
        return [
            UsageError(
                f"--output-kind names the output '{name}', which does not exist"
                if name
                else f"--output-kind names none of the {len(self.shapes)} outputs",
                code="unknown-output",
                hint=self._closest(name),
            )
            for name in self.asked
            if name not in self.shapes and name not in besides and (name or len(self.shapes) > 1)
        ]

    def keys(self) -> tuple[str, ...]:
        """Names under which a file may hold labels."""
        return ("y", *(key for name in self.shapes for key in (f"y_{name}", name) if key != "x"))

    def misspelt(
        self, names: Sequence[str], source: str, also: Container[str] | None = None
    ) -> list[CompileError]:
        """Complaints about arrays whose names are almost those of labels.

        If ``also`` says what else there may be, about all other names.
        """
        keys = self.keys()
        found: list[CompileError] = []
        for name in names:
            if name in ("x", *keys) or (also is not None and name in also):
                continue
            alike = name.startswith("y_") or get_close_matches(name, keys[1:], 1, 0.8)
            if also is None and not alike:
                continue
            message = f"'{name}' labels no output"
            found.append(_bad_labels(message, source, self._closest(name.removeprefix("y_"), "y_")))
        return found

    def _closest(self, name: str, prefix: str = "") -> str:
        close = get_close_matches(name, self.shapes, 1)
        if close:
            return f"did you mean {prefix}{close[0]}?"
        return f"outputs: {', '.join(self.shapes)}"

    def _assigned(
        self, labels: Mapping[str, Rows], n: int, source: str, complaints: list[CompileError]
    ) -> dict[str, tuple[str, Rows]]:
        """The key and the labels of each output that has some."""
        given: dict[str, tuple[str, Rows]] = {}
        for name in self.shapes:
            for key in (f"y_{name}", name):
                if key in labels and key != "x":
                    given[name] = key, labels[key]
        if "y" not in labels or "y" in self.shapes:
            return given
        y = labels["y"]
        if len(self.shapes) == 1:
            return given | {name: ("y", y) for name in self.shapes}
        fitting = [name for name in self.shapes if name not in given and self._fits(name, y, n)]
        if len(fitting) == 1:
            return given | {fitting[0]: ("y", y)}
        candidates = fitting or [name for name in self.shapes if name not in given]
        why = "fits several outputs" if fitting else "fits none of the outputs without labels"
        hint = f"name it after its output: {' or '.join(f'y_{name}' for name in candidates)}"
        text = f"y, {y.dtype} {y.shape}, {why}: {self._list(candidates)}"
        complaints.append(_bad_labels(text, source, hint if candidates else "leave it out"))
        return given

    def _list(self, names: Sequence[str]) -> str:
        return ", ".join(f"{name} {self.shapes[name]}" for name in names) or "there are none"

    def _fits(self, name: str, y: Rows, n: int) -> bool:
        try:
            self._expected(name, self.shapes[name], "y", y, n, "")
        except CompileError:
            return False
        return True

    def _expected(
        self, name: str, shape: tuple[int, ...], key: str, y: Rows | None, n: int, source: str
    ) -> Expected:
        asked = self.asked.get(name, self.asked.get("") if len(self.shapes) == 1 else None)
        if y is None:
            return Expected(name, shape, asked or kind_of_shape(shape, self.input_shape))
        kind = asked or _kind_of_labels(y, shape)
        if not y.shape or len(y) != n:
            text = f"{key} has the shape {y.shape}, but there are {n} samples"
            raise _bad_labels(text, source, _SHAPES[kind])
        if kind is OutputKind.CLASSES:
            return Expected(name, shape, kind, _classes(y, key, max(prod(shape), 2), source))
        if kind is OutputKind.REGRESSION:
            return Expected(name, shape, kind, _targets(y, key, shape, source))
        axis, positions = _class_axis(y, key, shape, source)
        n_classes = max(shape[axis], 2)
        return Expected(name, shape, kind, _pixels(y, key, positions, n_classes, source), axis)


def stated_kinds(stated: Sequence[str]) -> dict[str, OutputKind]:
    """Kinds by name of the output, from ``NAME=KIND``; ``KIND`` alone has an empty name."""
    pairs = (one.rpartition("=") for one in stated)
    return {name: OutputKind(kind) for name, _, kind in pairs}


def kind_of_shape(shape: tuple[int, ...], input_shape: tuple[int, ...] = ()) -> OutputKind:
    """The kind of an output of which only the shape is known.

    A vector has classes, unless it has the shape of the input; so have maps of several channels.
    Single values, maps of one channel, and what has neither form are real values.
    """
    axes = [size for size in shape if size > 1]
    if shape == input_shape or not axes:
        return OutputKind.REGRESSION
    if len(axes) == 1:
        return OutputKind.CLASSES
    is_map = len(shape) == 3 and shape[0] > 1
    return OutputKind.SEGMENTATION if is_map else OutputKind.REGRESSION


_SHAPES = {
    OutputKind.CLASSES: "one integer a sample",
    OutputKind.REGRESSION: "one target for each value of the output",
    OutputKind.SEGMENTATION: "one integer for each position",
}


def _kind_of_labels(y: Rows, shape: tuple[int, ...]) -> OutputKind:
    if len(y.shape) > 1 and y.dtype.kind in "iub" and _class_axes(y, shape):
        return OutputKind.SEGMENTATION
    if y.dtype.kind == "f" and prod(y.shape[1:]) == prod(shape) and not _is_one_hot(y):
        return OutputKind.REGRESSION
    return OutputKind.CLASSES


def _is_one_hot(y: Rows) -> bool:
    """Whether rows encode classes, which is refused: they may be targets as well."""
    is_matrix = len(y.shape) == 2 and y.shape[1] > 1
    return is_matrix and all(
        ((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all() for rows in blocks(y)
    )


def _classes(y: Rows, key: str, n_classes: int, source: str) -> Array:
    if len(y.shape) != 1:
        text = f"{key} has the shape {y.shape}, but there are {len(y)} samples"
        hint = f"one integer a sample; from one-hot rows: {key}.argmax(axis=1); {_REGRESSION}"
        raise _bad_labels(text, source, hint)
    if y.dtype.kind not in "iu":
        text = f"{key} has the type {y.dtype}; labels are integers"
        raise _bad_labels(text, source, f"convert them with {key}.astype('int64')")
    labels = y[:]
    _check_range(int(labels.min(initial=0)), int(labels.max(initial=0)), n_classes, source)
    return labels.astype(np.int64)


def _targets(y: Rows, key: str, shape: tuple[int, ...], source: str) -> Rows:
    if prod(y.shape[1:]) != prod(shape) or y.dtype.kind not in "fiu":
        wanted = ", ".join(str(size) for size in ("N", *shape))
        text = f"{key} is {y.dtype} {y.shape}; targets of this output are float32 ({wanted})"
        raise _bad_labels(text, source, "one target for each value of the output")
    targets = computed(lambda rows: rows.reshape(len(rows), *shape).astype(np.float64), y)
    if not all(np.isfinite(rows).all() for rows in blocks(targets)):
        hint = "remove or repair these samples"
        raise UsageError(
            f"{key} is not finite (NaN or infinity)",
            code="not-finite",
            origin=Origin(source),
            hint=hint,
        )
    return targets


def _class_axes(y: Rows, shape: tuple[int, ...]) -> list[int]:
    """Axes of classes with which the labels fit an output; the first axis before the last."""
    if len(shape) < 2:
        return []
    sizes = [size for size in y.shape[1:] if size > 1]
    axes = dict.fromkeys((0, len(shape) - 1))
    return [a for a in axes if sizes == [s for i, s in enumerate(shape) if i != a and s > 1]]


def _class_axis(
    y: Rows, key: str, shape: tuple[int, ...], source: str
) -> tuple[int, tuple[int, ...]]:
    fitting = _class_axes(y, shape)
    if y.dtype.kind not in "iub" or not fitting:
        wanted = ", ".join(str(size) for size in ("N", *shape[1:]))
        text = f"{key} is {y.dtype} {y.shape}; labels of this output are integers ({wanted})"
        raise _bad_labels(text, source, f"one integer for each position; {_REGRESSION}")
    axis = fitting[0]
    return axis, (*shape[:axis], *shape[axis + 1 :])


def _pixels(y: Rows, key: str, positions: tuple[int, ...], n_classes: int, source: str) -> Rows:
    def counted(rows: Array) -> Array:
        labels = rows.reshape(len(rows), *positions).astype(np.int64)
        beyond = (labels < 0) | (labels >= n_classes)
        labels[beyond & np.isin(labels, IGNORED)] = -1
        return labels

    labels, low, high, n = computed(counted, y), 0, 0, 0
    for rows in blocks(labels):
        counting = rows[rows != -1]
        low, high = int(counting.min(initial=low)), int(counting.max(initial=high))
        n += counting.size
    _check_range(low, high, n_classes, source)
    if not n:
        raise _bad_labels(f"{key} has no label that counts", source, "-1 and 255 are left out")
    return labels


def _check_range(low: int, high: int, n_classes: int, source: str) -> None:
    if low < 0 or high >= n_classes:
        text = f"labels go from {low} to {high}; they must be 0 to {n_classes - 1}"
        raise _bad_labels(text, source, "labels are indices into the network's output")


def _bad_labels(message: str, source: str, hint: str) -> UsageError:
    return UsageError(message, code="bad-labels", origin=Origin(source), hint=hint)
