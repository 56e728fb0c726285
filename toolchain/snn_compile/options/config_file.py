"""Reading a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn_compile.errors import Origin, UsageError
from snn_compile.files.documents import MAX_TOML_SIZE, parse_toml, read_bytes


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return parse_toml(read_bytes(path, MAX_TOML_SIZE))
    except OSError as error:
        raise UsageError(
            f"the configuration cannot be read: {error.strerror}",
            code="unreadable-config",
            origin=Origin(str(path)),
            hint="--config takes a TOML file",
        ) from error
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError and Damaged
        raise UsageError(
            f"not valid TOML: {error}",
            code="unreadable-config",
            origin=Origin(str(path)),
            hint='examples of lines: weight_bits = 4, or [layers."conv*"]',
        ) from error
