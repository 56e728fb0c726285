"""Emitted ONNX files of full-size networks: what every neuron sends in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snn_backends.onnx_integers import file
from snn_compile import compile_model
from snn_compile.ir.text import dump_text
from snn_frontends.onnx import OnnxFrontend

pytestmark = [pytest.mark.slow, pytest.mark.shared_data]
MODELS = ("mnist_mlp_256x2", "mnist_cnn_cntk", "fashion_vggbn", "cifar10_resnet20")


@pytest.mark.parametrize("coding", ["graded", "sync", "radix"])
@pytest.mark.parametrize("model", MODELS)
def test_shared_models(model, coding, model_data, tmp_path):
    data = model_data(model, calibrate=64, evaluate=10)
    x = np.load(data.calibrate)["x"]
    made = compile_model(data.model, calibrate=x, coding=coding, emit=())
    made.emit("onnx", tmp_path / "onnx")
    outcome = made.backend("onnx").verify(
        made.program, tmp_path / "onnx", made.stimulus[:4], time_limit=600.0, progress=print
    )
    assert outcome.equal, outcome.details
    found = OnnxFrontend().read_integers(tmp_path / "onnx" / file.REALS)
    assert found is not None
    assert dump_text(found.network) == dump_text(made.program)


def test_the_detector(shared_data: Path, tmp_path):
    made = compile_model(shared_data / "models" / "face_slim320.onnx", coding="graded", emit=())
    made.emit("onnx", tmp_path / "onnx")
    outcome = made.backend("onnx").verify(
        made.program, tmp_path / "onnx", made.stimulus[:1], time_limit=600.0, progress=print
    )
    assert outcome.equal, outcome.details
