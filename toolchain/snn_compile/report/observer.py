"""Who watches a compilation. The core calls an observer; it never prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from snn_compile.passes import Finding

Advance = Callable[[int], None]
"""Told how many items of a task have been finished since the last call."""


class Observer(Protocol):
    """Sees what a compilation does, while it does it."""

    def stage(self, name: str, text: str) -> None:
        """A finished step. ``model`` and ``target`` are the two lines of the header."""
        ...

    def progress(self, name: str, text: str, total: int) -> AbstractContextManager[Advance]:
        """A step of ``total`` items that takes a while; yields the function to advance it."""
        ...

    def finding(self, finding: Finding) -> None:
        """Something a user may want to know."""
        ...

    def dump(self, pass_name: str, graph: object) -> None:
        """The network as it is after a pass."""
        ...


class SilentObserver:
    """Sees everything and says nothing; what the Python interface uses."""

    def stage(self, name: str, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def progress(self, name: str, text: str, total: int) -> Iterator[Advance]:
        """Count nothing."""
        del name, text, total
        yield lambda n: None

    def finding(self, finding: Finding) -> None:
        """Say nothing."""

    def dump(self, pass_name: str, graph: object) -> None:
        """Write nothing."""
