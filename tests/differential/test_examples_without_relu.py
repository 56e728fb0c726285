"""The examples with SiLU, gates and transposed convolutions, on real images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engine_equality import assert_equal
from snn_backends.lava import LavaBackend
from snn_compile import compile_model

NAMES = ("fashion_silu", "fashion_mobile", "denoise_unet")
CALIBRATE, EVALUATE = 128, 200
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def images(shared_data):
    with np.load(Path(shared_data) / "data" / "fashion_mnist.npz") as data:
        few = {"x_calib": CALIBRATE, "x_test": EVALUATE}
        return {k: (data[k][:n, None] / 255).astype(np.float32) for k, n in few.items()}


@pytest.fixture(scope="module")
def compiled(images):
    made = {}

    def make(name):
        if name not in made:
            path = EXAMPLES / f"{name}.onnx"
            made[name] = compile_model(
                path, calibrate=images["x_calib"], coding="graded", target="unlimited"
            )
        return made[name]

    return make


@pytest.mark.parametrize("name", [pytest.param(NAMES[0], marks=pytest.mark.slow), *NAMES[1:]])
def test_integers_answer_like_the_file(compiled, images, name, compiled_engine):
    """Classes agree, and an image comes out with a small part of its energy as an error."""
    model = compiled(name)
    x = images["x_test"]
    session = onnxruntime.InferenceSession(
        os.fspath(EXAMPLES / f"{name}.onnx"), providers=["CPUExecutionProvider"]
    )
    (wanted,) = session.run(None, {"input": x})
    answers = model.run(x).reshape(wanted.shape)
    if name == "denoise_unet":
        assert ((answers - wanted) ** 2).mean() < 5e-4 * (wanted**2).mean()
    else:
        assert (answers.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.98
    assert_equal(model.program, model.encoding(x[:2]), name)


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.parametrize("name", NAMES)
def test_lava_is_equal(compiled, images, lava_environment, tmp_path, name):
    model = compiled(name)
    folder = tmp_path / "lava"
    model.emit("lava", folder)
    frames = model.encoding(images["x_test"][:1])
    assert LavaBackend().verify(model.program, folder, frames).equal
