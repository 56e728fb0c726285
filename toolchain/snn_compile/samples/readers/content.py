"""What a reader is asked for, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.documents import check_size
from snn_compile.ir.graph import Shape
from snn_compile.recipes import AudioRecipe, Recipe
from snn_compile.samples.rows import ChosenRows, Rows

_BYTES_A_ROW = 100
"""Memory for the name and the label of a sample."""
MOST_SHOWN = 10
"""Complaints about the files of a data set that are shown."""


@dataclass(frozen=True)
class Request:
    """What the network takes, and which of the samples are wanted.

    Attributes:
        shapes: of each input, by its name.
        recipe: of the preprocessing, or None.
        classes: names of the classes in their order; empty if unknown.
        n_drawn: number of samples drawn for calibration; 0 for the default of the kind.
        seed: of the drawing.
        part: ``all``, in their order, or ``mixed``, so that the first ones are of all classes; or
            those ``drawn``; of a set that is calibration and evaluation set at once the drawn
            ``half`` (at most), or the ``rest``.
        n_steps: of a window, of a network that takes trains of frames; 0 of any other.
        step_us: length of a step of recorded events, as of ``Recordings.trains``.
    """

    shapes: Mapping[str, Shape]
    recipe: Recipe | AudioRecipe | None = None
    classes: tuple[str, ...] = ()
    n_drawn: int = 0
    seed: int = 0
    part: str = "all"
    n_steps: int = 0
    step_us: float | None = None

    @property
    def file_input(self) -> tuple[str, Shape]:
        """Name and shape of the input that takes files, each as a sample; ``x`` is the only one.

        Raises:
            UsageError: there are several, and the recipe names none of them.
        """
        if len(self.shapes) == 1:
            return "x", next(iter(self.shapes.values()))
        stated = self.recipe.input if self.recipe is not None else ""
        if stated in self.shapes:
            return stated, self.shapes[stated]
        names = ", ".join(f"'{name}'" for name in self.shapes)
        raise UsageError(
            f"the network takes several inputs: {names}",
            code="missing-key",
            hint="give an npz, HDF5 or parquet file with an array for each",
        )

    def image_recipe(self, where: Path) -> Recipe | None:
        """The recipe of images.

        Raises:
            UsageError: it is one of sound, or the network takes trains of frames.
        """
        self._refuse_still(where, "images")
        if isinstance(self.recipe, AudioRecipe):
            hint = "state one of images: --preprocess imagenet"
            raise complaint(where, "it holds images, the recipe is of sound", "bad-recipe", hint)
        return self.recipe

    def audio_recipe(self, where: Path) -> AudioRecipe:
        """The recipe of sound.

        Raises:
            UsageError: it is one of images, or there is none; or the network takes trains.
        """
        self._refuse_still(where, "sound")
        if isinstance(self.recipe, AudioRecipe):
            return self.recipe
        what = "no recipe states what the network takes of it"
        raise complaint(
            where,
            f"it holds sound, and {what if self.recipe is None else 'the recipe is of images'}",
            "bad-recipe",
            "state the features: --preprocess 'log-mel rate=16000 bands=40', mfcc or samples",
        )

    def _refuse_still(self, where: Path, what: str) -> None:
        if self.n_steps:
            raise complaint(
                where,
                f"it holds {what}, and the network is trained with spikes",
                "wrong-shape",
                "give what it takes, trains or currents, as an array (npz, npy, HDF5); or events",
            )


@runtime_checkable
class Checked(Protocol):
    """Rows of which single ones may be damaged."""

    def check(self, chosen: Sequence[int], where: Path) -> None:
        """Read the chosen ones; all complaints at once."""
        ...


@dataclass(frozen=True, eq=False)
class Content:
    """The samples in a file or folder.

    Attributes:
        arrays: rows by the name of the input; ``x`` is the only one.
        labels: labels or targets, as ``y``, ``y_NAME`` or ``NAME`` of an output.
        classes: names of the classes, if the data has them.
        keys: a name for each sample by which it is drawn; empty where its number is the name.
        files: the file of each sample, where each has its own.
        are_decoded: whether files were decoded to them: channels first, whatever the layout of
            arrays.
    """

    arrays: Mapping[str, Rows]
    labels: Mapping[str, Rows] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    keys: Sequence[str] = ()
    files: Sequence[Path] = ()
    are_decoded: bool = False

    def __len__(self) -> int:
        return min((len(rows) for rows in self.arrays.values()), default=0)

    def check(self, where: Path) -> None:
        """Read what may be damaged sample by sample.

        Raises:
            UsageError: some are; the first of them, and the number of others.
        """
        for rows in self.arrays.values():
            if isinstance(rows, ChosenRows) and isinstance(rows.rows, Checked):
                rows.rows.check(rows.chosen.tolist(), where)
            elif isinstance(rows, Checked):
                rows.check(range(len(rows)), where)

    def taken(self, chosen: npt.NDArray[np.intp]) -> Content:
        """Some of the samples."""
        return replace(
            self,
            arrays={name: ChosenRows(rows, chosen) for name, rows in self.arrays.items()},
            labels={name: ChosenRows(rows, chosen) for name, rows in self.labels.items()},
            keys=[self.keys[k] for k in chosen] if self.keys else (),
            files=[self.files[k] for k in chosen] if self.files else (),
        )


def check_rows(n: int) -> None:
    """Hold the number of samples that a file claims against the memory budget.

    Raises:
        TooLargeError: their names and labels alone would exceed it.
    """
    check_size(f"{n:,} samples, their names and labels,", _BYTES_A_ROW * n)


def complaint(path: Path | str, message: str, code: str, hint: str) -> UsageError:
    """An error about a file."""
    return UsageError(message, code=code, origin=Origin(str(path)), hint=hint)


def raise_some(errors: Sequence[CompileError], where: Path | str, what: str) -> None:
    """Raise all errors, or the first ones with the number of the others."""
    some = list(errors[:MOST_SHOWN])
    if more := len(errors) - len(some):
        text = f"and {more:,} more {what} with errors"
        some.append(complaint(where, text, some[0].code, "the first ones are above"))
    raise_all(some)
