"""Training samples that are prepared when their batch comes: augmented, or from torch's loaders."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from snn_compile.errors import UsageError
from snn_compile.samples.rows import ChosenRows, Rows, blocks
from snn_compile.tune.augmentation import Augmentation
from snn_compile.tune.trainer import TrainingData, shuffled

Array = npt.NDArray[Any]
Prepare = Callable[[Array, Array], TrainingData]
"""Checks and encodes samples and labels, and asks the float network for its outputs."""

AUGMENT, LOAD = 2, 3
"""Streams of random numbers."""
TorchData: TypeAlias = "DataLoader[Any] | Dataset[Any]"


def _batches_of(
    n: int, epoch: int, size: int, seed: int
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Batches of the numbers below n in the order of an epoch, each with its start in that."""
    order = shuffled(n, epoch, seed)
    for start in range(0, n, size):
        yield start, order[start : start + size]


@dataclass(frozen=True, eq=False)
class AugmentedSamples:
    """Samples that are changed at random in every epoch, and encoded after that.

    Attributes:
        x: samples.
        y: labels.
        augmentation: the changes.
        prepare: applied to each batch.
    """

    x: Array
    y: Array
    augmentation: Augmentation
    prepare: Prepare
    of_classes = True

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, epoch: int, size: int, seed: int) -> Iterator[tuple[int, TrainingData]]:
        """The samples in the order of an epoch."""
        for start, rows in _batches_of(len(self), epoch, size, seed):
            changes = np.random.default_rng([seed, AUGMENT, epoch, start])
            yield int(rows[0]), self.prepare(self.augmentation(self.x[rows], changes), self.y[rows])

    def fingerprint(self) -> Iterator[bytes]:
        """The samples as they are; how they are changed stands in the options."""
        yield from TrainingData(self.x, self.y).fingerprint()


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """Samples that are read and encoded batch by batch, because all do not fit the memory.

    Attributes:
        x: samples.
        y: labels.
        rows: those to train on.
        prepare: applied to each batch.
    """

    x: Rows
    y: Array
    rows: npt.NDArray[np.int64]
    prepare: Prepare
    of_classes = True

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, epoch: int, size: int, seed: int) -> Iterator[tuple[int, TrainingData]]:
        """The samples in the order of an epoch."""
        for _, places in _batches_of(len(self), epoch, size, seed):
            rows = self.rows[places]
            yield int(places[0]), self.prepare(self.x[rows], self.y[rows])

    def fingerprint(self) -> Iterator[bytes]:
        """The samples as they are."""
        for some in blocks(ChosenRows(self.x, self.rows)):
            yield np.ascontiguousarray(some).tobytes()
        yield self.y[self.rows].tobytes()


@dataclass(frozen=True, eq=False)
class LoadedSamples:
    """Batches of a torch ``DataLoader``, or rows of a ``Dataset``.

    Its random numbers are torch's, numpy's and Python's, which are seeded for every epoch: a
    training that resumes sees the same samples, if nothing else decides them.

    Attributes:
        source: of pairs of a sample and a label.
        rows: of a dataset, those to train on.
        prepare: applied to each batch.
    """

    source: TorchData
    rows: npt.NDArray[np.int64]
    prepare: Prepare
    of_classes = True

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, epoch: int, size: int, seed: int) -> Iterator[tuple[int, TrainingData]]:
        """The batches of the loader, or of the dataset in the order of an epoch."""
        number = int(np.random.default_rng([seed, LOAD, epoch]).integers(2**31))
        torch.manual_seed(number)
        np.random.seed(number)  # noqa: NPY002  (transforms use the global generators)
        random.seed(number)
        first = 0
        for x, y in self._pairs(shuffled(len(self), epoch, seed), size):
            yield first, self.prepare(x, y)
            first += len(y)

    def _pairs(self, order: npt.NDArray[np.int64], size: int) -> Iterator[tuple[Array, Array]]:
        if isinstance(self.source, DataLoader):
            yield from map(pair, self.source)
            return
        for start in range(0, len(order), size):
            yield collated(self.source, self.rows[order[start : start + size]])

    def fingerprint(self) -> Iterator[bytes]:
        """What can be known of samples that are made when they are asked for."""
        source = self.source.dataset if isinstance(self.source, DataLoader) else self.source
        yield f"{type(source).__module__}.{type(source).__qualname__} {len(self)}".encode()
        yield self.rows.tobytes()


def is_loadable(given: object) -> TypeGuard[TorchData]:
    """Whether these are data of torch."""
    return isinstance(given, DataLoader | Dataset)


def n_samples(given: TorchData) -> int:
    """Number of samples.

    Raises:
        UsageError: it is unknown.
    """
    dataset = given.dataset if isinstance(given, DataLoader) else given
    if not hasattr(dataset, "__len__"):
        raise UsageError(
            "the dataset has no length",
            code="bad-argument",
            hint="give a dataset with __len__ and __getitem__",
        )
    return len(dataset)


def whole(given: TorchData) -> tuple[Array, Array]:
    """All samples and labels, as arrays."""
    if isinstance(given, DataLoader):
        xs, ys = zip(*map(pair, given), strict=True)
        return np.concatenate(xs), np.concatenate(ys)
    return collated(given, np.arange(n_samples(given)))


def collated(dataset: Dataset[Any], rows: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """Some rows of a dataset as arrays."""
    pairs = [pair(dataset[int(row)]) for row in rows]
    return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])


def pair(item: Any) -> tuple[Array, Array]:
    """A sample and its label, or a batch of both.

    Raises:
        UsageError: it is something else.
    """
    try:
        x, y = item
    except (TypeError, ValueError):
        raise UsageError(
            "the dataset's items are no pairs of a sample and a label",
            code="bad-argument",
            hint="let __getitem__ return (x, y)",
        ) from None
    return np.asarray(x), np.asarray(y)
