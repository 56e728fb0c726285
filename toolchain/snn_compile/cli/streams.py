"""Standard output and error that may be unread, closed, full or of an unusual encoding.

Whether the output has a reader changes neither the effect of a command nor its exit code.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INPUT, OUTPUT, ERROR = 0, 1, 2


class Outlet(io.FileIO):
    """A standard stream; output is discarded once its reader has gone.

    Args:
        number: of the stream.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write to the stream.

        Raises:
            OSError: results cannot be written, for another reason than that their reader has gone.
        """
        try:
            return super().write(data)
        except OSError as error:
            _lead_nowhere(self.fileno())
            # Errors cannot be reported any more.
            if isinstance(error, BrokenPipeError) or self.fileno() == ERROR:
                return memoryview(data).nbytes
            raise OSError(error.errno, error.strerror, "standard output") from error


@contextmanager
def robust_streams() -> Iterator[None]:
    """Write through outlets while a command runs, if this process writes to its own streams."""
    for number in (INPUT, OUTPUT, ERROR):
        with suppress(OSError):
            os.fstat(number)
            continue
        # Else the first file opened would receive the output of libraries.
        os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    try:
        sys.stdout = _outlet(sys.stdout, OUTPUT)
        sys.stderr = _outlet(sys.stderr, ERROR)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = before


def _outlet(stream: TextIO | None, number: int) -> TextIO:
    """An outlet that replaces a standard stream; any other stream is returned unchanged."""
    if stream is None:  # it was closed when Python started
        return _text(number, "utf-8")
    own = isinstance(stream, io.TextIOWrapper) and isinstance(
        stream.buffer, io.BufferedWriter | io.FileIO
    )
    if not own or stream.fileno() != number:
        return stream
    with suppress(OSError):
        stream.flush()
    return _text(number, stream.encoding, lines=bool(stream.line_buffering))


def _text(number: int, encoding: str, *, lines: bool = False) -> TextIO:
    """A text stream that writes a question mark for a character outside its encoding."""
    errors = "backslashreplace" if encoding.lower() in ("utf-8", "utf8") else "replace"
    buffer = io.BufferedWriter(Outlet(number))
    return io.TextIOWrapper(buffer, encoding=encoding, errors=errors, line_buffering=lines)


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
