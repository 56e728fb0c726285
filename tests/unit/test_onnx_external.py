"""Weights in other files: those of the model's own folder, as many as fit, and nothing else."""

from __future__ import annotations

import os

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_models import model, node
from snn_compile import memory
from snn_compile.cli import main
from snn_compile.errors import CompileError, CompileErrors, ModelError
from snn_compile.files.documents import DamagedError
from snn_frontends.onnx import OnnxFrontend, integers, wire

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def external(name="w", location="w.bin", shape=(4, 3), **said):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **said}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def saved(folder, *tensors, nodes=None):
    """A model beside the data of a weight, and a secret outside."""
    folder = folder / "model"
    folder.mkdir(exist_ok=True)
    (folder / "w.bin").write_bytes(WEIGHT.tobytes())
    (folder.parent / "secret").write_bytes(WEIGHT.tobytes())
    made = model(nodes or [node("MatMul", "x w", "y")], ("N", 4))
    made.graph.initializer.extend(tensors)
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def read(path):
    (dense,) = [n for n in OnnxFrontend().read(path).ann.graph if type(n).__name__ == "Dense"]
    return dense.weight


def refused(path) -> CompileError:
    with pytest.raises(CompileError) as caught:
        OnnxFrontend().read(path)
    return caught.value


def test_of_its_own_folder(tmp_path):
    np.testing.assert_array_equal(read(saved(tmp_path, external())), WEIGHT.T)
    inner = tmp_path / "model" / "data"
    inner.mkdir()
    (inner / "all.bin").write_bytes(b"--" + WEIGHT.tobytes() + WEIGHT.tobytes())
    (tmp_path / "model" / "link.bin").symlink_to(inner / "all.bin")
    nodes = [node("MatMul", "x w", "a"), node("Add", "a v", "y")]
    first = external(location="data/all.bin", offset=2, length=48)
    second = external("v", "link.bin", (3,), offset=50, length=12, checksum="0")
    path = saved(tmp_path, first, second, nodes=nodes)
    np.testing.assert_array_equal(read(path), WEIGHT.T)


LOCATIONS = {
    "absolute": "{outside}",
    "parent": "../secret",
    "parent-inside": "sub/../../secret",
    "parent-that-stays": "../model/w.bin",
    "windows": "..\\secret",
    "drive": "C:\\secret",
    "link": "link",
    "linked-folder": "folder/secret",
    "circle": "circle",
    "pipe": "pipe",
    "device": "device",
    "folder": ".",
    "none": "",
    "absent": "absent",
    "nul": "w.bin\0",
    "control": "w.bin\x1b[2J",
}


@pytest.mark.parametrize("kind", LOCATIONS)
def test_nothing_of_another_place(tmp_path, kind):
    location = LOCATIONS[kind].format(outside=tmp_path / "secret")
    path = saved(tmp_path, external(location=location))
    folder = path.parent
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "device").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    error = refused(path)
    assert (type(error), error.code) == (ModelError, "external-data")
    assert "'w'" in error.message
    assert "folder" in error.hint
    assert error.message.isprintable()
    assert main(["check", str(path)]) == 3


@pytest.mark.parametrize(
    "said",
    [
        {"offset": -1},
        {"offset": "1_0"},
        {"offset": "9" * 30},
        {"offset": 1},
        {"offset": 48},
        {"length": -48},
        {"length": 49},
        {"length": 0},
        {"length": 44},
        {"offset": 4, "length": 48},
        {"shape": (4, 4)},
        {"shape": (-4, -3)},
        {"shape": (1 << 31, 1 << 31)},
        {"command": "rm"},
    ],
)
def test_only_what_fits_the_tensor(tmp_path, said):
    assert refused(saved(tmp_path, external(**said))).code == "external-data"


def test_the_same_thing_said_twice(tmp_path):
    tensor = external()
    tensor.external_data.add(key="location", value="../secret")
    assert refused(saved(tmp_path, tensor)).code == "external-data"


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.UNDEFINED, 99])
def test_only_numbers(tmp_path, kind):
    tensor = external()
    tensor.data_type = kind
    assert refused(saved(tmp_path, tensor)).code == "external-data"


def test_wherever_the_tensor_is(tmp_path):
    """In an attribute, in a graph of an attribute, in a function; all complaints at once."""
    away = {"location": "../secret"}
    inner = helper.make_graph(
        [node("Identity", "g", "h")], "inner", [], [helper.make_tensor_value_info("h", 1, None)]
    )
    inner.initializer.append(external("g", **away))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=external("attribute", **away)),
        helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner),
    ]
    path = saved(tmp_path, external(**away), nodes=nodes)
    error = refused(path)
    assert isinstance(error, CompileErrors)
    assert {e.code for e in error.errors} == {"external-data"}
    assert sorted(e.message.split("'")[1] for e in error.errors) == ["attribute", "g", "g", "w"]


def test_more_than_memory_allows(tmp_path, monkeypatch):
    """Hundred tensors of one file: each is small enough."""
    many = [external(f"w{k}") for k in range(100)]
    path = saved(tmp_path, external(), *many)
    monkeypatch.setenv(memory.VARIABLE, str(4096 + path.stat().st_size))
    error = refused(path)
    assert (type(error), error.code) == (ModelError, "too-large")
    assert "48 bytes" in error.message
    assert "--max-memory" in error.hint


def test_the_model_itself(tmp_path, monkeypatch, capsys):
    path = saved(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    assert main(["check", str(tmp_path / "pipe.onnx")]) == 2
    size = path.stat().st_size
    assert main(["check", str(path), "--max-memory", str(size - 1)]) == 3
    assert "--max-memory" in capsys.readouterr().err
    with path.open("r+b") as stream:
        stream.truncate(3 << 30)  # no block of it is written
    assert main(["check", str(path), "--max-memory", "8G"]) == 3
    assert "external data" in capsys.readouterr().err


@pytest.mark.parametrize("part", [b"\x08\x01", b"\x00\x00"])
def test_metadata_are_not_looked_for_in_endless_parts(tmp_path, part):
    """Numbers one after the other, and what a hole in a file reads as."""
    path = tmp_path / "net.onnx"
    path.write_bytes(part * (wire.MAX_OUTER_FIELDS + 1))
    assert not integers.says_so(path)
    with pytest.raises(DamagedError, match=r"more than 100,000 parts|without a number"):
        list(wire.fields(path.read_bytes(), 14))


def test_more_parts_than_a_model_has(tmp_path, monkeypatch):
    """Empty messages, two bytes each, would take a hundred times as much once they are parsed."""
    monkeypatch.setattr(wire, "MAX_FIELDS", 1000)
    path = saved(tmp_path, external())
    assert read(path).shape == (3, 4)
    path.write_bytes(path.read_bytes() + b"\x3a\xd0\x0f" + b"\x0a\x00" * 1000)
    error = refused(path)
    assert (error.code, error.exit_code) == ("too-large", 3)


def test_data_that_do_not_fit_are_refused_inside_too(tmp_path):
    tensor = numpy_helper.from_array(WEIGHT, "w")
    tensor.dims[:] = [1 << 40, 3]
    assert refused(saved(tmp_path, tensor)).code == "invalid-model"
