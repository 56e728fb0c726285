"""ONNX files that this tool wrote: the network in integers that their metadata describe.

A hash tells files that were changed. Metadata may say anything, with the hash that belongs to it:
what they describe is written again and compared with the file, and a difference is a warning.
"""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from snn_compile import memory, sealed
from snn_compile.errors import ModelError, Origin
from snn_compile.files.documents import (
    DamagedError,
    check_size,
    open_regular,
    parse_json,
    reading,
)
from snn_compile.files.typed import complaint
from snn_compile.passes import Finding
from snn_compile.plugins import BACKENDS, Backend, ImportedIntegers, StatesBorders
from snn_frontends.onnx import wire

FORMAT, NETWORK, HASH = "snn-compile.format", "snn-compile.network", "snn-compile.hash"
"""Metadata: version of the form, the network without its arrays as JSON, the hash of all."""
VERSION = "integers 1"
ZERO_POINT = 128
"""Of weights in uint8."""
TYPES = (
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.DOUBLE,
)
_HINT = "emit it again, or compile the model that it was made of"


class _Uniform(TypedDict):
    """A parameter that is the same everywhere."""

    shape: list[int]
    value: int | float


def says_so(path: Path) -> bool:
    """Whether a file may be one of this tool's, without parsing it."""
    try:
        with open_regular(path) as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as m:
            metadata = onnx.ModelProto.METADATA_PROPS_FIELD_NUMBER
            return any(FORMAT.encode() in one for one in wire.fields(m, metadata))
    except (OSError, ValueError):  # whoever reads it says so
        return False


def is_written_by_us(model: onnx.ModelProto) -> bool:
    """Whether a model's metadata say that this tool wrote it."""
    return FORMAT in metadata(model)


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The metadata of a model; without what is no text, which protobuf gives as bytes."""
    entries = [(entry.key, entry.value) for entry in model.metadata_props]
    return {key: value for key, value in entries if isinstance(key, str) and isinstance(value, str)}


def read(model: onnx.ModelProto, file: str) -> ImportedIntegers | None:
    """The network of a file with our metadata; None for any other.

    Raises:
        ModelError: it is of a newer version, damaged, or was changed.
        UsageError: it exceeds the memory budget.
    """
    said = metadata(model)
    if FORMAT not in said:
        return None
    if said[FORMAT] != VERSION:
        raise ModelError(
            f"its integers are in the form {said[FORMAT][:40]!r}; this version reads {VERSION!r}",
            code="onnx-form",
            origin=Origin(file),
            hint="install the version of snn-compile that wrote it",
        )
    with reading(
        file, ModelError, "onnx-form", "the description of its integers is damaged", _HINT
    ):
        document = parse_json(said.get(NETWORK, "").encode(), NETWORK)
        if not isinstance(document, dict):
            raise DamagedError("it is no description")
        arrays = _arrays(model, document)
        network, encoding, decodings = sealed.network_in(document, arrays, NETWORK)
        _require_unchanged(model, said, file)
        imported = ImportedIntegers(network, encoding, decodings, (), len(model.graph.node))
        if _is_written_of(imported, model):
            return imported
    return replace(imported, findings=(_not_compared(file),))


def _require_unchanged(model: onnx.ModelProto, said: Mapping[str, str], file: str) -> None:
    """Check that nobody has changed the operators, the weights or the description.

    Raises:
        ModelError: somebody has.
    """
    digest = hashlib.sha256(model.graph.SerializeToString(deterministic=True))
    digest.update(said[NETWORK].encode())
    if digest.hexdigest() != said.get(HASH):
        raise ModelError(
            "the file is not what snn-compile wrote: it was changed since",
            code="onnx-changed",
            origin=Origin(file),
            hint=_HINT,
        )


def _not_compared(file: str) -> Finding:
    """Of a file whose operators this version writes in another way."""
    return Finding(
        "its operators are not those that this version writes for the network of its metadata,"
        " which is taken; they were not compared",
        Origin(file),
        code="onnx-other-version",
        hint="emit it again with this version",
        warning=True,
    )


def _arrays(model: onnx.ModelProto, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters: constants of the graph, and those that are the same everywhere.

    Raises:
        DamagedError: they are of other types, or take too much memory.
    """
    constants = [one for one in model.graph.initializer if one.data_type in TYPES]
    if any(one.data_location == TensorProto.EXTERNAL for one in constants):
        raise DamagedError("its weights are in another file")
    stated = _uniform(document.get("uniform"))
    sizes = [*([*one.dims] for one in constants), *(shape for shape, _ in stated.values())]
    total = sum(_size(shape) for shape in sizes)
    check_size("its parameters", np.dtype(np.int64).itemsize * total, memory.budget())
    arrays = {name: np.full(shape, value) for name, (shape, value) in stated.items()}
    for one in constants:
        values = numpy_helper.to_array(one)
        if one.data_type != TensorProto.DOUBLE:
            values = values.astype(np.int64)
        arrays[one.name] = values - (ZERO_POINT if one.data_type == TensorProto.UINT8 else 0)
    return arrays


def _size(shape: list[int]) -> int:
    size = 1
    for n in shape:
        if n < 0:
            raise DamagedError(f"a parameter has the shape {shape}")
        size *= n
    return size


def _uniform(document: Any) -> dict[str, tuple[list[int], Any]]:
    """Shape and value of each such parameter."""
    if wrong := complaint(document, dict[str, _Uniform], "uniform"):
        raise DamagedError(wrong)
    return {name: (entry["shape"], entry["value"]) for name, entry in document.items()}


def _is_written_of(imported: ImportedIntegers, model: onnx.ModelProto) -> bool:
    """Whether a file of the network is this one."""
    backend: Backend = BACKENDS.load("onnx")
    if isinstance(backend, StatesBorders):
        backend = backend.with_borders(imported.encoding, imported.decodings)
    if backend.check(imported.network):
        return False
    with tempfile.TemporaryDirectory(prefix="snn-compile-onnx-") as folder:
        backend.emit(imported.network, Path(folder), options={})
        return any(_equal(path, model) for path in sorted(Path(folder).glob("*.onnx")))


def _equal(path: Path, model: onnx.ModelProto) -> bool:
    return bool(onnx.load_model_from_string(path.read_bytes()) == model)
