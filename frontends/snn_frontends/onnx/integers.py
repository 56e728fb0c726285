"""ONNX files that this tool wrote: the network in integers that their metadata describe.

Metadata may say anything. What they describe is therefore written again and compared with the file:
a graph, or a description, that was changed after that is noticed.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from snn_compile import memory, sealed
from snn_compile.errors import ModelError, Origin
from snn_compile.files.documents import (
    DAMAGE,
    DamagedError,
    check_size,
    describe_error,
    open_regular,
    parse_json,
    reading,
)
from snn_compile.files.typed import complaint
from snn_compile.plugins import BACKENDS, Backend, ImportedIntegers, StatesBorders

FORMAT, NETWORK = "snn-compile.format", "snn-compile.network"
"""Keys of the metadata: the version of the form, and the network without its arrays."""
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
            return m.find(FORMAT.encode()) >= 0
    except (OSError, ValueError):  # missing or empty: whoever reads it says so
        return False


def is_written_by_us(model: onnx.ModelProto) -> bool:
    """Whether a model's metadata say that this tool wrote it."""
    return FORMAT in metadata(model)


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The metadata of a model."""
    return {entry.key: entry.value for entry in model.metadata_props}


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
        _, named = sealed.describe(network, encoding, decodings)
    imported = ImportedIntegers(network, encoding, decodings, (), len(model.graph.node))
    unchanged = document.get("hash") == sealed.hash_of(named)
    if not unchanged or not _is_written_of(imported, model):
        raise ModelError(
            "the file is not what its metadata describe: it was changed after it was written",
            code="onnx-changed",
            origin=Origin(file),
            hint=_HINT,
        )
    return imported


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
    try:
        if backend.check(imported.network):
            return False
        with tempfile.TemporaryDirectory(prefix="snn-compile-onnx-") as folder:
            backend.emit(imported.network, Path(folder), options={})
            return any(_equal(path, model) for path in sorted(Path(folder).glob("*.onnx")))
    except DAMAGE as error:
        raise DamagedError(describe_error(error)) from error


def _equal(path: Path, model: onnx.ModelProto) -> bool:
    return bool(onnx.load_model_from_string(path.read_bytes()) == model)
