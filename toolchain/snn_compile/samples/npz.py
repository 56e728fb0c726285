"""The arrays of npz files of data, and what is said of files that are none."""

from __future__ import annotations

from collections.abc import Callable, Container
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from snn_compile.errors import CompileError, Origin, UsageError
from snn_compile.files.archives import Archive, Arrays
from snn_compile.files.documents import (
    DAMAGE,
    TooLargeError,
    describe_error,
    open_regular,
    too_large,
)
from snn_compile.files.npy import PickledError
from snn_compile.samples.rows import Rows
from snn_compile.samples.stored import HELD_BYTES, StoredRows, room_on_disk

T = TypeVar("T")


def array_names(path: Path) -> list[str]:
    """Names of the arrays of an npz file; errors as of ``read_arrays``."""
    found: list[str] = []

    def select(arrays: Arrays) -> dict[str, Rows]:
        found.extend(arrays)
        return {}

    read_arrays(path, select)
    return found


def rows_in(arrays: Arrays, name: str, path: Path) -> Rows:
    """An array of a file; a large one is read when it is asked for."""
    if arrays.size(name) > HELD_BYTES and (region := arrays.region(name)) is not None:
        return StoredRows(region, str(path))
    return arrays[name]


def read_arrays(path: Path, select: Callable[[Arrays], dict[str, T]]) -> dict[str, T]:
    """What is selected from an npz file; nothing in it is unpickled.

    Raises:
        UsageError: the file does not exist, is not an npz file or holds pickled objects, or its
            content exceeds what memory and disk have room for.
    """
    try:
        with open_regular(path) as stream:
            start = stream.read(2)
        if start[:1] == b"\x80":
            raise _pickled(path)
        if start != b"PK":
            raise data_error(
                "not an npz file", "unreadable-data", path, "write it with numpy.savez"
            )
        with room_on_disk(path), Archive(path) as archive:
            return select(Arrays(archive))
    except PickledError as error:
        raise _pickled(path) from error
    except TooLargeError as error:
        raise too_large(path, error) from error
    except OSError as error:
        raise data_error(
            f"cannot be read: {error.strerror or error}", "unreadable-data", path, "check the path"
        ) from error
    except DAMAGE as error:
        raise data_error(
            f"not an npz file, or a damaged one ({describe_error(error)})",
            "unreadable-data",
            path,
            "write it again",
        ) from error


def missing_arrays(
    source: Path | str, missing: list[str], names: list[str], right: Container[str] = ()
) -> CompileError:
    """The error for arrays that data lack.

    ``names`` are those that they have; the ``right`` ones among them are not misspelt.
    """
    shown = ", ".join(ascii(name)[1:-1] for name in names[:10]) or "nothing"
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    without = " and ".join(f"'{name}'" for name in missing)
    others = [name for name in names if name not in right]
    alike = [match for name in missing for match in get_close_matches(name, others, 1)]
    write = "write it with numpy.savez(file, x=..., y=...)"
    if missing != ["x"]:
        write = "name the arrays as the network's inputs"
    if missing != ["x"] and alike:
        write = f"did you mean {' and '.join(ascii(name) for name in alike)}? {write}"
    return data_error(
        f"there is no {without} in it (it holds {shown}{more})", "missing-key", source, write
    )


def _pickled(path: Path) -> UsageError:
    return data_error(
        "it holds pickled Python objects, which are never loaded",
        "pickled-data",
        path,
        "store plain arrays of numbers: numpy.savez(file, x=numpy.asarray(x, 'float32'))",
    )


def data_error(message: str, code: str, source: Path | str, hint: str) -> UsageError:
    """An error about data."""
    return UsageError(message, code=code, origin=Origin(str(source)), hint=hint)
