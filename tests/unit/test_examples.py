"""The files in ``examples/`` are what ``make_digits.py`` says they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

MODELS = ("digits_cnn", "digits_mlp")


def accuracy(model: Path, data: Path) -> float:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    arrays = np.load(data)
    (logits,) = session.run(None, {"input": arrays["x"]})
    return 100 * float(np.mean(logits.argmax(axis=1) == arrays["y"]))


@pytest.mark.parametrize("name", MODELS)
def test_accuracy_and_form(name: str, examples: Path) -> None:
    model = onnx.load(examples / f"{name}.onnx")
    assert model.ir_version == 8
    assert [opset.version for opset in model.opset_import] == [17]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert accuracy(examples / f"{name}.onnx", examples / "digits_evaluate.npz") >= 97


def test_data_files_hold_what_the_models_take(examples: Path) -> None:
    calibrate = np.load(examples / "digits_calibrate.npz")
    evaluate = np.load(examples / "digits_evaluate.npz")
    assert calibrate.files == ["x"]
    assert calibrate["x"].shape == (512, 1, 8, 8)
    assert evaluate["x"].shape == (500, 1, 8, 8)
    assert calibrate["x"].dtype == evaluate["x"].dtype == np.float32
    assert np.bincount(evaluate["y"]).min() >= 45
    train = np.load(examples / "digits_train.npz")
    assert train["x"].shape == (785, 1, 8, 8)
    assert train["x"].dtype == np.float32
    assert np.bincount(train["y"]).min() >= 60
    images = [{x.tobytes() for x in part["x"]} for part in (calibrate, train, evaluate)]
    assert len(set.union(*images)) == sum(map(len, images)), "two of the files share an image"


def test_the_readme_names_every_file_and_its_licence(examples: Path) -> None:
    text = (examples / "README.md").read_text(encoding="utf-8")
    for path in examples.iterdir():
        if path.suffix in (".onnx", ".npz"):
            assert f"`{path.name}`" in text, path.name
    assert "CC BY 4.0" in text
    assert "CC BY-SA 4.0" in text


@pytest.mark.slow
def test_the_script_makes_them_again(examples: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, examples / "make_digits.py", "-o", tmp_path],
        check=True,
        capture_output=True,
    )
    for data in ("digits_calibrate.npz", "digits_train.npz", "digits_evaluate.npz"):
        old, new = np.load(examples / data), np.load(tmp_path / data)
        assert all(np.array_equal(old[key], new[key]) for key in old.files)
    for name in MODELS:
        committed = accuracy(examples / f"{name}.onnx", tmp_path / "digits_evaluate.npz")
        again = accuracy(tmp_path / f"{name}.onnx", tmp_path / "digits_evaluate.npz")
        assert again == pytest.approx(committed, abs=1), name


def test_they_are_small(examples: Path) -> None:
    sizes = [path.stat().st_size for path in examples.iterdir() if path.suffix in (".onnx", ".npz")]
    assert sum(sizes) < 700_000  # half of it are the features of 556 recordings


def test_the_python_example_runs(examples: Path) -> None:
    done = subprocess.run(
        [sys.executable, examples / "python_api.py"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) > 96
