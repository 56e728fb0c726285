"""Names in an ONNX model, made printable before anybody repeats them."""

from __future__ import annotations

from functools import cache
from typing import Any

from snn_compile.files.documents import DamagedError
from snn_compile.printable import printable

MAX_LENGTH = 4096
"""Limit in characters: the results of a layer repeat its name a few dozen times."""
DESCRIPTIONS = frozenset({"doc_string", "metadata_props", "quantization_annotation"})


def make_printable(message: Any) -> None:
    """Make every name in a model printable; remove descriptions.

    Two names that become equal are one value defined twice, which is refused.

    Raises:
        DamagedError: a name is too long.
    """
    for name in _readable_fields(message.DESCRIPTOR):
        value = getattr(message, name)
        single = isinstance(value, str) or hasattr(value, "ListFields")
        if single and not message.HasField(name):
            continue
        if name in DESCRIPTIONS:
            message.ClearField(name)
        elif isinstance(value, str):
            setattr(message, name, _name(value))
        elif single:
            make_printable(value)
        elif value and isinstance(value[0], str):
            value[:] = [_name(text) for text in value]
        else:
            for part in value:
                make_printable(part)


@cache
def _readable_fields(descriptor: Any) -> tuple[str, ...]:
    """The fields of a message that hold text or messages.

    Only these are read, because each access to the numbers of a tensor copies them.
    """
    return tuple(
        field.name
        for field in descriptor.fields
        if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE)
    )


def _name(text: str) -> str:
    if len(text) > MAX_LENGTH:
        raise DamagedError(f"a name of {len(text):,} characters, '{text[:40]}...'")
    return printable(text)
