"""Kinds of augmentation, as the option states them; light, since every command line reads it."""

from __future__ import annotations

from typing import Any

from snn_compile.options.kinds import Kind

SHIFT, FLIP, NOISE = "shift", "flip", "noise"
SIZES = {SHIFT: 1.0, FLIP: 0.5, NOISE: 0.05}
"""Default size of each kind: positions, probability, and share of the data's standard deviation."""


def parse(text: str) -> tuple[str, float]:
    """A kind and its size, from ``KIND`` or ``KIND:SIZE``.

    Raises:
        ValueError: it is neither.
    """
    name, colon, size = text.partition(":")
    if name not in SIZES or (colon and not size):
        raise ValueError(text)
    return name, float(size) if colon else SIZES[name]


def _read(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    texts = [part.strip() for item in parts for part in item.split(",")]
    for text in texts:
        parse(text)
    return tuple(text for text in texts if text)


def _allows(value: tuple[str, ...]) -> bool:
    found = dict(map(parse, value))
    whole = found.get(SHIFT, 1.0)
    return (
        len(found) == len(value)
        and whole >= 1
        and whole == int(whole)
        and 0 < found.get(FLIP, 1.0) <= 1
        and found.get(NOISE, 1.0) > 0
    )


KIND = Kind(
    f"some of {', '.join(SIZES)}, each with a size if wanted (shift:2)",
    "KIND[:SIZE],...",
    _read,
    'augment = ["shift:2", "flip"]',
    "each kind once; shift:POSITIONS (1 or more), flip:PROBABILITY, noise:SHARE",
    _allows,
)
