"""Other readings of recorded events: polarities, rows and columns in another order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.data_checks.readings import AXES, Arrangement, Reading
from snn_compile.ir.graph import Shape

POLARITY = "other-polarity"
"""Code of the finding."""

Array = npt.NDArray[Any]


def readings_of_trains(x: Array, present: Reading, shape: Shape, layout: str) -> list[Reading]:
    """Readings of trains of frames (n, T, C, H, W) in another order, as of ``readings``."""
    del x, layout
    return [replace(present, arrangement=one) for one in _arrangements(shape)]


def _arrangements(shape: Shape) -> Iterator[Arrangement]:
    if len(shape) != 4:
        return
    _, polarities, height, width = shape
    if polarities == 2:
        yield Arrangement(
            POLARITY,
            "with the polarities exchanged",
            "write 1 - p in place of p (of trains: x[:, :, ::-1])",
            lambda x: x[:, :, ::-1],
        )
    if height == width > 1:
        yield Arrangement(
            AXES,
            "with rows and columns exchanged",
            "exchange x and y (of trains: x.swapaxes(3, 4))",
            lambda x: np.swapaxes(x, 3, 4),
        )
    yield Arrangement(
        AXES,
        "upside down",
        f"write {height - 1} - y in place of y (of trains: x[:, :, :, ::-1])",
        lambda x: x[:, :, :, ::-1],
    )
    yield Arrangement(
        AXES,
        "mirrored",
        f"write {width - 1} - x in place of x (of trains: x[..., ::-1])",
        lambda x: x[..., ::-1],
    )
