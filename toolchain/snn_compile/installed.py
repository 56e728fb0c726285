"""What other packages add by entry points: whose it is, and what to say when it fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, EntryPoints, entry_points
from pathlib import Path
from traceback import extract_tb
from typing import Any

from snn_compile.errors import CompileError
from snn_compile.files.documents import first_line

OURS = "snn-compile"
"""The distribution whose plug-ins are part of this program: their mistakes are its own."""


def registered(group: str) -> EntryPoints:
    """What is registered under a group; read once for each search path."""
    return _registered(group, tuple(sys.path))


@lru_cache
def _registered(group: str, _: tuple[str, ...]) -> EntryPoints:
    return entry_points(group=group)


def forget() -> None:
    """Read again what is registered: a distribution has changed in its place."""
    _registered.cache_clear()


def distribution(entry: EntryPoint) -> str:
    """Name and version of the distribution that an entry point is of."""
    return "an unknown distribution" if entry.dist is None else _name_and_version(entry.dist)


@lru_cache
def _name_and_version(dist: Distribution) -> str:
    """Each of the two parses all that a distribution says of itself."""
    return f"{dist.name} {dist.version}"


def load_entry_point(entry: EntryPoint, broken: Callable[[str], CompileError]) -> Any:
    """What an entry point names; whatever importing it raises is the error that ``broken`` makes.

    Raises:
        CompileError: it cannot be imported.
    """
    try:
        return entry.load()
    except Exception as error:
        said = str(error) if isinstance(error, ImportError) else describe_failure(error)
        raise broken(f"cannot be loaded: {said}") from error


@dataclass(frozen=True)
class Guard:
    """Turns unexpected exceptions into an error of the plug-in.

    Those of files and of memory are about the user's machine, and stay as they are.
    """

    failed: Callable[[str], CompileError]
    method: str

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: object) -> None:
        foreseen = isinstance(error, CompileError | MemoryError)
        about_a_file = isinstance(error, OSError) and error.filename is not None
        if isinstance(error, Exception) and not foreseen and not about_a_file:
            last = extract_tb(error.__traceback__)[-1]
            where = f"'{self.method}' ({Path(last.filename).name}, line {last.lineno})"
            raise self.failed(f"failed in {where}: {describe_failure(error)}") from error


def describe_failure(error: Exception) -> str:
    """Kind and first line of what a plug-in raised."""
    kind, text = type(error).__name__, first_line(error)
    return text if text == kind else f"{kind}: {text}"
