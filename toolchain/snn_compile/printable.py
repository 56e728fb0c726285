"""Text from files, made harmless before anybody sees it.

A name in a model file, a line that a device wrote or a word in somebody's report may hold anything:
line breaks that look like lines of ours, sequences that make a terminal act, characters that turn
the direction of writing around. What Python does not call printable is shown as an escape sequence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

CONTINUED = "\n  "


def printable(text: str, keep: str = "") -> str:
    """The text with an escape sequence for every character that is not printable.

    Args:
        text: any.
        keep: characters that stay as they are.
    """
    return _escaped(text, keep, lambda char: char.encode("unicode_escape").decode())


def printable_lines(text: str) -> str:
    """Printable text whose lines after the first one are indented.

    That is how messages of several lines are written here. A line break that anything else follows
    came from a file, and would start what looks like a message of ours: it is escaped.
    """
    return CONTINUED.join(printable(line) for line in text.split(CONTINUED))


def printable_json(value: Any) -> str:
    """A value as JSON that is safe to print on a terminal, and parses to the same value."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _escaped(text, "\n", lambda char: json.dumps(char)[1:-1])


def _escaped(text: str, keep: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else escape(c) for c in text)
