"""Weights of a model in other files: within its own folder, and only as many as it needs.

All locations are checked against the folder and the memory budget before the first byte is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx
from onnx import TensorProto

from snn_compile.errors import CompileError, ModelError, Origin, raise_all
from snn_compile.files.documents import (
    DamagedError,
    TooLargeError,
    check_size,
    describe_error,
    inside,
    open_regular,
    too_large,
)
from snn_compile.memory import format_size
from snn_frontends.onnx.in_place import SMALL, THIS_FILE
from snn_frontends.onnx.sizes import n_bytes

KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
_COUNT = re.compile(r"\d{1,19}", re.ASCII)
_HINT = (
    "external data must be in the model's folder: move the file there, or save the model with its"
    " weights inside"
)


@dataclass(frozen=True)
class Piece:
    """Location of the data of one tensor.

    Attributes:
        tensor: the tensor.
        path: the file.
        offset: offset of the first byte.
        length: length in bytes.
    """

    tensor: TensorProto
    path: Path
    offset: int
    length: int


def load(model: onnx.ModelProto, path: Path, before: int, *, in_place: bool = False) -> None:
    """Load the external data of a model into its tensors.

    Args:
        model: the model, as it was read.
        path: path of its file.
        before: size of this file in bytes.
        in_place: whether large initializers are only checked, and read when they are needed.

    Raises:
        ModelError: a tensor's data lie elsewhere, are missing, or do not fit it; all complaints at
            once.
    """
    pieces, errors = list[Piece](), list[CompileError]()
    for tensor in tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        try:
            pieces.append(_piece(tensor, path))
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a link to itself
            errors.append(_refused(tensor, path, error))
    raise_all(errors)
    if not pieces:
        return
    largest = max(pieces, key=lambda piece: piece.length)
    name, size = largest.tensor.name[:200], format_size(largest.length)
    try:
        check_size(
            f"the model with its external data ('{name}' alone has {size})",
            before + sum(piece.length for piece in pieces if piece.path != path),
        )
    except TooLargeError as error:
        raise too_large(path, error, ModelError) from error
    initializers = list(model.graph.initializer) if in_place else []
    later = {id(tensor) for tensor in initializers if tensor.data_type == TensorProto.FLOAT}
    for piece in pieces:
        if id(piece.tensor) in later and piece.length >= SMALL:
            continue
        try:
            _fill(piece)
        except (OSError, ValueError) as error:
            errors.append(_refused(piece.tensor, path, error))
    raise_all(errors)


def files(model: onnx.ModelProto, path: Path) -> list[Path]:
    """The files that external data lie in, of a model that could be loaded."""
    found = dict[Path, None]()
    for tensor in tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            metadata = {entry.key: entry.value for entry in tensor.external_data}
            found[path.parent / _location(metadata.get("location", ""))] = None
    return list(found)


def tensors(message: Any) -> Iterator[TensorProto]:
    """Every tensor in a message: of graphs, of the graphs in their attributes, of functions."""
    waiting = [message]
    while waiting:
        found = waiting.pop()
        if isinstance(found, TensorProto):
            yield found
            continue
        for field, value in found.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def _piece(tensor: TensorProto, model: Path) -> Piece:
    """Location of a tensor's data, in a file of sufficient size.

    Raises:
        OSError: the file is missing.
        DamagedError: the location is invalid.
    """
    metadata = {entry.key: entry.value for entry in tensor.external_data}
    if len(metadata) < len(tensor.external_data):
        raise DamagedError("a key occurs twice")
    if unknown := sorted(metadata.keys() - KEYS):
        raise DamagedError(f"'{unknown[0][:80]}' is no part of a location")
    location = metadata.get("location", "")
    if location == THIS_FILE and "checksum" in metadata:  # as in_place.py states it
        path = model
    else:
        path = inside(model.parent, _location(location))
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
    offset = _count(metadata, "offset", 0)
    length = _count(metadata, "length", max(size - offset, 0))
    if offset + length > size:
        raise DamagedError(f"bytes {offset:,} to {offset + length:,} of a file of {size:,}")
    wanted = n_bytes(tensor)
    if length != wanted:
        shape = list(tensor.dims)[:16]
        raise DamagedError(f"{length:,} bytes for a tensor of shape {shape} with {wanted:,}")
    return Piece(tensor, path, offset, length)


def _location(text: str) -> str:
    """A relative path below the model's folder.

    Raises:
        DamagedError: it is not one.
    """
    if not text or not text.isprintable():
        raise DamagedError("not a file name")
    for path in (PurePosixPath(text), PureWindowsPath(text)):
        if path.anchor or ".." in path.parts:
            raise DamagedError("outside the folder of the model")
    return text


def _count(metadata: dict[str, str], key: str, otherwise: int) -> int:
    text = metadata.get(key)
    if text is None:
        return otherwise
    if not _COUNT.fullmatch(text):
        raise DamagedError(f"{key} '{text[:24]}' is not a number of bytes")
    return int(text)


def _fill(piece: Piece) -> None:
    """Read the data of a tensor into it."""
    with open_regular(piece.path) as stream:
        stream.seek(piece.offset)
        data = stream.read(piece.length)
    if len(data) < piece.length:
        raise DamagedError("the file was truncated while it was read")
    tensor = piece.tensor
    for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.raw_data = data
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _refused(tensor: TensorProto, path: Path, error: Exception) -> ModelError:
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    return ModelError(
        f"the data of tensor '{tensor.name[:200]}' cannot be taken from '{location[:200]}':"
        f" {describe_error(error)}",
        code="external-data",
        origin=Origin(str(path)),
        hint=_HINT,
    )
