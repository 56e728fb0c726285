"""Large weights that stay in the file until they are needed.

A parsed message holds a copy of every tensor, and each access to it makes another. The raw data of
large initializers are therefore left out before parsing, and stated as external data of the file
itself: at their place, read once.
"""

from __future__ import annotations

import os
from math import prod
from mmap import PROT_READ, mmap
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from snn_compile.files.documents import (
    DamagedError,
    check_size,
    describe_error,
    open_regular,
)
from snn_frontends.onnx import wire

THIS_FILE = "../"
"""Location that stands for the file itself; files that state it are refused otherwise."""
SMALL = 1 << 20
"""Size in bytes below which a tensor is parsed."""
MIN_SIZE = 4 * SMALL
"""That of the files below which all are."""


def parsed(path: Path) -> onnx.ModelProto:
    """A model whose large initializers are external data.

    Raises:
        OSError: the file cannot be read.
        DamagedError: it is no message, or too large.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        check_size(path.name, size)
        with mmap(stream.fileno(), size, prot=PROT_READ) as content:
            wire.check(content, onnx.ModelProto.DESCRIPTOR)
            rest = _without_weights(content, version(stream))
    model = onnx.ModelProto()
    model.ParseFromString(rest)
    return model


def version(stream: IO[bytes]) -> str:
    """What differs after a file was written again."""
    return str(os.fstat(stream.fileno()).st_mtime_ns)


def read(tensor: TensorProto, path: Path) -> npt.NDArray[np.float32]:
    """A tensor of floats among external data, in its shape.

    Args:
        tensor: the tensor; its place was checked when the model was loaded.
        path: path of the model.

    Raises:
        DamagedError: the file has changed since.
    """
    place = {entry.key: entry.value for entry in tensor.external_data}
    own = place["location"] == THIS_FILE
    try:
        with open_regular(path if own else path.parent / place["location"]) as stream:
            changed = own and place["checksum"] != version(stream)
            values = np.fromfile(
                stream, "<f4", prod(tensor.dims), offset=int(place.get("offset", 0))
            )
    except OSError as error:
        raise DamagedError(describe_error(error)) from error
    if changed or values.size < prod(tensor.dims):
        raise DamagedError("the file was changed while it was read")
    return values.reshape(tensor.dims).astype(np.float32, copy=False)


def _without_weights(content: wire.Content, stamp: str) -> bytes:
    """The bytes of a model, with places in the file instead of large initializers."""
    graph = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
    return b"".join(
        content[field.begin : field.end]
        if field.number != graph or field.start is None
        else wire.field(graph, _graph(content, field.start, field.end, stamp))
        for field in wire.outline(content, 0, len(content))
    )


def _graph(content: wire.Content, start: int, end: int, stamp: str) -> bytes:
    number = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
    parts = []
    for field in wire.outline(content, start, end):
        moved = None
        if field.number == number and field.start is not None and field.end - field.start > SMALL:
            moved = _tensor(content, field.start, field.end, stamp)
        whole = content[field.begin : field.end] if moved is None else wire.field(number, moved)
        parts.append(whole)
    return b"".join(parts)


def _tensor(content: wire.Content, start: int, end: int, stamp: str) -> bytes | None:
    """A tensor of floats with the place of its raw data.

    None if they are small, or do not fit it: then it is parsed, and judged, as it is.
    """
    number = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
    fields = list(wire.outline(content, start, end))
    raw = [field for field in fields if field.number == number and field.start is not None]
    if len(raw) != 1 or raw[0].end - (raw[0].start or 0) < SMALL:
        return None
    (data,) = raw
    length = data.end - (data.start or 0)
    rest = b"".join(content[field.begin : field.end] for field in fields if field is not data)
    tensor = TensorProto.FromString(rest)
    stated_otherwise = tensor.external_data or tensor.HasField("data_location")
    fits = min(tensor.dims, default=1) > 0 and 4 * prod(tensor.dims) == length
    if stated_otherwise or tensor.data_type != TensorProto.FLOAT or not fits:
        return None
    tensor.data_location = TensorProto.EXTERNAL
    stated = {"location": THIS_FILE, "offset": data.start, "length": length, "checksum": stamp}
    for key, value in stated.items():
        tensor.external_data.add(key=key, value=str(value))
    return bytes(tensor.SerializeToString())
