"""Files that a command is to read: all that are missing are named before any work begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snn_compile.errors import Origin, UsageError, raise_all


def require_present(named: Mapping[str, Path | None]) -> None:
    """Check that paths exist; what they hold is checked by whoever reads them.

    Args:
        named: by the word that each has in the command's help; None where it was not given.

    Raises:
        UsageError: some do not (``CompileErrors`` if several).
    """
    raise_all(
        [
            UsageError(
                "no such file",
                code="no-such-file",
                origin=Origin(str(path)),
                hint=f"check the path after {word}" if word.startswith("-") else "check the path",
            )
            for word, path in named.items()
            if path is not None and not path.exists()
        ]
    )
