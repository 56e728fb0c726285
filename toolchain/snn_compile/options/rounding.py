"""Ways to round weights, as options name them."""

from __future__ import annotations

import re

ROUNDINGS = "nearest, compensated, reconstructed or reconstructed:STEPS"
_RECONSTRUCTED = re.compile(r"reconstructed(?::([1-9]\d{0,5}))?")


def valid_rounding(rounding: str) -> bool:
    """Whether a way to round exists."""
    return rounding in ("nearest", "compensated") or reconstructs(rounding)


def reconstructs(rounding: str) -> bool:
    """Whether weights are learned from the float network's answers."""
    return _RECONSTRUCTED.fullmatch(rounding) is not None


def steps_of(rounding: str) -> int | None:
    """The steps of a reconstruction, if they are stated."""
    match = _RECONSTRUCTED.fullmatch(rounding)
    return int(match[1]) if match and match[1] else None
