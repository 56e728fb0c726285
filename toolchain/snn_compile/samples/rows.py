"""Samples that are read by parts: an evaluation set need not fit the memory.

An array is a set of rows as well. Other rows are read from a file, or computed from rows whenever
they are asked for; reading them twice gives the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from snn_compile.ir.graph import NodeId
from snn_compile.ir.inputs import Inputs

Array = npt.NDArray[Any]
Index = slice | npt.NDArray[np.intp]

BLOCK_BYTES = 4 << 20
"""Size of the rows that are read together."""


@runtime_checkable
class Rows(Protocol):
    """Samples of equal shape and type, (N, *sample); an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, and the shape of one."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __getitem__(self, index: Index, /) -> Array:
        """Some samples, as an array; called from any thread."""
        ...


@dataclass(frozen=True, eq=False)
class ComputedRows:
    """Rows computed from the same rows of others, each time that they are read.

    Attributes:
        parts: what they are computed from, with equal numbers of rows.
        compute: from rows of each part; it treats every row alike.
        shape: number of rows, and shape of one.
        dtype: type of the values.
    """

    parts: Sequence[Rows]
    compute: Callable[..., Array]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index, /) -> Array:
        if isinstance(index, slice):
            index = slice(*index.indices(len(self)))
        return self.compute(*(part[index] for part in self.parts))


def computed(compute: Callable[..., Array], *parts: Rows) -> Rows:
    """What a function makes of rows; at once of arrays, else whenever they are read."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return compute(*parts)
    none = compute(*(np.empty((0, *part.shape[1:]), part.dtype) for part in parts))
    return ComputedRows(parts, compute, (len(parts[0]), *none.shape[1:]), none.dtype)


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """Some rows of others, in an order.

    Attributes:
        rows: the others.
        chosen: which of them.
    """

    rows: Rows
    chosen: npt.NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, ...]:
        """As of ``Rows``."""
        return (len(self.chosen), *self.rows.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of ``Rows``."""
        return self.rows.dtype

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Index, /) -> Array:
        return self.rows[self.chosen[index]]


def chosen(rows: Rows, which: npt.NDArray[np.intp]) -> Rows:
    """Some rows by their numbers, in this order."""
    return rows[which] if isinstance(rows, np.ndarray) else ChosenRows(rows, which)


def head(rows: Rows, n: int) -> Rows:
    """The first rows, n at most."""
    if isinstance(rows, np.ndarray):
        return rows[:n]
    return rows if n >= len(rows) else ChosenRows(rows, np.arange(n))


def blocks(rows: Rows) -> Iterator[Array]:
    """All rows in order, a few at a time."""
    size = block_size(rows)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def together(*rows: Rows) -> Iterator[tuple[Array, ...]]:
    """All rows of several sets of equal size in order, a few of each at a time."""
    size = min(map(block_size, rows))
    for start in range(0, len(rows[0]), size):
        yield tuple(some[start : start + size] for some in rows)


def block_size(rows: Rows) -> int:
    """How many rows are read together, at least one."""
    return max(1, BLOCK_BYTES // max(1, prod(rows.shape[1:]) * rows.dtype.itemsize))


def split(inputs: Inputs[Any], rows: Rows) -> dict[NodeId, Rows]:
    """The rows of each of several inputs; see ``Inputs.split``."""
    if isinstance(rows, np.ndarray) or len(inputs) == 1:
        return {**inputs.split(rows)}

    def of_input(name: NodeId) -> Callable[[Array], Array]:
        return lambda joined: inputs.split(joined)[name]

    return {node.id: computed(of_input(node.id), rows) for node in inputs}


def indices(index: Index, n: int) -> npt.NDArray[np.intp]:
    """The rows that an index of ``n`` rows names, each counted from the first."""
    if isinstance(index, slice):
        return np.arange(*index.indices(n), dtype=np.intp)
    listed = np.flatnonzero(index) if index.dtype.kind == "b" else np.asarray(index, np.intp)
    if listed.size and not -n <= int(listed.min()) <= int(listed.max()) < n:
        raise IndexError(f"rows {listed.min()} to {listed.max()} of {n}")
    return np.where(listed < 0, listed + n, listed)


def runs(listed: npt.NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Consecutive rows of a list, as the first one and their number."""
    ends = np.flatnonzero(np.diff(listed) != 1) + 1
    for part in np.split(listed, ends) if len(listed) else ():
        yield int(part[0]), len(part)
