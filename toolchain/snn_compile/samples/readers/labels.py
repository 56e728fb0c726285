"""Columns and arrays that are labels, by their names; classes by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snn_compile.samples.readers.content import Request, complaint

NAMES = ("y", "label", "labels", "target", "class", "fine_label")
"""Names of labels, in any case; the first one that is there."""


def is_label(name: str, request: Request) -> bool:
    """Whether an array of this name is labels: an input of the name comes first."""
    return name not in request.shapes and (name.lower() in NAMES or name.startswith("y_"))


def numbered(
    values: Sequence[str], classes: Sequence[str], where: Path
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels as numbers, and the names of the classes.

    Whole numbers are numbers of classes; names are counted in their order, or in that of
    ``classes``.

    Raises:
        UsageError: a name is none of the classes.
    """
    if all(_is_whole(value) for value in values):
        return np.array([int(value) for value in values], np.int64), tuple(classes)
    names = tuple(classes) or tuple(sorted(set(values)))
    places = {name: k for k, name in reversed(list(enumerate(names)))}
    unknown = sorted(set(values) - places.keys())
    if unknown:
        raise complaint(
            where,
            f"--labels has no class of the name {', '.join(unknown[:5])}",
            "bad-class-names",
            "use the names of the classes, or their numbers",
        )
    return np.array([places[value] for value in values], np.int64), names


def _is_whole(value: str) -> bool:
    digits = value.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 10
