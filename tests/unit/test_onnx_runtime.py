"""The user's file as onnxruntime runs it, and the ladder's first rung from it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import onnx_models
from snn_compile import compile_model
from snn_frontends.onnx import OnnxFrontend
from snn_frontends.onnx import runtime as onnx_runtime


def saved(folder, batch="N", **constants):
    random = np.random.default_rng(0)
    constants = {
        "w": random.normal(size=(4, 2, 3, 3)),
        "v": random.normal(size=(36, 5)),
        **constants,
    }
    nodes = [
        onnx_models.node("Conv", "x w", "c"),
        onnx_models.node("Relu", "c", "r"),
        onnx_models.node("Flatten", "r", "f"),
        onnx_models.node("MatMul", "f v", "y"),
    ]
    if "shape" in constants:
        nodes[2] = onnx_models.node("Reshape", "r shape", "f")
    typed = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in constants.items()}
    path = folder / "net.onnx"
    path.write_bytes(onnx_models.model(nodes, (batch, 2, 5, 5), typed).SerializeToString())
    return path


def samples(n):
    return np.random.default_rng(1).uniform(size=(n, 2, 5, 5)).astype(np.float32)


def test_it_says_what_our_evaluator_says(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_runtime, "BATCH_SIZE", 4)
    path, x, advanced = saved(tmp_path), samples(10), []
    original = OnnxFrontend().source_runtime(path)
    (expected,) = onnx_models.evaluate_all(OnnxFrontend().read(path), x)
    np.testing.assert_allclose(original(x, advanced.append), expected, rtol=1e-4, atol=1e-5)
    assert advanced == [4, 4, 2]


def test_files_it_cannot_run_for_many_samples_are_left_to_us(tmp_path):
    assert OnnxFrontend().source_runtime(saved(tmp_path, batch=1)) is None
    merged = saved(tmp_path, shape=np.array([1, -1]))  # of all samples
    assert OnnxFrontend().source_runtime(merged) is None
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\x08\x07nothing")
    assert OnnxFrontend().source_runtime(damaged) is None


def test_without_the_library_our_evaluator_does_it(tmp_path, monkeypatch):
    path, x = saved(tmp_path), samples(40)
    given = {"calibrate": x, "evaluate": (x, np.zeros(40, np.int64)), "emit": ()}
    with_it = compile_model(path, **given).report["ladder"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    without = compile_model(path, **given).report["ladder"]
    assert with_it[0].pop("note") == "as onnxruntime runs the file"
    assert with_it == without


@pytest.mark.parametrize("option", ["mean_values", "scale_values"])
def test_preprocessing_is_not_in_the_file(tmp_path, option):
    x = samples(20)
    compiled = compile_model(
        saved(tmp_path), calibrate=x, evaluate=(x, None), emit=(), **{option: (2.0,)}
    )
    assert "note" not in compiled.report["ladder"][0]
