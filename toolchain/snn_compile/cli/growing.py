"""An npz file whose arrays grow by rows on disk, never in memory."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from snn_compile.files.claims import exclusive_claim
from snn_compile.files.writing import replacing_file, require_file

Array = npt.NDArray[Any]

COPY_BYTES = 1 << 20
LEVEL = 1
"""Compression level: 6 makes the traces of ResNet-20 a tenth smaller, in eight times the time."""


@dataclass
class Rows:
    """The rows of one array so far.

    Attributes:
        file: holds their bytes, in C order.
        dtype: of the array.
        shape: of one row.
        count: number of rows.
    """

    file: IO[bytes]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    count: int = 0

    def append(self, rows: Array) -> None:
        """Add rows at the end."""
        if (rows.dtype, rows.shape[1:]) != (self.dtype, self.shape):
            raise TypeError(f"rows of {rows.dtype} {rows.shape[1:]} to {self.dtype} {self.shape}")
        self.file.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)

    def write(self, stream: IO[bytes]) -> None:
        """Write the whole array in numpy's format."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.count, *self.shape),
        }
        np.lib.format.write_array_header_1_0(stream, header)
        self.file.seek(0)
        shutil.copyfileobj(self.file, stream, COPY_BYTES)


class GrowingNpz:
    """An npz file that is written as a whole in the end, or not at all. Use it in a ``with``.

    A zip file takes one array after the other, but all of them grow at once. Until the end each is
    kept uncompressed in an unnamed file beside the target, which vanishes with this object or with
    the process.

    Args:
        path: of the finished file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: dict[str, Rows] = {}
        self._claim = ExitStack()

    def __enter__(self) -> GrowingNpz:
        """Check that the file can be written, before any computation."""
        require_file(self.path)
        self._claim.enter_context(exclusive_claim(self.path))
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self._arrays):
            self._close(name)
        self._claim.close()

    def append(self, name: str, rows: Array) -> None:
        """Add rows to an array.

        Raises:
            OSError: they cannot be written.
        """
        if name not in self._arrays:
            file = tempfile.TemporaryFile(dir=self.path.parent)
            self._arrays[name] = Rows(file, rows.dtype, rows.shape[1:])
        self._arrays[name].append(rows)

    def save(self, others: Mapping[str, npt.ArrayLike]) -> None:
        """Write the file, with other, complete arrays.

        Each array is deleted from the disk after it has been written: beyond the appended rows,
        only the space of the largest one is needed.

        Raises:
            OSError: the file cannot be written. An existing file is unchanged.
        """
        with (
            replacing_file(self.path) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive,
        ):
            for name, rows in list(self._arrays.items()):
                with _member(archive, name) as stream:
                    rows.write(stream)
                self._close(name)
            for name, array in others.items():
                with _member(archive, name) as stream:
                    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)

    def _close(self, name: str) -> None:
        with contextlib.suppress(OSError):  # a full disk fails once more when closing
            self._arrays.pop(name).file.close()


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return archive.open(f"{name}.npy", "w", force_zip64=True)
