"""Numbers of things, as people say them."""

from __future__ import annotations

_PLURALS = {"stimulus": "stimuli", "golden stimulus": "golden stimuli"}


def pluralize(n: int, what: str) -> str:
    """How many there are of something: 1 stimulus, 1,024 samples."""
    return f"{n:,} {what if n == 1 else _PLURALS.get(what, f'{what}s')}"
