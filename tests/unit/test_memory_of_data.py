"""What a compilation takes in memory does not grow with its images."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from onnx_models import model, node
from snn_compile import threads
from snn_compile.convert import data_findings
from snn_compile.pipeline.driver import compile_model
from snn_compile.quantize import fit_layers
from snn_compile.report import shards
from snn_compile.samples import npz, rows, stored

SHAPE = (2, 32, 32)
FEW, MANY = 256, 1024
SEARCHED = 768
"""Few images of a search, whose passes and pieces take as many."""
MORE_BYTES = 512
"""By which the peak may grow for each image of both sets, a sixteenth of one: for its checksums,
ranges and classes."""


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of fewer images, so that a few hundred of them are many parts."""
    monkeypatch.setattr(npz, "HELD_BYTES", 1 << 15)
    monkeypatch.setattr(stored, "HELD_BYTES", 1 << 15)
    monkeypatch.setattr(rows, "BLOCK_BYTES", 1 << 17)
    monkeypatch.setattr(data_findings, "PIECE_BYTES", 1 << 17)
    monkeypatch.setattr(shards, "MOST_BYTES", 1 << 18)
    monkeypatch.setattr(fit_layers, "MESSAGES", 1 << 15)
    monkeypatch.setattr(threads, "_limit", 1)


def network(folder: Path, ends: str) -> Path:
    """Four classes of an image of 2 x 32 x 32, or a map of its size."""
    random = np.random.default_rng(0)
    if ends == "classes":
        weights = {"w": random.normal(size=(4, 2, 8, 8)) / 8, "v": random.normal(size=(64, 4))}
        nodes = [
            node("Conv", "x w", "c", strides=[8, 8]),
            node("Relu", "c", "r"),
            node("Flatten", "r", "f"),
            node("MatMul", "f v", "y"),
        ]
    else:
        weights = {name: random.normal(size=(2, 2, 1, 1)) for name in "wv"}
        nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Conv", "r v", "y")]
    constants = {name: values.astype(np.float32) for name, values in weights.items()}
    path = folder / "network.onnx"
    path.write_bytes(model(nodes, ("N", *SHAPE), constants, "y").SerializeToString())
    return path


def peak(folder: Path, n: int, ends: str, **options) -> int:
    """Most bytes at once of a compilation that calibrates and evaluates with n images each."""
    model_file, random = network(folder, ends), np.random.default_rng(n)
    calibrate, evaluate = folder / "calibrate.npz", folder / "evaluate.npz"
    np.savez(calibrate, x=random.random((n, *SHAPE), np.float32))
    x = random.random((n, *SHAPE), np.float32)
    labels = {"classes": np.arange(n) % 4, "regression": x, "segmentation": x.argmax(1)}
    np.savez_compressed(evaluate, x=x, y=labels[ends])
    del x, labels
    tracemalloc.start()
    try:
        compile_model(model_file, calibrate=calibrate, evaluate=evaluate, emit=(), **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "ends",
    ["classes", *(pytest.param(e, marks=pytest.mark.slow) for e in ("regression", "segmentation"))],
)
def test_a_compilation(tmp_path, small_parts, ends):
    _, few, many = (peak(tmp_path, n, ends) for n in (1, FEW, MANY))  # one imports what it needs
    assert many - few < MORE_BYTES * (MANY - FEW)


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["graded", "rate"])
def test_a_search(tmp_path, small_parts, coding):
    options = {"timesteps": "auto", "equalize": "auto", "max_accuracy_drop": 100.0}
    n = SEARCHED
    few, many = (peak(tmp_path, k, "classes", coding=coding, **options) for k in (n, 2 * n))
    assert many - few < MORE_BYTES * n
