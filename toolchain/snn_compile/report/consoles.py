"""Consoles whose output is harmless, whatever the files hold that it speaks of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from snn_compile.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def printable_console(**options: Any) -> Console:
    """A console without markup, which escapes everything that is not printable."""
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    class Printable(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else printable(text, keep="\n"), style, control)

    return Printable(highlight=False, markup=False, emoji=False, **options)
