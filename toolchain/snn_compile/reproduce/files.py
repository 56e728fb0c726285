"""Comparison of two folders, file by file and byte for byte, with the first difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from snn_compile.files.archives import Archive, Arrays, unequal
from snn_compile.files.documents import (
    DAMAGE,
    MAX_JSON_SIZE,
    describe_error,
    open_regular,
    read_json,
    sha256,
)
from snn_compile.signing import entries

_ARCHIVES = (".snn", ".npz")
_PROGRAM = "program.json"
_PIECE = 1 << 20
_MAX_LENGTH = 60


@dataclass(frozen=True)
class FileComparison:
    """A file of two folders.

    Attributes:
        file: its path.
        equal: whether it is the same, byte for byte.
        where: the first difference, if any.
    """

    file: str
    equal: bool
    where: str = ""


def compare_folders(original: Path, again: Path) -> Iterator[FileComparison]:
    """Compare every file of two folders, except signatures and files added after signing.

    Args:
        original: an untrusted folder.
        again: its recompilation.
    """
    before, after = dict(entries(original)), dict(entries(again))
    for name in sorted({*before, *after}):
        if name not in before:
            yield FileComparison(name, False, "is missing")
        elif name not in after:
            yield FileComparison(name, False, "is not a result of compiling")
        elif not before[name]:
            yield FileComparison(name, False, "is not a plain file")
        elif sha256(original / name) == sha256(again / name):
            yield FileComparison(name, True)
        else:
            yield FileComparison(name, False, _where(original / name, again / name))


def _where(original: Path, again: Path) -> str:
    """The first difference between two files of the same kind."""
    kind = again.suffix
    try:
        if kind in _ARCHIVES:
            return _in_archives(original, again)
        if kind == ".json":
            found = _in_json(read_json(original), read_json(again))
            return found or "equal values in a different notation"
        return _in_bytes(original, again)
    except DAMAGE as error:
        return f"cannot be read: {describe_error(error)}"


def _in_archives(original: Path, again: Path) -> str:
    with Archive(original) as one, Archive(again) as other:
        before, after = Arrays(one), Arrays(other)
        names = _names_of_arrays(other)
        numbers = dict.fromkeys([*after, *before])
        found = [_in_arrays(names.get(k, k), before.get(k), after.get(k)) for k in numbers]
        texts = [text for text in found if text]
        if texts:
            more = f"; {len(texts) - 1} more arrays" if len(texts) > 1 else ""
            return texts[0] + more
        if _PROGRAM in other.names:
            programs = (_program(archive) for archive in (one, other))
            if text := _in_json(*programs):
                return text
    return "equal arrays in a different encoding: a different zlib or numpy"


def _program(archive: Archive) -> Any:
    document = archive.json(_PROGRAM, MAX_JSON_SIZE)
    document.pop("hashes")  # of the arrays, which are equal
    return document


def _names_of_arrays(archive: Archive) -> dict[str, str]:
    """In a sealed file, arrays are stored by the numbers of their names."""
    if _PROGRAM not in archive.names:
        return {}
    names = sorted(archive.json(_PROGRAM, MAX_JSON_SIZE)["hashes"])
    return {str(number): name for number, name in enumerate(names)}


def _in_arrays(name: str, before: Any, after: Any) -> str:
    if before is None or after is None:
        return f"'{name}' is {'missing' if before is None else 'not a result of compiling'}"
    if (before.shape, before.dtype) != (after.shape, after.dtype):
        return f"'{name}' is {before.dtype} {before.shape}, not {after.dtype} {after.shape}"
    count, first = unequal(before, after)
    if not count:
        return ""
    return (
        f"'{name}': {count:,} of {before.size:,} values, first {list(first)}:"
        f" {before[first]}, not {after[first]}"
    )


def _in_json(before: Any, after: Any, place: str = "") -> str:
    """The first differing entry, with its place; empty without one."""
    if isinstance(before, dict) and isinstance(after, dict):
        prefix = f"{place}." if place else ""
        pairs = ((f"{prefix}{k}", before.get(k), after.get(k)) for k in {**after, **before})
    elif isinstance(before, list) and isinstance(after, list):
        both = enumerate(zip_longest(before, after))
        pairs = ((f"{place}[{k}]", one, other) for k, (one, other) in both)
    else:
        same = type(before) is type(after) and before == after
        return "" if same else f"{place}: {_short(before)}, not {_short(after)}"
    return next((text for p, one, other in pairs if (text := _in_json(one, other, p))), "")


def _in_bytes(original: Path, again: Path) -> str:
    line, byte = 1, 0
    with open_regular(original) as one, open_regular(again) as other:
        while True:
            before, after = one.read(_PIECE), other.read(_PIECE)
            if before != after or not before:
                break
            line, byte = line + before.count(b"\n"), byte + len(before)
    pairs = enumerate(zip(before, after, strict=False))
    at = next((k for k, (a, b) in pairs if a != b), min(len(before), len(after)))
    return f"line {line + before[:at].count(10)} (byte {byte + at + 1:,})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."
