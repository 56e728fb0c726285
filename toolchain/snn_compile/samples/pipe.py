"""Samples that arrive one after the other: arrays in numpy's format on a pipe.

A frame is what ``numpy.save`` writes. It holds a sample, or several of them with an axis in front;
frames follow each other without anything between, and the stream ends with the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import BinaryIO

import numpy as np

from snn_compile.errors import Origin, UsageError
from snn_compile.files.documents import DamagedError, TooLargeError, check_size, too_large
from snn_compile.files.npy import plain
from snn_compile.samples.rows import Array

KINDS = "?biuf"
"""Kinds of plain numbers."""


def frames(stream: BinaryIO, source: str) -> Iterator[Array]:
    """The arrays on a pipe, each as soon as it is complete; nothing is unpickled.

    Raises:
        UsageError: what arrives is no array of numbers, ends in the middle of one, or is an array
            that takes more memory than it may.
    """
    number = 0
    while first := stream.read(1):
        try:
            yield _frame(_Rest(first, stream), f"frame {number}")
        except TooLargeError as error:
            raise too_large(source, error) from error
        except DamagedError as error:
            raise UsageError(
                str(error),
                code="unreadable-data",
                origin=Origin(source),
                hint="write each frame with numpy.save(stream, sample), and nothing between",
            ) from error
        number += 1


def samples(
    arrays: Iterator[Array],
    check: Callable[[Array], Array],
    shape: tuple[int, ...],
    source: str,
) -> Iterator[Array]:
    """The samples of frames, one at a time.

    Args:
        arrays: the frames.
        check: samples (n, *stored shape) as those of the network, (n, *shape).
        shape: of a sample of the network.
        source: of the frames.

    Raises:
        UsageError: as ``check``, with the number of the frame; or there are no frames.
    """
    number = -1
    for number, array in enumerate(arrays):
        try:
            checked = check(array[None] if array.ndim == len(shape) else array)
        except UsageError as error:
            error.origin = Origin(f"{source}, frame {number}")
            raise
        yield from checked
    if number < 0:
        raise UsageError(
            "it ends before the first sample",
            code="empty-data",
            origin=Origin(source),
            hint="write each sample with numpy.save(stream, sample)",
        )


def _frame(stream: _Rest, name: str) -> Array:
    dtype, shape, fortran, _ = plain(stream, name, KINDS)  # type: ignore[arg-type]
    size = prod(shape) * dtype.itemsize
    check_size(name, size)
    content = stream.read(size)
    if len(content) < size:
        raise DamagedError(f"{name} ends after {len(content):,} of {size:,} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


class _Rest:
    """A stream of which one byte has been read already; a read waits for all bytes."""

    def __init__(self, first: bytes, stream: BinaryIO) -> None:
        self._first = first
        self._stream = stream

    def read(self, size: int = 0, /) -> bytes:
        """Read ``size`` bytes, or what there is before the end."""
        first, self._first = self._first[:size], self._first[size:]
        return first + self._stream.read(size - len(first))
