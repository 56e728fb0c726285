"""Type checks of values read from a file."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import (
    Any,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from snn_compile.files.documents import DamagedError

T = TypeVar("T")

_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "an object",
    type(None): "null",
}


def complaint(value: Any, expected: Any, where: str) -> str:
    """The type error of a value; empty without one.

    Args:
        value: a JSON value, or a value derived from one.
        expected: an annotation: plain types, unions, lists, tuples, mappings with names as keys,
            typed dictionaries (whose further keys may hold anything), other classes.
        where: the value's name, for the error.
    """
    if expected is Any or isinstance(expected, TypeVar):
        return ""  # a parameter of a class is looked at where the class is expected
    if isinstance(expected, NewType):
        return complaint(value, expected.__supertype__, where)
    origin, inside = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        complaints = [complaint(value, one, where) for one in inside]
        if "" in complaints:
            return ""
        # Of several errors, the deepest is the most specific.
        return max(complaints, key=len) if _is_container(value) else _other(value, expected, where)
    if is_typeddict(expected):
        return _of_entries(value, expected, where)
    if origin in (list, tuple):
        return _of_items(value, origin, inside, where)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            return _other(value, dict, where)
        items = value.items()
        return _first(complaint(item, inside[1], f"{where}.{key}") for key, item in items)
    kind = expected if origin is None else origin
    if kind is float:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if right and math.isfinite(value) else _other(value, kind, where)
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if right and is_dataclass(kind) and inside:
        return _of_parameters(value, kind, inside, where)
    return "" if right else _other(value, kind, where)


def instantiate(kind: type[T], given: Mapping[str, Any]) -> T:
    """An instance of a dataclass from entries of a file, type-checked by its fields.

    Raises:
        DamagedError: an entry has a wrong type.
        TypeError: an entry is missing.
    """
    owner: Any = kind
    expected = fields_of(owner)
    for name, value in given.items():
        if name not in expected:
            raise DamagedError(f"{kind.__name__} has no '{name}'")
        if wrong := complaint(value, expected[name], f"{kind.__name__}.{name}"):
            raise DamagedError(wrong)
    return kind(**given)


@cache
def fields_of(kind: Any) -> dict[str, Any]:
    """The annotations of a class, its ancestors' included."""
    return get_type_hints(kind)


@cache
def _required(kind: Any) -> frozenset[str]:
    """The keys that a typed dictionary must have.

    ``__required_keys__`` alone misses both marks where annotations are texts.
    """
    marked = get_type_hints(kind, include_extras=True).items()
    required: frozenset[str] = kind.__required_keys__
    required |= {key for key, hint in marked if get_origin(hint) is Required}
    return required - {key for key, hint in marked if get_origin(hint) is NotRequired}


def _of_entries(value: Any, expected: Any, where: str) -> str:
    if not isinstance(value, dict):
        return _other(value, dict, where)
    hints = fields_of(expected)
    missing = sorted(_required(expected) - set(value))
    if missing:
        return f"'{where}' lacks '{missing[0]}'"
    return _first(
        complaint(item, hints[key], f"{where}.{key}") for key, item in value.items() if key in hints
    )


def _of_items(value: Any, origin: type, inside: tuple[Any, ...], where: str) -> str:
    if not isinstance(value, list | tuple) or not isinstance(value, origin):
        return _other(value, origin, where)
    kinds = [inside[0]] * len(value) if origin is list or inside[-1] is ... else list(inside)
    if len(kinds) != len(value):
        return f"'{where}' has {len(value)} entries, not {len(kinds)}"
    return _first(complaint(item, kinds[k], f"{where}[{k}]") for k, item in enumerate(value))


def _of_parameters(value: Any, kind: Any, inside: tuple[Any, ...], where: str) -> str:
    """Of the fields of a generic dataclass, those whose type is one of its parameters."""
    known = dict(zip(kind.__parameters__, inside, strict=True))
    stated = {name: hint for name, hint in fields_of(kind).items() if hint in known}
    return _first(
        complaint(getattr(value, name), known[hint], f"{where}.{name}")
        for name, hint in stated.items()
    )


def _first(complaints: Any) -> str:
    return next((found for found in complaints if found), "")


def _is_container(value: Any) -> bool:
    return isinstance(value, list | tuple | dict)


def _other(value: Any, expected: Any, where: str) -> str:
    kinds = get_args(expected) or (expected,)
    expected_kinds = " or ".join(
        _NAMES.get(get_origin(k) or k, getattr(k, "__name__", "")) for k in kinds
    )
    found = _NAMES.get(type(value), f"of type {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        found = "not finite"
    return f"'{where}' is {found}, not {expected_kinds}"
