"""The data of a training: read, checked, and split into those to train on and those held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader

from snn_compile import memory
from snn_compile.errors import UnsupportedError, UsageError
from snn_compile.pluralize import pluralize
from snn_compile.samples.arrays import Samples
from snn_compile.samples.named import ArraysLike
from snn_compile.samples.outputs import OutputKind
from snn_compile.tune.augmentation import Augmentation
from snn_compile.tune.data import (
    AugmentedSamples,
    LoadedSamples,
    Prepare,
    StoredSamples,
    TorchData,
    collated,
    is_loadable,
    n_samples,
    whole,
)
from snn_compile.tune.options import TuneOptions
from snn_compile.tune.trainer import TrainingData, TrainingSet, split

Array = npt.NDArray[Any]
FileOrArrays = Path | tuple[ArraysLike, Array | None]
Given: TypeAlias = "FileOrArrays | TorchData"
"""Samples: an npz file with ``x`` and ``y``, or both as arrays, of several inputs each by name; or
a torch ``Dataset`` or ``DataLoader``."""
_ENCODED_BYTES, _HELD_SHARE = 8, 0.25
"""Of an encoded value, and of the memory budget that encoded samples may take."""
Read = Callable[[FileOrArrays], Samples]
"""Reads samples in the network's input format, and checks that they have labels."""


def as_given(given: Any) -> Any:
    """A file name as a path; anything else unchanged."""
    return Path(given) if isinstance(given, str) else given


def labelled(samples: Samples) -> Samples:
    """The samples.

    Raises:
        UsageError: they have no labels.
    """
    kinds = [one.kind for one in samples.expected]
    if kinds != [OutputKind.CLASSES]:
        raise UnsupportedError(
            f"tuning trains classes, and the labels are of {kinds[0]}",
            code="tune-output",
            hint="give y, one integer a sample, or train the model in its own framework",
        )
    if samples.y is None:
        raise UsageError("training needs labels", code="missing-labels", hint="give x and y")
    return samples


@dataclass(frozen=True, eq=False)
class Split:
    """What is trained on, and what is held out to measure progress.

    Attributes:
        train: to train on.
        held_out: to measure.
        of: where the latter come from, in words.
    """

    train: TrainingSet
    held_out: TrainingData
    of: str

    @property
    def summary(self) -> str:
        """Both sets in a line."""
        return (
            f"{pluralize(len(self.train), 'sample')} · held out {len(self.held_out):,}, {self.of}"
        )


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Labelled data, read and checked, before they are encoded.

    Attributes:
        train: samples, or data of torch.
        held_out: samples, or None to split those of ``train``.
        options: of tuning.
        read: of a file or arrays.
    """

    train: Samples | TorchData
    held_out: Samples | None
    options: TuneOptions
    read: Read

    @staticmethod
    def of(train: Given, held_out: Given | None, options: TuneOptions, read: Read) -> LabelledData:
        """Read the data.

        Raises:
            UsageError: they cannot be used; a loader of batches cannot be split.
        """
        if is_loadable(train) and options.augment:
            raise options.refusal("augment", "the dataset's own transforms in its place")
        if isinstance(train, DataLoader) and held_out is None:
            raise UsageError(
                "a DataLoader cannot be split",
                code="bad-argument",
                hint="give held_out, or the dataset itself",
            )
        apart = None if held_out is None else read(_arrays(held_out))
        return LabelledData(train if is_loadable(train) else read(train), apart, options, read)

    def split(self, prepare: Prepare) -> Split:
        """Both sets, encoded.

        Args:
            prepare: encodes samples and labels.
        """
        n = len(self.train) if isinstance(self.train, Samples) else n_samples(self.train)
        rows, held, of = np.arange(n), np.arange(0), "data of their own"
        if self.held_out is None:
            share, seed = self.options.hold_out, self.options.seed
            rows, held = split(n, share, seed)
            of = f"{share:.0%} of the training data, seed {seed}"
        return Split(self._training(rows, prepare), prepare(*self._measured(held)), of)

    def _training(self, rows: npt.NDArray[np.int64], prepare: Prepare) -> TrainingSet:
        """Those to train on, as they are to be had: batch by batch, unless all can be held."""
        if not isinstance(self.train, Samples):
            return LoadedSamples(self.train, rows, lambda x, y: prepare(*self._pair((x, y))))
        x, y = self.train.x, _labels_of(self.train)
        if self.options.augment:
            shape, deviation = x.shape[1:], float(np.std(x[:1000]))
            augmentation = Augmentation(self.options.augment, shape, deviation)
            return AugmentedSamples(x[rows], y[rows], augmentation, prepare)
        if _ENCODED_BYTES * prod(x.shape) > _HELD_SHARE * memory.budget():
            return StoredSamples(x, y, rows, prepare)
        return prepare(x[rows], y[rows])

    def _measured(self, held: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.int64]]:
        """Those to measure progress on: data of their own, or some of the training data."""
        if self.held_out is not None:
            return _pair_of(self.held_out)
        if not isinstance(self.train, Samples):
            return _pair_of(self.read(collated(self.train, held)))
        return self.train.x[held], _labels_of(self.train)[held]

    def _pair(self, given: tuple[Array, Array]) -> tuple[Array, Array]:
        return _pair_of(self.read(given))


def _arrays(given: Given) -> FileOrArrays:
    return whole(given) if is_loadable(given) else given


def _pair_of(samples: Samples) -> tuple[Array, npt.NDArray[np.int64]]:
    return samples.x[:], _labels_of(samples)


def _labels_of(samples: Samples) -> npt.NDArray[np.int64]:
    return np.asarray(samples.y, np.int64)
