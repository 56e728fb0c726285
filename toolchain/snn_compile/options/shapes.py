"""Shapes of a model's inputs as options: ``image=1,3,224,224``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_AXES = 16
MAX_SIZE = (1 << 31) - 1
_OPEN = re.compile(r"-1|[A-Za-z_?][\w?-]*")

Sizes = tuple[int | None, ...]
"""Sizes of the axes; None for one of any size."""


def read_shapes(value: Any) -> tuple[str, ...]:
    """Shapes from a text, a list of texts, or sizes by name, each as ``name=sizes``.

    Raises:
        TypeError: the value is none of these.
        ValueError: a text is no shape.
    """
    if isinstance(value, Mapping):
        value = [f"{name}={_listed(sizes)}" for name, sizes in value.items()]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(one, str) for one in texts):
        raise TypeError
    shapes = [name_and_sizes(one) for one in texts]
    return tuple(_written(*shape) for shape in shapes)


def name_and_sizes(text: str) -> tuple[str, Sizes]:
    """An input and its shape; the name is empty where the text has none.

    Raises:
        ValueError: the text is no shape.
    """
    name, _, listed = text.rpartition("=")
    parts = [part.strip() for part in listed.strip().strip("[]()").split(",")]
    if parts == [""]:
        return name.strip(), ()
    if len(parts) > MAX_AXES:
        raise ValueError
    return name.strip(), tuple(_size(part) for part in parts)


def _size(text: str) -> int | None:
    if _OPEN.fullmatch(text):
        return None
    size = int(text)
    if not 1 <= size <= MAX_SIZE:
        raise ValueError
    return size


def _written(name: str, sizes: Sizes) -> str:
    listed = ",".join("N" if size is None else str(size) for size in sizes)
    return f"{name}={listed}" if name else listed


def _listed(sizes: Any) -> str:
    if isinstance(sizes, str):
        return sizes
    if not isinstance(sizes, list | tuple):
        raise TypeError
    return ",".join(str(size) for size in sizes)
