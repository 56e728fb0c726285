"""Rows that are computed once: in memory, or in a temporary file if they are large."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snn_compile.files.scratch import read_at, scratch_file, write_at
from snn_compile.samples.readers.decoded import DecodedRows
from snn_compile.samples.rows import Array, Index, indices
from snn_compile.samples.stored import HELD_BYTES, room_on_disk


class KeptRows:
    """Rows that take longer to compute than to keep; only those that are asked for.

    Two threads may compute a row at the same time, and write the same.

    Args:
        rows: that are computed.
        source: their origin, as named by the user.
    """

    def __init__(self, rows: DecodedRows, source: str) -> None:
        self._rows, self._source = rows, source
        self._is_kept = np.zeros(len(rows), bool)
        self._size = rows[:0].itemsize * int(np.prod(rows.shape[1:]))
        self._held: Array | None = None
        if len(rows) * self._size <= HELD_BYTES:
            self._held = np.empty(rows.shape, rows.dtype)
            return
        with room_on_disk(source):
            file = scratch_file(source, self._size)
        weakref.finalize(self, file.close)
        self._descriptor = file.fileno()

    @property
    def shape(self) -> tuple[int, ...]:
        """As of ``Rows``."""
        return self._rows.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of ``Rows``."""
        return self._rows.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Index, /) -> Array:
        listed = indices(index, len(self))
        found = np.empty((len(listed), *self.shape[1:]), self.dtype)
        for place, k in enumerate(listed.tolist()):
            found[place] = self._row(k)
        return found

    def _row(self, k: int) -> Array:
        if self._is_kept[k]:
            if self._held is not None:
                return np.asarray(self._held[k])
            content = read_at(self._descriptor, self._size, k * self._size)
            return np.frombuffer(content, self.dtype).reshape(self.shape[1:])
        row: Array = self._rows[k : k + 1][0]
        if self._held is not None:
            self._held[k] = row
        else:
            with room_on_disk(self._source):
                write_at(self._descriptor, row.tobytes(), k * self._size)
        self._is_kept[k] = True
        return row

    def check(self, chosen: Sequence[int], where: Path) -> None:
        """As of ``DecodedRows``; what can be used is kept."""
        self._rows.check(chosen, where, self._row)
