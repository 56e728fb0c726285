"""A stable text form of every stage: for golden tests, ``--dump-after`` and curious people.

One line a node: its id, its operator, its shape, what it reads and its parameters. Arrays appear as
their shape, type and a short hash of their content, floats rounded to six digits first, so that the
text changes exactly when the network does.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import fields
from typing import Any

import numpy as np

from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Node

_STRUCTURE = {"id", "inputs", "shape", "origin"}


def to_text(stage: Any) -> str:
    """The text of any stage: everything that has a ``graph``, or a ``program`` that has one."""
    program = getattr(stage, "program", stage)
    lines = [type(stage).__name__]
    if window := getattr(program, "window", None):
        lines[0] += f" {window.coding} {window.n_steps}"
    lines += [_line(node) for node in program.graph]
    return "\n".join(lines) + "\n"


def _line(node: Node) -> str:
    shape = "x".join(str(n) for n in node.shape)
    sources = f" <- {', '.join(node.inputs)}" if node.inputs else ""
    parameters = [
        f"{field.name}={text}"
        for field in fields(node)
        if field.name not in _STRUCTURE and (text := _value(getattr(node, field.name))) is not None
    ]
    return f"  {node.id}: {type(node).__name__} {shape}{sources}" + "".join(
        f" {parameter}" for parameter in parameters
    )


def _value(value: Any) -> str | None:
    """One parameter; None where it says nothing."""
    match value:
        case None | False:
            return None
        case QTensor():
            return f"{value.format}{_array(value.values)}"
        case QFormat():
            return str(value)
        case np.ndarray():
            return f"{value.dtype}{_array(value)}"
        case enum.Enum():
            return str(value.value)
        case Geometry():
            return (
                f"s{value.stride[0]},{value.stride[1]}"
                f"/p{','.join(str(p) for p in value.padding)}"
                f"/d{value.dilation[0]},{value.dilation[1]}/g{value.groups}"
            )
        case float():
            return f"{value:.6g}"
        case _:
            return str(value).replace(" ", "")


def _array(values: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> str:
    shape = "x".join(str(n) for n in values.shape)
    if values.size <= 4:
        items = (f"{v:.6g}" if values.dtype.kind == "f" else str(v) for v in values.ravel())
        return f"[{','.join(items)}]"
    if values.dtype.kind == "f":
        text = " ".join(f"{v:.6g}" for v in values.ravel())
        content = text.encode()
    else:
        content = np.ascontiguousarray(values.astype("<i8")).tobytes()
    return f"[{shape} #{hashlib.sha256(content).hexdigest()[:8]}]"
