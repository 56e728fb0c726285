"""Models that Python holds are compiled like their files."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import onnx
import pytest

from image_sets import network
from snn_compile import compile_model
from snn_compile.errors import CompileError, ModelError, UsageError
from snn_compile.ir.text import to_text

SHAPE = (3, 6, 5)
SETTINGS = {"emit": (), "mean_values": (0.0,), "scale_values": (255.0,)}


def samples(n=40):
    return np.random.default_rng(0).integers(0, 256, (n, *SHAPE), np.uint8)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_model_of_onnx_is_its_file(tmp_path, scratch):
    path = network(tmp_path / "net.onnx")
    expected = compile_model(path, calibrate=samples(), **SETTINGS)
    found = compile_model(onnx.load(path), calibrate=samples(), **SETTINGS)
    assert to_text(found.program) == to_text(expected.program)
    assert found.report["model"]["path"] == "ModelProto.onnx"
    assert str(scratch) not in str(found.report)
    assert not os.listdir(scratch)


def test_errors_name_the_model_without_a_folder(tmp_path, scratch):
    model = onnx.load(network(tmp_path / "net.onnx"))
    model.graph.node[1].op_type = "NoSuchOperator"
    with pytest.raises(CompileError) as caught:
        compile_model(model, emit=())
    assert str(scratch) not in str(caught.value)
    assert "ModelProto.onnx" in str(caught.value)
    assert not os.listdir(scratch)


def test_what_is_no_model_is_refused(tmp_path):
    path = network(tmp_path / "net.onnx")
    for model, example in ((object(), None), (onnx.load(path), samples(1)), (path, samples(1))):
        with pytest.raises(UsageError) as caught:
            compile_model(model, example_input=example)
        assert caught.value.code == "bad-argument"
        assert caught.value.hint


def test_a_module_of_torch_is_exported(scratch):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(48, 3),
    )
    x = samples().astype(np.float32) / 255
    found = compile_model(module, example_input={"image": x[:1]}, calibrate=x, emit=())
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).argmax(dim=1).numpy()
    assert [str(node.id) for node in found.program.inputs] == ["image"]
    assert found.report["model"]["path"] == "Sequential.onnx"
    assert (found.run(x).argmax(axis=1) == expected).mean() > 0.9
    assert not os.listdir(scratch)
    again = compile_model(module.train(), example_input=torch.zeros(1, *SHAPE), emit=())
    assert module.training
    assert [str(node.id) for node in again.program.inputs] == ["input"]


def test_modules_that_torch_cannot_export_are_refused():
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(3, 2)
    with pytest.raises(UsageError, match="needs an example"):
        compile_model(module)
    with pytest.raises(ModelError, match="cannot export") as caught:
        compile_model(module, example_input=torch.zeros(1, 7))
    assert caught.value.code == "not-exported"
    with pytest.raises(UsageError, match="no tensor"):
        compile_model(module, example_input="x")
