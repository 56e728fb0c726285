"""What a compilation takes in memory does not grow with its images."""

from __future__ import annotations

import os
import queue
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from onnx_models import model, node
from snn_compile import threads
from snn_compile.cli import device_child, main
from snn_compile.convert import data_findings
from snn_compile.errors import UsageError
from snn_compile.pipeline.driver import compile_model
from snn_compile.plugins import open_device
from snn_compile.quantize import fit_layers
from snn_compile.report import shards
from snn_compile.samples import npz, rows, stored
from snn_compile.sim import frames, reference

SHAPE = (2, 32, 32)
FEW, MANY = 256, 1024
FEWER = 320
"""Of comparisons with the reference."""
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
    monkeypatch.setattr(reference, "RECORDED_BYTES", 1 << 18)
    monkeypatch.setattr(frames, "ENCODING_BATCH_SIZE", 32)
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


@pytest.fixture
def on_disk(tmp_path, small_parts):
    """A compiled network, and a set of some of its inputs in a file."""
    model_file = network(tmp_path, "classes")
    folder = tmp_path / "net.snn"
    compile_model(model_file, coding="graded", emit=("onnx",)).save(folder)

    def data(n: int) -> Path:
        path = tmp_path / f"{n}.npz"
        np.savez_compressed(path, x=np.random.default_rng(n).random((n, *SHAPE), np.float32))
        return path

    return folder, data


def peak_of_command(*line) -> int:
    """Most bytes at once of this process during a command."""
    tracemalloc.start()
    try:
        assert main([*map(str, line), "-q"]) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(("hil", "--device", "engine"), marks=pytest.mark.slow),  # three processes
        ("verify", "--against", "onnx"),
    ],
    ids=lambda line: line[0],
)
def test_samples_of_a_comparison(on_disk, line):
    folder, data = on_disk
    few, many = FEWER, 2 * FEWER
    command, *options = line
    if command == "verify":
        options += ["--stimuli", many]
    _, one, other = (
        peak_of_command(command, folder, *options, "--data", data(n)) for n in (1, few, many)
    )
    assert other - one < MORE_BYTES * (many - few)


def test_samples_of_a_device_in_its_own_process(on_disk, tmp_path, small_parts):
    """What it is sent lies in a file, whose pages are read as they are used."""
    folder, _ = on_disk
    peaks = []
    for n in (1, FEWER, 2 * FEWER):
        stimulus = tmp_path / "stimulus.npy"
        np.save(stimulus, np.random.default_rng(n).integers(0, 255, (n, *SHAPE)))
        asked: queue.Queue[dict[str, object]] = queue.Queue()
        asked.put({"stimulus": str(stimulus), "seconds": 100.0})
        tracemalloc.start()
        with open(os.devnull, "wb") as out:
            device_child._serve(open_device("engine", {}), folder, asked, out)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < MORE_BYTES * FEWER


def test_rows_as_an_array_are_a_file_once_they_are_many(monkeypatch):
    rows = np.arange(600, dtype=np.int8).reshape(100, 6)
    held = stored.as_array(rows, "int64", "them")
    monkeypatch.setattr(stored, "HELD_BYTES", 100)
    monkeypatch.setattr("snn_compile.samples.rows.BLOCK_BYTES", 50)
    found = stored.as_array(rows, "int64", "them")
    assert held.dtype == found.dtype == np.int64
    assert (held == rows).all()
    assert (found == rows).all()
    assert isinstance(found.base, np.memmap)
    found[0] = 7  # of this process alone
    assert (found[0] == 7).all()
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(UsageError) as caught:
        stored.as_array(rows, "int64", "them")
    assert caught.value.code == "disk-space"
