"""The tail of a process's output, escaped for display."""

from __future__ import annotations

from snn_compile.printable import printable

MAX_BYTES = 20_000
"""Most output kept of a process."""
MAX_LINES = 8


def last_words(content: bytes) -> str:
    """The last lines of a log, each on a new line and indented; empty if there are none.

    Control characters are escaped: untrusted output must not control a terminal.
    """
    lines = content[-MAX_BYTES:].decode(errors="replace").split("\n")
    printed = [line.rstrip() for line in lines if line.strip()]
    return "".join(f"\n  {printable(line)}" for line in printed[-MAX_LINES:])
