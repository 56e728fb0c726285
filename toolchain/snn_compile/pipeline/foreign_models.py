"""Models of other formats, recognized by their content, and how to export them.

Nothing is parsed or unpickled: a few bytes at either end of a file tell the formats apart.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from snn_compile.errors import ModelError, Origin
from snn_compile.files.documents import open_regular

LOOKED_AT = 1 << 16
"""Bytes at either end of a file that are read."""
SAVED_MODEL = "saved_model.pb"
PROTOCOLS = range(1, 6)
"""Of pickles, in their second byte."""
_VARINT, _BYTES = 0x08, 0x0A
"""Keys of the first field of a protobuf message: a number, or bytes."""


@dataclass(frozen=True)
class Foreign:
    """A format that is not read.

    Attributes:
        name: in words.
        hint: how to get an ONNX file.
    """

    name: str
    hint: str


TORCH = Foreign(
    "a pickled PyTorch file, which is never loaded",
    "in Python, where the model's class is: torch.onnx.export(model.eval(), example_input,"
    ' "model.onnx"); a file of weights alone is first loaded into the model',
)
TORCH_PROGRAM = Foreign(
    "a PyTorch program",
    'torch.onnx.export(torch.export.load(file), f="model.onnx"), or torch.onnx.export of the model'
    " that it was made from",
)
PICKLE = Foreign("a pickle, which is never loaded", TORCH.hint)
SAFETENSORS = Foreign(
    "a safetensors file: weights without a network",
    "load it into the model that it belongs to (safetensors.torch.load_model), then"
    ' torch.onnx.export(model.eval(), example_input, "model.onnx")',
)
KERAS = Foreign(
    "a Keras file",
    'keras.models.load_model(file).export("model.onnx", format="onnx"), or python -m'
    " tf2onnx.convert --keras FILE --output model.onnx",
)
TFLITE = Foreign(
    "a TensorFlow Lite file", "python -m tf2onnx.convert --tflite FILE --output model.onnx"
)
GRAPH = Foreign(
    "a frozen TensorFlow graph",
    "python -m tf2onnx.convert --graphdef FILE --inputs NAME:0 --outputs NAME:0 --output"
    " model.onnx",
)
SAVED = Foreign(
    "a TensorFlow SavedModel", "python -m tf2onnx.convert --saved-model DIR --output model.onnx"
)
OPENVINO = Foreign("an OpenVINO file", "export the model that it was made from to ONNX")


def refuse_foreign(path: Path) -> None:
    """Refuse a model of another format.

    Raises:
        ModelError: it is one.
    """
    found = foreign_format(path)
    if found is not None:
        raise ModelError(
            f"this is {found.name}; models are ONNX, NIR or .net files",
            code="foreign-model",
            origin=Origin(str(path)),
            hint=f"export it: {found.hint}",
        )


def foreign_format(path: Path) -> Foreign | None:
    """The format of a file or folder by its content, if it is a known one that is not read."""
    if path.is_dir():
        return SAVED if (path / SAVED_MODEL).is_file() else None
    try:
        with open_regular(path) as stream:
            start = stream.read(LOOKED_AT)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - LOOKED_AT))
            end = stream.read(LOOKED_AT)
    except OSError:
        return None  # whoever reads it says why it cannot be read
    if start[:2] == b"PK":
        return _archive(start + end)
    if start[:1] == b"\x80" and len(start) > 1 and start[1] in PROTOCOLS:
        return TORCH if b"torch" in start or start[2:3] == b"\x8a" else PICKLE
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return KERAS
    if start[4:8] == b"TFL3":
        return TFLITE
    if start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= size - 8:
        return SAFETENSORS
    if start.lstrip()[:5] == b"<?xml" or start.lstrip()[:5] == b"<net ":
        return OPENVINO if b"<net " in start else None
    return _protobuf(start)


def _archive(names: bytes) -> Foreign | None:
    """The format of a zip file by the names in it."""
    if b"model.weights.h5" in names:
        return KERAS
    if b"serialized_exported_program" in names or b"models/model.json" in names:
        return TORCH_PROGRAM
    return TORCH if b"data.pkl" in names or b"constants.pkl" in names else None


def _protobuf(start: bytes) -> Foreign | None:
    """The format of a protobuf message by its first fields.

    An ONNX model begins with a number, the version of its form, and then mostly has the name of its
    producer. A graph of TensorFlow begins with a node, which begins with its name; a SavedModel
    with a number, and then a message.
    """
    if start[:1] == bytes([_BYTES]):
        inner = _after_varint(start, 1)
        is_node = start[inner : inner + 1] == bytes([_BYTES])
        name = _after_varint(start, inner + 1)
        after = name + int.from_bytes(start[inner + 1 : inner + 2], "little")
        is_named = start[name:after].isascii() and start[after : after + 1] == b"\x12"
        return GRAPH if is_node and is_named else None
    if start[:1] == bytes([_VARINT]):
        second = _after_varint(start, 1)
        message = _after_varint(start, second + 1)
        is_message = start[second : second + 1] == b"\x12" and message - second > 2
        return SAVED if is_message and start[message : message + 1] == bytes([_BYTES]) else None
    return None


def _after_varint(data: bytes, at: int) -> int:
    """The position after a number of variable length."""
    while at < len(data) and data[at] & 0x80:
        at += 1
    return at + 1
