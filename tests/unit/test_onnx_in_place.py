"""Large weights that stay in the file until they are needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_models import model, node
from snn_compile.errors import ModelError
from snn_compile.ir import ann
from snn_frontends.onnx import OnnxFrontend, in_place

RNG = np.random.default_rng(2)
WEIGHT = RNG.normal(size=(1024, 1100)).astype(np.float32)
BIAS = RNG.normal(size=1100).astype(np.float32)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    constants = {"w": WEIGHT, "b": BIAS}
    made = model([node("Gemm", "x w b", "y")], ("N", 1024), constants)
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    assert path.stat().st_size > in_place.MIN_SIZE
    return path


def dense(path: Path) -> ann.Dense:
    (found,) = (n for n in OnnxFrontend().read(path).ann.graph if isinstance(n, ann.Dense))
    return found


def test_only_large_weights_stay_and_are_read_as_they_are(large: Path):
    whole, light = onnx.load(large), in_place.parsed(large)
    weight, bias = light.graph.initializer
    assert not weight.raw_data
    assert bias.raw_data
    del light.graph.initializer[:], whole.graph.initializer[:]
    assert light == whole
    assert np.array_equal(in_place.read(weight, large), WEIGHT)
    assert np.array_equal(dense(large).weight, WEIGHT.T)


def test_what_does_not_fit_its_shape_is_refused(large: Path):
    made = onnx.load(large)
    made.graph.initializer[0].dims[:] = [1024, 1099]
    large.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match=r"the shape \[1024, 1099\] for 4.3 MiB"):
        OnnxFrontend().read(large)


def test_a_file_that_is_written_meanwhile_is_refused(large: Path):
    weight = in_place.parsed(large).graph.initializer[0]
    os.utime(large, ns=(0, 0))
    with pytest.raises(ValueError, match="changed while it was read"):
        in_place.read(weight, large)


def test_a_file_cannot_state_its_own_places(large: Path):
    made = onnx.load(large)
    (weight, _) = made.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=in_place.THIS_FILE)
    large.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match="outside the folder"):
        OnnxFrontend().read(large)


def test_large_external_data_are_read_once(large: Path, monkeypatch: pytest.MonkeyPatch):
    onnx.save(onnx.load(large), large, save_as_external_data=True, location="w.bin")
    monkeypatch.setattr(in_place, "read", read := Counted(in_place.read))
    assert np.array_equal(dense(large).weight, WEIGHT.T)
    assert read.times == 1


class Counted:
    """A function that counts its calls."""

    def __init__(self, function):
        self.function, self.times = function, 0

    def __call__(self, *given):
        self.times += 1
        return self.function(*given)
