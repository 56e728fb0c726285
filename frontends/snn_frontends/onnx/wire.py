"""Estimate of the memory of a parsed protobuf file, from its bytes.

An empty message takes two bytes in the file and more than a hundred in memory, and processing it
takes time as well. Fields are therefore counted before any is created.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from snn_compile.files.documents import DamagedError, TooLargeError

Content = bytes | mmap.mmap
MAX_FIELDS = 2_000_000
"""A network of ten thousand operators has a tenth of that; all numbers of a tensor are one."""
MAX_OUTER_FIELDS = 100_000
"""A model itself has about ten, and one for each entry of its metadata and each function."""


@dataclass(frozen=True)
class Field:
    """A field of a message, by places in its file.

    Attributes:
        number: its number.
        begin: of its tag.
        start: of the bytes that it holds; None if it holds a number.
        end: behind it.
    """

    number: int
    begin: int
    start: int | None
    end: int


def check(content: Content, descriptor: Any) -> None:
    """Check the number of fields of a file against the limit of a model.

    Args:
        content: content of the file.
        descriptor: descriptor of its message type.

    Raises:
        DamagedError: it is not such a message.
        TooLargeError: it has more.
    """
    kinds: dict[str, dict[int, Any]] = {}
    waiting, count = [(0, len(content), descriptor)], 0
    while waiting:
        at, end, kind = waiting.pop()
        if kind.full_name not in kinds:
            kinds[kind.full_name] = {f.number: f.message_type for f in kind.fields}
        inner = kinds[kind.full_name]
        while at < end:
            count += 1
            if count > MAX_FIELDS:
                raise TooLargeError(f"it has more than {MAX_FIELDS:,} parts")
            number, start, at = _field(content, at, end)
            if start is not None and (message := inner.get(number)) is not None:
                waiting.append((start, at, message))


def fields(content: Content, number: int) -> Iterator[bytes]:
    """What the fields of a model with a number hold, if they hold bytes; others are skipped.

    Raises:
        DamagedError: it is no message.
        TooLargeError: it has more fields than a model.
    """
    at = count = 0
    while at < len(content):
        count += 1
        if count > MAX_OUTER_FIELDS:
            raise TooLargeError(f"it has more than {MAX_OUTER_FIELDS:,} parts")
        found, start, at = _field(content, at, len(content))
        if found == number and start is not None:
            yield content[start:at]


def outline(content: Content, at: int, end: int) -> Iterator[Field]:
    """The fields of a message that lies between two places.

    Raises:
        DamagedError: it is no message.
    """
    while at < end:
        begin = at
        number, start, at = _field(content, at, end)
        yield Field(number, begin, start, at)


def field(number: int, held: bytes) -> bytes:
    """A field that holds bytes."""
    return b"".join([_in_bytes(number << 3 | 2), _in_bytes(len(held)), held])


def _in_bytes(value: int) -> bytes:
    """A number as a varint."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _field(content: Content, at: int, end: int) -> tuple[int, int | None, int]:
    """Number of the field at a place, where its bytes start (None if it is a number), its end."""
    tag, at = _varint(content, at, end)
    start = None
    match tag & 7:
        case 0:
            _, at = _varint(content, at, end)
        case 1:
            at += 8
        case 5:
            at += 4
        case 2:
            size, start = _varint(content, at, end)
            at = start + size
        case _:
            raise DamagedError("a group, or not a field")
    if at > end:
        raise DamagedError("a field ends beyond its message")
    if not tag >> 3:
        raise DamagedError("a field without a number")
    return tag >> 3, start, at


def _varint(content: Content, at: int, end: int) -> tuple[int, int]:
    """A number and its end."""
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise DamagedError("a number without an end")
