"""Programs as plain JSON plus integer arrays, and back, without pickling anything.

The form follows from the dataclasses of ``ir/quantized.py`` and ``ir/models``: one object a node,
its class under ``"$type"``. Arrays are referred to by name and hashed, so that a seal can name the
one that changed.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.documents import DamagedError
from snn_compile.errors import Origin
from snn_compile.ir import quantized
from snn_compile.ir.fixedpoint import Overflow, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph
from snn_compile.ir.models import registry
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding, Reset, Window
from snn_compile.typed import complaint, made

Arrays = dict[str, npt.NDArray[np.generic]]

_NODES = (
    quantized.Input,
    quantized.ConvSynapses,
    quantized.DenseSynapses,
    quantized.SparseSynapses,
)
_VALUES = (QFormat, Geometry, Origin, Window)
_ENUMS = (Overflow, Reset, InputCoding)
_CLASSES: dict[str, Any] = {c.__name__: c for c in (*_NODES, *_VALUES, *_ENUMS)}


def dump_program(program: QuantizedGraph) -> tuple[dict[str, Any], Arrays]:
    """A program as JSON values and the arrays that they name."""
    arrays: Arrays = {}
    nodes = [_encode(node, arrays, node.id) for node in program.graph]
    return {"window": _encode(program.window, arrays, "window"), "nodes": nodes}, arrays


def load_program(description: Mapping[str, Any], arrays: Mapping[str, Any]) -> QuantizedGraph:
    """The program that ``dump_program`` described.

    Raises:
        KeyError: an array or a class is missing.
        TypeError: a field is missing.
        ValueError: what is described is not a valid program.
    """
    nodes = [_decode(node, arrays) for node in description["nodes"]]
    window = _decode(description["window"], arrays)
    kinds = (*_NODES, quantized.Population)
    if not all(isinstance(node, kinds) for node in nodes) or not isinstance(window, Window):
        raise DamagedError("it describes what is no node, or no window")
    return QuantizedGraph(Graph(nodes), window)


def array_hashes(arrays: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, str]:
    """SHA-256 of each array: of its type, its shape and its bytes."""
    return {name: _hash(array) for name, array in sorted(arrays.items())}


def _hash(array: npt.NDArray[np.generic]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _encode(value: Any, arrays: Arrays, path: str) -> Any:
    if isinstance(value, QTensor):
        arrays[path] = value.values
        return {"$type": "QTensor", "array": path, "format": _encode(value.format, arrays, path)}
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"$type": "array", "array": path}
    if isinstance(value, enum.Enum):
        return {"$type": type(value).__name__, "value": value.value}
    if isinstance(value, Origin):  # where the file lay is nobody's business, and no part of it
        value = replace(value, file=Path(value.file).name)
    if is_dataclass(value):
        items = {
            field.name: _encode(getattr(value, field.name), arrays, f"{path}:{field.name}")
            for field in fields(value)
        }
        return {"$type": type(value).__name__, **items}
    if isinstance(value, tuple):
        return [_encode(item, arrays, f"{path}:{k}") for k, item in enumerate(value)]
    return value


def _decode(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    items = {key: item for key, item in value.items() if key != "$type"}
    if value["$type"] == "array":
        return arrays[items["array"]]
    if value["$type"] == "QTensor":
        format = _decode(items["format"], arrays)
        if wrong := complaint(format, QFormat, "QTensor.format"):
            raise DamagedError(wrong)
        return QTensor(arrays[items["array"]], format)
    kind: Any = _CLASSES.get(value["$type"]) or registry.named(value["$type"])
    if issubclass(kind, enum.Enum):
        return kind(items["value"])
    return made(kind, {key: _decode(item, arrays) for key, item in items.items()})
