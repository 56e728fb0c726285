"""Observers of a compilation. The core calls an observer; it never prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from snn_compile.passes import Finding

Advance = Callable[[int], None]
"""Takes the number of items of a task finished since the last call."""


class Observer(Protocol):
    """Receives the progress of a compilation."""

    def stage(self, name: str, text: str) -> None:
        """A finished step. ``model`` and ``target`` are the two lines of the header."""
        ...

    def progress(self, name: str, text: str, total: int) -> AbstractContextManager[Advance]:
        """A step of ``total`` items that takes a while; yields the function to advance it."""
        ...

    def activity(self, name: str) -> AbstractContextManager[object]:
        """A step that is not counted and may take a while."""
        ...

    def finding(self, finding: Finding) -> None:
        """A finding for the user."""
        ...

    def dump(self, pass_name: str, graph: object) -> None:
        """The network after a pass."""
        ...


class SilentObserver:
    """An observer without output, the default of the Python interface."""

    def stage(self, name: str, text: str) -> None:
        """No output."""

    @contextmanager
    def progress(self, name: str, text: str, total: int) -> Iterator[Advance]:
        """No output."""
        del name, text, total
        yield lambda n: None

    def activity(self, name: str) -> AbstractContextManager[object]:
        """No output."""
        return nullcontext(name)

    def finding(self, finding: Finding) -> None:
        """No output."""

    def dump(self, pass_name: str, graph: object) -> None:
        """No output."""
