"""The shared models and data are whole; without them tests skip, and in CI fail."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

LABELLED = {
    "mnist_cnn_cntk": (1, 28, 28),
    "mnist_mlp_256x2": (784, 1),
    "fashion_vggbn": (1, 28, 28),
    "cifar10_resnet20": (3, 32, 32),
}


@pytest.mark.shared_data
def test_the_models_are_the_ones_the_manifest_states(shared_data):
    models = json.loads((shared_data / "manifest.json").read_text())["models"]
    assert set(LABELLED) <= {model["name"] for model in models}
    for model in models:
        content = (shared_data / model["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == model["sha256"], model["name"]


@pytest.mark.shared_data
@pytest.mark.parametrize("name", LABELLED)
def test_prepares_data_that_the_model_classifies(model_data, name):
    prepared = model_data(name, calibrate=32, evaluate=64)
    assert prepared == model_data(name, calibrate=32, evaluate=64)
    calibrate, evaluate = np.load(prepared.calibrate), np.load(prepared.evaluate)
    assert calibrate["x"].shape == (32, *LABELLED[name])
    assert calibrate["x"].dtype == np.float32
    session = onnxruntime.InferenceSession(
        str(prepared.model), providers=["CPUExecutionProvider"], sess_options=quiet()
    )
    source = session.get_inputs()[0]
    # A batch fixed at 1 belongs to the sample in these files.
    logits = [session.run(None, {source.name: x[None]})[0] for x in evaluate["x"]]
    right = [np.argmax(logit) == label for logit, label in zip(logits, evaluate["y"], strict=True)]
    assert np.mean(right) > 0.8


def quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


@pytest.mark.parametrize(("ci", "outcome"), [("", "skipped"), ("true", "error")])
def test_where_they_are_absent_tests_skip_and_in_ci_fail(tmp_path: Path, ci: str, outcome: str):
    test = f"{__file__}::test_the_models_are_the_ones_the_manifest_states"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test],
        env={**os.environ, "SNN_COMPILE_DATA": str(tmp_path / "absent"), "CI": ci},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"1 {outcome}" in done.stdout.splitlines()[-1], done.stdout
    assert "SNN_COMPILE_DATA" in done.stdout
