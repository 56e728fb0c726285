"""The text of every stage, at two levels of detail; one walk over the nodes prints both.

The summary is for people, golden tests and ``--dump-after``: arrays appear as their shape, type and
a short hash of their content, floats rounded to six digits first, so that the text changes exactly
when the network does. The exact text keeps every bit and reads back (``ir/reading.py``); its
grammar is in ``docs/reference/text.md``.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import Field, fields
from typing import Any, Protocol

import numpy as np

from snn_compile.ir import spelling
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, Node
from snn_compile.ir.serialize import Arrays

VERSION = 1
"""Of the exact text; a change that older versions cannot read raises it."""
MAGIC = "snn-text"
STRUCTURE = ("id", "inputs", "shape")
"""The fields that the form of a line says."""
PLAIN_ID = re.compile(r"[\w./+$@|~-]+", re.ASCII)


class _Detail(Protocol):
    """What one level of detail makes of the parts of a text."""

    def head(self, stage: Any) -> str:
        """The first line."""
        ...

    def name(self, node_id: str) -> str:
        """An id."""
        ...

    def shape(self, shape: tuple[int, ...]) -> str:
        """A shape."""
        ...

    def value(self, field: Field[Any], value: Any) -> str | None:
        """A parameter; None where it says nothing."""
        ...


def to_text(stage: Any) -> str:
    """The summary of any stage: everything with a ``graph``, or a ``program`` that has one."""
    return _text(stage, _Summary())


def dump_text(stage: Any, kept: Arrays | None = None) -> str:
    """The exact text of any stage, which ``load_text`` reads.

    Args:
        stage: as of ``to_text``.
        kept: takes the large arrays, which the text then names by their hash; None: they all stand
            in the text.

    Raises:
        TypeError: a value has no spelling.
    """
    return _text(getattr(stage, "program", stage), _Exact(kept))


def _text(stage: Any, detail: _Detail) -> str:
    graph = getattr(stage, "program", stage).graph
    return "\n".join([detail.head(stage), *(_line(node, detail) for node in graph)]) + "\n"


def _line(node: Node, detail: _Detail) -> str:
    sources = f" <- {', '.join(detail.name(s) for s in node.inputs)}" if node.inputs else ""
    kind, shape = type(node).__name__, detail.shape(node.shape)
    own = [field for field in fields(node) if field.name not in STRUCTURE]
    own.sort(key=lambda field: field.name == "origin")  # last, for readability
    parameters = _parameters(node, own, detail)
    return f"  {detail.name(node.id)}: {kind} {shape}{sources}{''.join(parameters)}"


def _parameters(owner: Any, shown: Iterable[Field[Any]], detail: _Detail) -> Iterator[str]:
    for field in shown:
        if (text := detail.value(field, getattr(owner, field.name))) is not None:
            yield f" {field.name}={text}"


class _Exact:
    """Everything, so that the text reads back."""

    def __init__(self, kept: Arrays | None) -> None:
        self._kept = kept

    def head(self, stage: Any) -> str:
        shown = (f for f in fields(stage) if not isinstance(getattr(stage, f.name), Graph))
        return f"{MAGIC} {VERSION} {type(stage).__name__}{''.join(_parameters(stage, shown, self))}"

    def name(self, node_id: str) -> str:
        return node_id if PLAIN_ID.fullmatch(node_id) else spelling.quoted(node_id)

    def shape(self, shape: tuple[int, ...]) -> str:
        return spelling.times(shape) or "-"

    def value(self, field: Field[Any], value: Any) -> str | None:
        """Left out where nothing is the default; other defaults may change and are stated."""
        if value is field.default and (value is None or value is False):
            return None
        return spelling.spell(value, self._kept)


class _Summary:
    """What a person wants to see of a network."""

    def head(self, stage: Any) -> str:
        window = getattr(getattr(stage, "program", stage), "window", None)
        named = type(stage).__name__
        return f"{named} {window.coding} {window.n_steps}" if window else named

    def name(self, node_id: str) -> str:
        return node_id

    def shape(self, shape: tuple[int, ...]) -> str:
        return spelling.times(shape)

    def value(self, field: Field[Any], value: Any) -> str | None:
        match value:
            case None | False:
                return None
            case _ if field.name == "origin":
                return None
            case QTensor():
                return f"{value.format}{_digest(value.values)}"
            case np.ndarray():
                return f"{value.dtype}{_digest(value)}"
            case enum.Enum() | QFormat() | Geometry():
                return spelling.spell(value)
            case float():
                return f"{value:.6g}"
            case _:
                return str(value).replace(" ", "")


def _digest(values: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> str:
    """An array in short: all of it, or its shape and a hash of what is shown of its content."""
    if values.size <= 4:
        items = (f"{v:.6g}" if values.dtype.kind == "f" else str(v) for v in values.ravel())
        return f"[{','.join(items)}]"
    if values.dtype.kind == "f":
        content = " ".join(f"{v:.6g}" for v in values.ravel()).encode()
    else:
        content = np.ascontiguousarray(values.astype("<i8")).tobytes()
    return f"[{spelling.times(values.shape)} #{hashlib.sha256(content).hexdigest()[:8]}]"
