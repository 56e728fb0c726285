"""A network as plain JSON and integer arrays, self-contained without this package.

``docs/reference/conformance.md`` is the specification for implementers. The form is versioned and
independent of the class names in ``ir/``; ``decode`` inverts ``encode``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import Origin
from snn_compile.files.documents import DamagedError
from snn_compile.files.typed import complaint, instantiate
from snn_compile.ir.fixedpoint import Overflow, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph, Node
from snn_compile.ir.models import registry
from snn_compile.ir.quantized import (
    ConvSynapses,
    DenseSynapses,
    Input,
    Population,
    QuantizedGraph,
    QuantizedNode,
    SparseSynapses,
    Synapses,
)
from snn_compile.ir.spiking import InputCoding, Reset, Window

FORMAT, VERSION = "snn-compile network", 1
Arrays = dict[str, npt.NDArray[np.generic]]

_OF_A_NODE = {field.name for field in fields(Node)}
_PLAIN = (bool, int, type(None))


def encode(program: QuantizedGraph) -> tuple[dict[str, Any], Arrays]:
    """A network as JSON values, and the arrays that they name.

    Raises:
        ValueError: a synapse group feeds several populations: the file lists it under one.
    """
    arrays: Arrays = {}
    entries = [
        {
            "name": source.id,
            "shape": list(source.shape),
            "low": source.low,
            "high": source.high,
            "coding": source.coding.value,
            "seed": source.seed,
        }
        for source in program.inputs
    ]
    for node in program.graph:
        if isinstance(node, Synapses) and len(program.graph.consumers(node.id)) != 1:
            raise ValueError(f"'{node.id}' does not feed exactly one population")
    description = {
        "format": FORMAT,
        "version": VERSION,
        "coding": program.window.coding,
        "n_steps": program.window.n_steps,
        "lag": program.window.lag,
        **({"input": entries[0]} if len(entries) == 1 else {"inputs": entries}),
        "populations": [_population(program, node, arrays) for node in program.populations],
    }
    return description, arrays


def decode(description: Mapping[str, Any], arrays: Mapping[str, Any]) -> QuantizedGraph:
    """Inverse of ``encode``.

    Raises:
        KeyError: an entry or an array is missing.
        ValueError: the network is invalid.
    """
    if (description["format"], description["version"]) != (FORMAT, VERSION):
        raise ValueError(f"not a {FORMAT} of version {VERSION}")
    entries = description.get("inputs") or [description["input"]]
    nodes: list[QuantizedNode] = [_input(entry) for entry in entries]
    for population in description["populations"]:
        nodes += _nodes(population, arrays)
    window = {"coding": description["coding"], "n_steps": description["n_steps"]}
    return QuantizedGraph(Graph(nodes), instantiate(Window, window))


def _input(document: Mapping[str, Any]) -> Input:
    low, high = document["low"], document["high"]
    if wrong := complaint([low, high], list[int], "low and high"):
        raise DamagedError(wrong)
    parameters = {
        "id": document["name"],
        "inputs": (),
        "shape": tuple(document["shape"]),
        "origin": Origin(FORMAT),
        "format": QFormat.holding(low, high),
        "low": low,
        "high": high,
        "coding": InputCoding(document["coding"]),
        "seed": document["seed"],
    }
    return instantiate(Input, parameters)


def _population(program: QuantizedGraph, node: Population, arrays: Arrays) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": node.id,
        "kind": node.conformance,
        "shape": list(node.shape),
        "depth": program.depth[node.id],
    }
    for field in fields(node):
        if field.name not in _OF_A_NODE:
            document.update(_parameter(node.id, field.name, getattr(node, field.name), arrays))
    document["synapses"] = [_synapses(group, arrays) for group in program.synapses_into(node)]
    return document


def _parameter(owner: str, name: str, value: Any, arrays: Arrays) -> dict[str, Any]:
    match value:
        case QTensor():
            return {name: _kept(f"{owner}.{name}", value.values, arrays)}
        case QFormat():  # of a state, which is signed, or of an unsigned payload
            return {f"{name}_bits": value.bits}
        case Overflow() | Reset():
            return {name: value.value}
        case bool() | int() | None:
            return {name: value}
    raise TypeError(f"'{owner}' has a {type(value).__name__} for its {name}")


def _synapses(node: Synapses, arrays: Arrays) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": node.id,
        "source": node.inputs[0],
        "exponent": node.exponent,
        "weight_bits": node.weight.format.bits,
        "weight": _kept(f"{node.id}.weight", node.weight.values, arrays),
    }
    match node:
        case ConvSynapses():
            form = node.geometry
            geometry = {
                "stride": list(form.stride),
                "padding": list(form.padding),
                "dilation": list(form.dilation),
                "groups": form.groups,
            }
            return {"kind": "conv", **document, **geometry}
        case DenseSynapses():
            return {"kind": "dense", **document}
    wiring = {
        "indptr": _kept(f"{node.id}.indptr", node.indptr, arrays),
        "indices": _kept(f"{node.id}.indices", node.indices, arrays),
    }
    return {"kind": "sparse", **document, **wiring}


def _kept(key: str, values: npt.NDArray[np.generic], arrays: Arrays) -> str:
    """Store integers among the arrays, as int32, and return their name."""
    small = values.astype("<i4")
    if not np.array_equal(small, values):
        raise ValueError(f"'{key}' does not fit 32 bits")
    arrays[key] = small
    return key


def _nodes(document: Mapping[str, Any], arrays: Mapping[str, Any]) -> list[QuantizedNode]:
    """A population and the synapse groups that feed it, these first."""
    shape = tuple(document["shape"])
    groups = [_group(group, shape, arrays) for group in document["synapses"]]
    kind: Any = registry.of_conformance_file(document["kind"])
    parameters: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in _OF_A_NODE:
            continue
        if f"{field.name}_bits" in document:
            bits = document[f"{field.name}_bits"]
            parameters[field.name] = instantiate(
                QFormat, {"bits": bits, "signed": field.name == "state"}
            )
        elif field.name == "overflow":
            parameters[field.name] = Overflow(document["overflow"])
        elif field.name == "reset":
            parameters[field.name] = Reset(document["reset"])
        else:
            value = document[field.name]
            parameters[field.name] = (
                value if isinstance(value, _PLAIN) else QTensor.of(_array(arrays, value))
            )
    place = {
        "id": document["name"],
        "inputs": tuple(group.id for group in groups),
        "shape": shape,
        "origin": Origin(FORMAT),
    }
    node: QuantizedNode = instantiate(kind, place | parameters)
    return [*groups, node]


def _group(
    document: Mapping[str, Any], shape: tuple[int, ...], arrays: Mapping[str, Any]
) -> QuantizedNode:
    values = _array(arrays, document["weight"])
    parameters: dict[str, Any] = {
        "id": document["name"],
        "inputs": (document["source"],),
        "shape": shape,
        "origin": Origin(FORMAT),
        "weight": QTensor(values, instantiate(QFormat, {"bits": document["weight_bits"]})),
        "exponent": document["exponent"],
    }
    match document["kind"]:
        case "conv":
            top, left, bottom, right = document["padding"]
            (sy, sx), (dy, dx) = document["stride"], document["dilation"]
            form = {
                "stride": (sy, sx),
                "padding": (top, left, bottom, right),
                "dilation": (dy, dx),
                "groups": document["groups"],
            }
            return instantiate(ConvSynapses, parameters | {"geometry": instantiate(Geometry, form)})
        case "dense":
            return instantiate(DenseSynapses, parameters)
        case "sparse":
            indptr, indices = (_array(arrays, document[key]) for key in ("indptr", "indices"))
            return instantiate(SparseSynapses, parameters | {"indptr": indptr, "indices": indices})
    raise KeyError(document["kind"])


def _array(arrays: Mapping[str, Any], key: str) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = arrays[key].astype(np.int64)
    return values
