"""Whose files lie where a sweep is to write: those of another program are never replaced."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snn_compile.errors import Origin, UsageError, raise_all
from snn_compile.files.documents import read_json
from snn_compile.sweep.page import is_page
from snn_compile.sweep.schema import POINTS, SWEEP, SWEEP_PAGE


def require_own(folder: Path, names: Iterable[str]) -> None:
    """Check that a sweep can be written to a path, and replaces nothing but what a sweep wrote.

    A record that is damaged counts as a sweep's: its point is compiled again.

    Args:
        folder: of the sweep.
        names: of its points.

    Raises:
        UsageError: it is no folder, or has other files of these names (``CompileErrors`` if
            several).
    """
    if folder.exists() and not folder.is_dir():
        raise _in_the_way(folder, "the path is a file")
    is_ours = {folder / SWEEP: _is_sweep, folder / SWEEP_PAGE: is_page}
    is_ours |= {folder / POINTS / f"{name}.json": _is_record for name in names}
    message = "no sweep has written this file, and this one would replace it"
    taken = [path for path, check in is_ours.items() if os.path.lexists(path) and not check(path)]
    raise_all([_in_the_way(path, message) for path in taken])


def _in_the_way(path: Path, message: str) -> UsageError:
    hint = "move it away, or name another folder with -o"
    return UsageError(message, code="output-exists", origin=Origin(str(path)), hint=hint)


def _is_sweep(path: Path) -> bool:
    content = _content(path)
    return isinstance(content, dict) and {"schema", "tool", "points"} <= content.keys()


def _is_record(path: Path) -> bool:
    content = _content(path)
    is_damaged = content is None and path.is_file()
    return is_damaged or (isinstance(content, dict) and {"name", "state", "key"} <= content.keys())


def _content(path: Path) -> Any:
    """What a file of JSON says; None if it says nothing."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None
