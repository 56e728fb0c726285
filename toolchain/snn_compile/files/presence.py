"""Files that a command is to read: all that are missing are named before any work begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snn_compile.errors import Origin, UsageError


def no_such_file(path: Path, hint: str = "check the path") -> UsageError:
    """The error for a file that does not exist."""
    return UsageError("no such file", code="no-such-file", origin=Origin(str(path)), hint=hint)


def require_present(named: Mapping[str, Path | None]) -> None:
    """Check that paths exist; what they hold is checked by whoever reads them.

    Args:
        named: by the word that names each on the command line; None where it was not given.

    Raises:
        UsageError: some do not; one error names them all, and what each was to be.
    """
    missing = {word: path for word, path in named.items() if path and not path.exists()}
    if len(missing) == 1:
        ((word, path),) = missing.items()
        hint = f"check the path after {word}" if word.startswith("-") else "check the path"
        raise no_such_file(path, hint)
    if missing:
        told = ", ".join(f"{path} ({word})" for word, path in missing.items())
        raise UsageError(
            f"files that do not exist: {told}", code="no-such-file", hint="check the paths"
        )
