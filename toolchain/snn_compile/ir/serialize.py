"""Serialization of programs as JSON plus integer arrays, without pickling.

The format follows from the dataclasses of ``ir/quantized.py`` and ``ir/models``: one object per
node, its class under ``"$type"``. Arrays are referred to by name and hashed, so that a seal can
name the one that changed.
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

from snn_compile.errors import Origin
from snn_compile.files.documents import DamagedError
from snn_compile.files.typed import complaint, instantiate
from snn_compile.ir import quantized
from snn_compile.ir.fixedpoint import Overflow, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, Node
from snn_compile.ir.models import registry
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding, Reset, Window

Arrays = dict[str, npt.NDArray[np.generic]]

_NODES = (
    quantized.Input,
    quantized.ConvSynapses,
    quantized.DenseSynapses,
    quantized.SparseSynapses,
)
_VALUES = (QFormat, Geometry, Origin, Window)
_ENUMS = (Overflow, Reset, InputCoding)
CLASSES: dict[str, Any] = {c.__name__: c for c in (*_NODES, *_VALUES, *_ENUMS)}


def dump_program(program: QuantizedGraph) -> tuple[dict[str, Any], Arrays]:
    """A program as JSON values and the arrays that they name."""
    arrays: Arrays = {}
    nodes = [_PROGRAMS.encode(node, arrays, node.id) for node in program.graph]
    return {"window": _PROGRAMS.encode(program.window, arrays, "window"), "nodes": nodes}, arrays


def load_program(description: Mapping[str, Any], arrays: Mapping[str, Any]) -> QuantizedGraph:
    """Restore a program from the output of ``dump_program``.

    Raises:
        KeyError: an array or a class is missing.
        TypeError: a field is missing.
        ValueError: it is not a valid program.
    """
    nodes = [_PROGRAMS.decode(node, arrays) for node in description["nodes"]]
    window = _PROGRAMS.decode(description["window"], arrays)
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


class Codec:
    """Values of known classes as JSON and the arrays that it names, and back.

    Args:
        classes: dataclasses and enumerations by the name that stands under ``"$type"``. No other
            class is written, and none is made of what is read, but for neuron models: the registry
            knows those.
        models: prefix of the names of neuron models.
    """

    def __init__(self, classes: Mapping[str, Any], models: str = "") -> None:
        self._classes = classes
        self._names = {kind: name for name, kind in classes.items()}
        self._models = models

    def encode(self, value: Any, arrays: Arrays, path: str) -> Any:
        """A value as JSON; its arrays are added under names that begin with the path.

        Raises:
            KeyError: it contains a value of an unknown class.
        """

        def inner(item: Any, name: object) -> Any:
            return self.encode(item, arrays, f"{path}:{name}")

        match value:
            case QTensor():
                arrays[path] = value.values
                inside = self.encode(value.format, arrays, path)
                return {"$type": "QTensor", "array": path, "format": inside}
            case np.ndarray():
                arrays[path] = value
                return {"$type": "array", "array": path}
            case np.generic():
                return value.item()
            case enum.Enum():
                return {"$type": self._names[type(value)], "value": value.value}
            case Graph():
                return {"$type": "Graph", "nodes": [inner(node, node.id) for node in value]}
            case slice():
                return {"$type": "slice", "parts": [value.start, value.stop, value.step]}
            case tuple():
                return [inner(item, k) for k, item in enumerate(value)]
            case Mapping():
                entries = {key: inner(item, key) for key, item in value.items()}
                return {"$type": "mapping", "entries": entries}
        if is_dataclass(value):
            if isinstance(value, Origin):  # the location of the file is private
                value = replace(value, file=Path(value.file).name)
            items = {one.name: inner(getattr(value, one.name), one.name) for one in fields(value)}
            return {"$type": self.name_of(type(value)), **items}
        if value is None or isinstance(value, str | int | float):
            return value
        raise KeyError(type(value).__name__)

    def decode(self, value: Any, arrays: Mapping[str, Any]) -> Any:
        """The inverse of ``encode``; errors as of ``load_program``."""
        if isinstance(value, list):
            return tuple(self.decode(item, arrays) for item in value)
        if not isinstance(value, dict):
            return value
        items = {key: item for key, item in value.items() if key != "$type"}
        match value["$type"]:
            case "array":
                return arrays[items["array"]]
            case "QTensor":
                format = self.decode(items["format"], arrays)
                if wrong := complaint(format, QFormat, "QTensor.format"):
                    raise DamagedError(wrong)
                return QTensor(arrays[items["array"]], format)
            case "Graph":
                nodes = self.decode(items["nodes"], arrays)
                if not all(isinstance(node, Node) for node in nodes):
                    raise DamagedError("a graph of what is no node")
                return Graph(nodes)
            case "slice":
                return slice(*items["parts"])
            case "mapping":
                return {key: self.decode(item, arrays) for key, item in items["entries"].items()}
        kind = self.class_of(value["$type"])
        if issubclass(kind, enum.Enum):
            return kind(items["value"])
        return instantiate(kind, {key: self.decode(item, arrays) for key, item in items.items()})

    def name_of(self, kind: type) -> str:
        """The ``"$type"`` of a class; a KeyError if it is unknown."""
        if issubclass(kind, quantized.Population):
            return f"{self._models}{kind.__name__}"
        return self._names[kind]

    def class_of(self, name: Any) -> Any:
        """The inverse of ``name_of``; a KeyError for an unknown name."""
        if name in self._classes or not str(name).startswith(self._models):
            return self._classes[name]
        return registry.model_of(str(name).removeprefix(self._models))


_PROGRAMS = Codec(CLASSES)
