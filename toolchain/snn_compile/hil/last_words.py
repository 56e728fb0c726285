"""The last lines that a process printed, made fit to be shown."""

from __future__ import annotations

from snn_compile.printable import printable

MAX_BYTES = 20_000
"""Of what a process prints, no more is kept."""
MAX_LINES = 8


def last_words(content: bytes) -> str:
    """The last lines of a log, each on a new line and indented; empty if there are none.

    Control characters are escaped: what a stranger's process prints never steers a terminal.
    """
    lines = content[-MAX_BYTES:].decode(errors="replace").split("\n")
    said = [line.rstrip() for line in lines if line.strip()]
    return "".join(f"\n  {printable(line)}" for line in said[-MAX_LINES:])
