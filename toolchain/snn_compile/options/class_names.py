"""Names of classes, as files state them: lines of a text, or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn_compile.errors import UsageError
from snn_compile.files.documents import DamagedError, parse_json, read_bytes, reading
from snn_compile.files.presence import no_such_file

MAX_BYTES = 4 << 20
"""Largest file of names."""


def read_class_names(value: Any) -> tuple[str, ...]:
    """Names by class number, from a file or a list.

    A file has a name in each line, or is JSON: a list of names; names by number, as in the
    configuration of a published model (``id2label``); or numbers by name.

    Raises:
        TypeError: the value is neither a path nor a list of names.
        UsageError: the file is unreadable, or does not give every class one name.
    """
    if isinstance(value, list | tuple):
        if not all(isinstance(name, str) for name in value):
            raise TypeError
        return tuple(value)
    if not isinstance(value, str | Path):
        raise TypeError
    path = Path(value)
    if not path.exists():
        raise no_such_file(path)
    hint = "write one name a line, in the order of the network's classes"
    message = "it does not hold names of classes"
    with reading(path, UsageError, "bad-class-names", message, hint):
        return _names(read_bytes(path, MAX_BYTES), path.name)


def _names(content: bytes, file: str) -> tuple[str, ...]:
    text = content.decode("utf-8-sig").strip()
    if text[:1] in ("[", "{"):
        names = _of_json(parse_json(text.encode(), file))
    else:
        names = [line.strip() for line in text.splitlines()]
    if not names or not all(names):
        raise DamagedError("a class without a name" if names else "it is empty")
    return tuple(names)


def _of_json(document: Any) -> list[str]:
    if isinstance(document, Mapping):
        # A configuration of a published model has the names under a key of its own.
        document = document.get("id2label", document)
    if isinstance(document, Mapping):
        pairs = list(document.items())
        if all(isinstance(number, int) for _, number in pairs):
            pairs = [(str(number), name) for name, number in pairs]
        by_number = {int(number): _name(name) for number, name in pairs}
        if len(by_number) < len(pairs) or set(by_number) != set(range(len(pairs))):
            raise DamagedError(f"the numbers of classes are not 0 to {len(pairs) - 1}")
        return [by_number[number] for number in range(len(pairs))]
    if not isinstance(document, list):
        raise DamagedError("neither a list nor an object")
    return [_name(name) for name in document]


def _name(value: Any) -> str:
    """A name, or the last of several: ``["n01440764", "tench"]`` has an identifier before it."""
    if isinstance(value, list) and value:
        value = value[-1]
    if not isinstance(value, str):
        raise DamagedError(f"{value!r} is no name")
    return value.strip()
