"""The shared models, imported and compared with onnxruntime on real and random inputs."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from anns import outputs
from snn_compile.sim.ann import evaluate
from snn_frontends.onnx import OnnxFrontend

N = 16

LABELLED = ("mnist_cnn_cntk", "mnist_mlp_256x2", "fashion_vggbn", "cifar10_resnet20")


def onnxruntime_outputs(path, x):
    """The first output for every sample, one batch of the model's own size after the other."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[k : k + 1]})[0] for k in range(len(x))])


@pytest.mark.shared_data
@pytest.mark.parametrize("kind", ["random", "real"])
@pytest.mark.parametrize("name", LABELLED)
def test_labelled_models(model_data, name, kind):
    data = model_data(name, calibrate=N, evaluate=N)
    path, ann = data.model, OnnxFrontend().read(data.model).ann
    if kind == "real":
        with np.load(data.evaluate) as file:
            x = file["x"].astype(np.float32)
    else:
        x = np.random.default_rng(0).normal(size=(N, *ann.input.shape)).astype(np.float32)
    assert x.shape == (N, *ann.input.shape)
    expected = onnxruntime_outputs(path, x)
    actual = evaluate(ann, x)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "n_nodes", "n_folded"),
    [
        ("mnist_cnn_cntk", 12, 1),
        ("mnist_mlp_256x2", 6, 0),
        ("fashion_vggbn", 18, 0),
        ("cifar10_resnet20", 130, 55),
    ],
)
def test_nothing_is_left_out(shared_data, name, n_nodes, n_folded):
    result = OnnxFrontend().read(shared_data / "models" / f"{name}.onnx")
    assert (result.n_nodes, result.n_folded, result.findings) == (n_nodes, n_folded, ())


@pytest.mark.shared_data
def test_a_detector_is_imported_with_the_decoding_of_its_boxes(shared_data):
    """Exp is a function as any other; only the final Softmax over classes is left off."""
    path = shared_data / "models" / "face_slim320.onnx"
    result = OnnxFrontend().read(path)
    assert {finding.code for finding in result.findings} == {"softmax-dropped"}
    x = np.random.default_rng(0).normal(size=(1, *result.ann.input.shape)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    expected = session.run(["boxes"], {session.get_inputs()[0].name: x})[0]
    (boxes,) = (y for y in outputs(result.ann, x) if y.shape == expected.shape)
    assert np.abs(boxes - expected).max() <= 1e-4 * np.abs(expected).max()
