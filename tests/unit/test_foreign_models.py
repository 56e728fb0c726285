"""Models of other formats are recognized by their content, and never loaded."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_models import model, node
from snn_compile.errors import ModelError
from snn_compile.options import CompileOptions
from snn_compile.pipeline import foreign_models as formats
from snn_compile.pipeline.inputs import read_model


class Trap:
    """Fails the test if it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def archive(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, pickle.dumps(Trap()))


def field(key: int, data: bytes) -> bytes:
    size, length = len(data), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([key]) + length + bytes([size]) + data


HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
NODE = field(0x0A, field(0x0A, b"input") + field(0x12, b"Placeholder"))
FORMATS = {
    "a state": (lambda p: archive(p, "m/data.pkl", "m/version"), formats.TORCH),
    "a script": (lambda p: archive(p, "m/code/x.py", "m/constants.pkl"), formats.TORCH),
    "a program": (
        lambda p: archive(p, "serialized_exported_program.json"),
        formats.TORCH_PROGRAM,
    ),
    "an old state": (
        lambda p: p.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(9)),
        formats.TORCH,
    ),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps(Trap())), formats.PICKLE),
    "weights": (
        lambda p: p.write_bytes(len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)),
        formats.SAFETENSORS,
    ),
    "Keras 2": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), formats.KERAS),
    "Keras 3": (lambda p: archive(p, "config.json", "model.weights.h5"), formats.KERAS),
    "Lite": (lambda p: p.write_bytes(b"\x1c\0\0\0TFL3" + bytes(99)), formats.TFLITE),
    "a graph": (lambda p: p.write_bytes(NODE * 3), formats.GRAPH),
    "a saved model": (
        lambda p: p.write_bytes(b"\x08\x01" + field(0x12, field(0x0A, bytes(150)))),
        formats.SAVED,
    ),
    "OpenVINO": (
        lambda p: p.write_bytes(b'<?xml version="1.0"?>\n<net name="m" version="11">'),
        formats.OPENVINO,
    ),
}


@pytest.mark.parametrize("suffix", [".pt", ".onnx", ""])
@pytest.mark.parametrize("case", FORMATS)
def test_a_model_of_another_format_says_how_to_export_it(case, suffix, tmp_path):
    write, expected = FORMATS[case]
    path = tmp_path / f"model{suffix}"
    write(path)
    with pytest.raises(ModelError) as caught:
        read_model(path, CompileOptions())
    assert caught.value.code == "foreign-model"
    assert expected.name in caught.value.message
    assert expected.hint in caught.value.hint


def test_a_folder_of_tensorflow(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelError, match="SavedModel"):
        read_model(tmp_path, CompileOptions())


def test_nothing_else_is_taken_for_one(tmp_path):
    path = tmp_path / "x"
    np.savez(path.with_suffix(".npz"), x=np.zeros(3))
    assert formats.foreign_format(path.with_suffix(".npz")) is None
    for content in (b"", b"\x80", b"\n\n\n\nabc", b"PK", b"{}", bytes(64), b"\x08\x08\x12\x02ab"):
        path.write_bytes(content)
        assert formats.foreign_format(path) is None
    assert formats.foreign_format(tmp_path) is None
    assert formats.foreign_format(tmp_path / "missing") is None


@pytest.mark.parametrize("producer", ["", "pytorch", "x" * 300])
def test_onnx_models_are_not(producer, tmp_path):
    made = model([node("Relu", "x", "y")])
    made.producer_name = producer
    onnx.save(made, tmp_path / "net.pb")
    assert formats.foreign_format(tmp_path / "net.pb") is None
