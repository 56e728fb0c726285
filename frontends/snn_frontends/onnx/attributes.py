"""The attributes of a node, with a record of those that were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from onnx import defs, helper

from snn_compile.errors import CompileError, ModelError, Origin, UnsupportedError


class Attributes(Mapping[str, Any]):
    """Attributes in the file, text decoded. A set but unread attribute is an error.

    Args:
        node: the node.
        origin: origin of the node.

    Raises:
        ModelError: an attribute is set twice, or refers to that of a missing function.
    """

    def __init__(self, node: onnx.NodeProto, origin: Origin) -> None:
        self._stated: dict[str, Any] = {}
        self._read: set[str] = set()
        for attribute in node.attribute:
            if attribute.name in self._stated or attribute.ref_attr_name:
                how = "set twice" if attribute.name in self._stated else "without a value"
                raise ModelError(f"its attribute '{attribute.name}' is {how}", origin=origin)
            self._stated[attribute.name] = _plain(helper.get_attribute_value(attribute))

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._stated[name]

    def __iter__(self) -> Iterator[str]:
        self._read.update(self._stated)
        return iter(self._stated)

    def __len__(self) -> int:
        return len(self._stated)

    def unread(self, schema: defs.OpSchema, origin: Origin) -> list[CompileError]:
        """Complaints about attributes that are set, not ONNX's default, and unread."""
        return [
            UnsupportedError(
                f"its attribute '{name}' is {format_value(value)}, which is not supported",
                origin=origin,
                hint=_hint(schema, name),
            )
            for name, value in self._stated.items()
            if name not in self._read and not _is_default(schema, name, value)
        ]


def format_value(value: Any) -> str:
    """A value for display, shortened."""
    text = repr(value) if isinstance(value, int | float | str | list) else type(value).__name__
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_default(schema: defs.OpSchema, name: str, value: Any) -> bool:
    known = schema.attributes.get(name)
    return known is not None and bool(known.default_value.name) and value == _default(known)


def _default(known: Any) -> Any:
    return _plain(helper.get_attribute_value(known.default_value))


def _hint(schema: defs.OpSchema, name: str) -> str:
    known = schema.attributes.get(name)
    if known is None or not known.default_value.name:
        return "export the model without it"
    return f"export the model with {format_value(_default(known))} for it, or without it"


def _plain(value: Any) -> Any:
    """A value with its text decoded."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
