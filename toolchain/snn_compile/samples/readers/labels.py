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
        UsageError: a name is none of the classes, or nothing tells names from numbers.
    """
    whole = [value for value in values if _is_whole(value)]
    if len(whole) == len(values):
        named = {name: k for k, name in enumerate(classes)}
        if moved := next((v for v in whole if named.get(v, int(v)) != int(v)), ""):
            raise complaint(
                where,
                f"nothing tells whether the label {moved} is the name or the number of a class",
                "ambiguous-classes",
                "give names that are no numbers, or classes in the order of their numbers",
            )
        return np.array([int(value) for value in values], np.int64), tuple(classes)
    odd = [value for value in values if not value or _is_number(value)]
    if odd and not classes:
        raise complaint(
            where,
            f"the label {odd[0]!r} is neither the name nor the number of a class",
            "bad-labels",
            "give every sample the number of its class, or its name; names that are numbers are"
            " stated with --labels FILE",
        )
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


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_whole(value: str) -> bool:
    digits = value.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 10
