"""Untrusted files: regular files only, bounded in size, in plain types.

Reading a file here raises an ``OSError`` or a :class:`DamagedError`; ``reading`` turns it into the
user-facing error. Archives of arrays are read by ``archives.py``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snn_compile import memory
from snn_compile.errors import CompileError, CompileErrors, Origin, UsageError

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # NotImplementedError and RecursionError are two of them
    LookupError,
    TypeError,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
)
"""Exceptions from reading a damaged file."""
MAX_DEPTH = 64
"""Largest nesting depth of JSON and TOML."""
MAX_JSON_SIZE = 64 << 20
MAX_TOML_SIZE = 256 << 10
MAX_DOTS = 200
"""Most dots in a line of TOML: a dotted key takes quadratic time."""
BYTES_A_CHARACTER = 32
"""Largest memory per character of JSON, once read: ``[[],[],[]]``."""
_PIECE = 1 << 20


class DamagedError(ValueError):
    """The content of a file is invalid."""


class MissingError(DamagedError):
    """A file needs a package that is not installed.

    Attributes:
        code: of the user-facing error.
    """

    code = "missing"


class TooLargeError(DamagedError):
    """A file exceeds the memory budget."""


@contextmanager
def reading(
    path: str | Path, kind: type[CompileError], code: str, message: str, hint: str
) -> Iterator[None]:
    """Turn any exception from reading a damaged file into a user-facing error.

    A user-facing error gets the file as its origin, unless it has one.

    Args:
        path: of the file or folder.
        kind: of the error.
        code: its code.
        message: its beginning; the reason follows.
        hint: the action to take.
    """
    try:
        yield
    except TooLargeError as error:
        raise too_large(path, error) from error
    except MissingError as error:
        hint = "install the package that adds it"
        raise kind(str(error), code=error.code, origin=Origin(str(path)), hint=hint) from error
    except CompileError as error:
        for one in error.errors if isinstance(error, CompileErrors) else (error,):
            one.origin = one.origin or Origin(str(path))
        raise
    except DAMAGE as error:
        raise kind(
            f"{message} ({describe_error(error)})", code=code, origin=Origin(str(path)), hint=hint
        ) from error


def too_large(
    place: str | Path | Origin, error: TooLargeError, kind: type[CompileError] = UsageError
) -> CompileError:
    """The error for a file beyond the memory budget; a model's is of another kind."""
    return kind(
        str(error),
        code="too-large",
        origin=place if isinstance(place, Origin) else Origin(str(place)),
        hint="to allow this much, set --max-memory",
    )


def describe_error(error: BaseException) -> str:
    """An exception in a line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, DamagedError):
        return str(error)
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, EOFError) and not str(error):
        return "it ends too early"
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of another library's error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def check_size(what: str, size: int, limit: int | None = None) -> None:
    """Check a size against the memory budget of a file.

    Raises:
        TooLargeError: it exceeds the budget.
    """
    most = memory.budget() if limit is None else limit
    if size > most:
        raise TooLargeError(
            f"{what} takes {memory.format_size(size)}, above its limit of"
            f" {memory.format_size(most)}"
        )


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a file for reading; a pipe, a device or a folder is refused and never waited for.

    Raises:
        OSError: it does not exist, or is not a regular file.
    """
    _require_regular(os.stat(path), path)
    # Should it become a pipe meanwhile, opening it does not wait either.
    flags = os.O_RDONLY | sum(
        getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
    )
    descriptor = os.open(path, flags)
    try:
        _require_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(status: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def inside(folder: Path, name: str) -> Path:
    """A file of a folder.

    Raises:
        DamagedError: it is a link out of the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DamagedError(f"{name} is a link that leaves the folder")
    return path


def read_bytes(path: str | Path, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        OSError: it cannot be read.
        TooLargeError: it is larger.
        DamagedError: it has grown.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        check_size(Path(path).name, size, most)
        content = stream.read(size + 1)  # as much is allocated
    if len(content) > size:
        raise DamagedError(f"{Path(path).name} has grown while it was read")
    return content


def sha256(path: str | Path) -> str:
    """The hash of a regular file of any size."""
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def read_json(path: str | Path) -> Any:
    """The value of a JSON file.

    Raises:
        OSError: it cannot be read.
        DamagedError: it is not JSON, or implausible JSON.
    """
    return parse_json(read_bytes(path, most_json()), Path(path).name)


def most_json() -> int:
    """Most bytes of a JSON text."""
    return min(MAX_JSON_SIZE, memory.budget() // BYTES_A_CHARACTER)


def parse_json(content: bytes, name: str) -> Any:
    """The value of a JSON text: finite numbers, integers of 64 bits, bounded nesting.

    Raises:
        DamagedError: it violates this.
    """
    check_size(name, len(content), most_json())
    try:
        document = json.loads(
            content, parse_int=_integer, parse_float=_finite, parse_constant=_finite
        )
    except DamagedError:
        raise
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} is not valid JSON: {describe_error(error)}") from error
    _check_depth(document, name)
    return document


def _integer(digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else 1 << 64
    if not -(1 << 63) <= number < 1 << 64:
        raise DamagedError(f"an integer of more than 64 bits: {digits[:24]}...")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if number - number != 0:
        raise DamagedError(f"a number that is not finite: {digits[:24]}")
    return number


def _check_depth(document: Any, name: str) -> None:
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [item for one in level for item in _items(one) if isinstance(item, dict | list)]
        if not level:
            return
    raise DamagedError(f"{name} is nested more than {MAX_DEPTH} levels deep")


def _items(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def parse_toml(content: bytes) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        DamagedError: it is not TOML, or implausible TOML.
    """
    import tomllib

    try:
        text = content.decode()
        if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
            raise DamagedError(f"a line with more than {MAX_DOTS} dots")
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise DamagedError("nested too deeply") from error
    _check_depth(tables, "it")
    _check_integers(tables)
    return tables


def _check_integers(value: Any) -> None:
    if isinstance(value, dict | list):
        for item in _items(value):
            _check_integers(item)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise DamagedError("an integer of more than 64 bits")
