"""Names of classes, from a text file or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn_compile.errors import UsageError
from snn_compile.files.documents import DamagedError, parse_json, read_bytes, reading

MAX_BYTES = 64 << 20
"""Largest file of names."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of the network's outputs.

    A text file has one name in each line; JSON is a list of names, or an object from index to name.

    Raises:
        UsageError: the file cannot be read, or holds no names.
    """
    hint = "one name in each line, or JSON: a list of names, or an object from index to name"
    with reading(path, UsageError, "bad-class-names", "it has no names of classes", hint):
        content = read_bytes(path, MAX_BYTES)
        if path.suffix == ".json":
            names = _of_json(parse_json(content, path.name))
        else:
            names = content.decode("utf-8-sig").rstrip().splitlines()
        if not names:
            raise DamagedError("it is empty")
    return tuple(name.strip() for name in names)


def _of_json(document: Any) -> list[str]:
    """The names in a JSON document."""
    if isinstance(document, dict):
        if sorted(document) != sorted(str(index) for index in range(len(document))):
            raise DamagedError("its keys are not the indices from 0 on")
        document = [document[str(index)] for index in range(len(document))]
    if not isinstance(document, list):
        raise DamagedError("it is neither a list nor an object")
    # Lists of [identifier, name], as ImageNet's index has them, end with the name.
    names = [one[-1] if isinstance(one, list) and one else one for one in document]
    if not all(isinstance(name, str) for name in names):
        raise DamagedError("not every name is a text")
    return names
