"""Outputs of a single value that is a class: where it is cut, and wherever it is shown."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from onnx_models import model, node
from output_networks import run_onnx, uniform
from snn_compile import compile_model, inspect_against
from snn_compile.cli import main
from snn_compile.errors import UsageError
from snn_compile.report import metrics
from snn_compile.samples.outputs import OutputKind, OutputShapes

X = uniform(60, 8) - 0.5
FAST = {"target": "unlimited", "emit": (), "calibrate": X}


def saved(folder, last="Sigmoid"):
    """A value of either sign from eight numbers, with an operator at its end."""
    random = np.random.default_rng(4)
    constants = {
        "w": random.normal(size=(8, 16)).astype(np.float32),
        "v": random.normal(size=(16, 1)).astype(np.float32),
    }
    nodes = [
        node("MatMul", "x w", "m"),
        node("Relu", "m", "r"),
        node("MatMul", "r v", "l"),
        node(last, "l", "p"),
    ]
    onnx.save(model(nodes, ("N", 8), constants, "p"), folder / "net.onnx")
    return folder / "net.onnx"


def labels(path):
    """Those of a classifier that is always right."""
    found = (run_onnx(path, X)["p"][:, 0] > 0.5).astype(np.int64)
    assert 5 < found.sum() < 55
    return found


@pytest.mark.parametrize("last", ["Sigmoid", "HardSigmoid"])
@pytest.mark.parametrize("options", [{}, {"cut_at": "l"}])
def test_a_value_within_0_and_1_is_cut_at_a_half(tmp_path, last, options):
    path = saved(tmp_path, last)
    y = labels(path)
    report = compile_model(path, evaluate=(X, {"p": y}), **FAST, **options).report
    stage = "host" if options else "fixed"
    (rung,) = (rung for rung in report["ladder"] if rung["stage"] == stage)
    assert rung["top1"] > 95
    first = rung["before"] if options else report["ladder"][0]
    assert first["top1"] == 100.0


def test_a_value_of_either_sign_is_cut_at_0(tmp_path):
    path = saved(tmp_path, "Identity")
    y = (run_onnx(path, X)["p"][:, 0] > 0).astype(np.int64)
    report = compile_model(path, evaluate=(X, y), **FAST).report
    assert report["ladder"][0]["top1"] == 100.0
    assert "threshold" not in report["outputs"][0]


def test_a_map_of_one_channel_is_cut_at_its_threshold():
    y = np.array([[[0, 1], [1, 0]]])
    shapes = OutputShapes({"map": (1, 2, 2)}, {}, probabilities={"map"})
    (expected,) = shapes.expected({"y": y}, 1, "x")
    assert expected.kind is OutputKind.SEGMENTATION
    values = np.array([[[[0.2, 0.7], [0.9, 0.4]]]])
    assert metrics.judge(expected, values, values)["pixel_accuracy"] == 100.0


def test_a_run_and_a_device_show_the_same_classes(tmp_path, capsys):
    path = saved(tmp_path)
    y = labels(path)
    np.savez(tmp_path / "data.npz", x=X, y=y)
    folder = tmp_path / "net.snn"
    compile_model(path, evaluate=(X, y), **FAST).save(folder)
    line = [str(folder), "--data", str(tmp_path / "data.npz"), "--json"]
    assert main(["run", *line, "-o", str(tmp_path / "out.npz")]) == 0
    top1 = json.loads(capsys.readouterr().out)["top1"]
    assert top1 > 95
    with np.load(tmp_path / "out.npz") as found:
        assert 100 * (found["argmax"] == y).mean() == pytest.approx(top1)
    assert main(["hil", *line, "--device", "engine"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    assert accuracy["top1"] == accuracy["reference"] == pytest.approx(top1)


def test_an_inspection_does_not_read_labels_of_outputs_on_the_host(tmp_path):
    path = saved(tmp_path)
    np.savez(tmp_path / "data.npz", x=X, y_p=labels(path))
    folder = tmp_path / "net.snn"
    data = dict.fromkeys(("calibrate", "evaluate"), tmp_path / "data.npz")
    compile_model(path, **FAST | data, cut_at="l").save(folder)
    assert inspect_against(folder, n_samples=2).first is None


@pytest.mark.parametrize(
    ("evaluate", "message"),
    [
        ((X, {"nonsense": np.zeros(60, int)}), "'nonsense' labels no output"),
        ({"x": X}, "evaluate is no tuple"),
        ([X, np.zeros(60, int)], "evaluate is no tuple"),
        (([X[0], X[0, :3]], None), "its parts have different shapes"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path, evaluate, message):
    with pytest.raises(UsageError, match=message) as raised:
        compile_model(saved(tmp_path), evaluate=evaluate, **FAST)
    assert raised.value.hint


def test_samples_of_different_shapes_are_refused(tmp_path):
    compiled = compile_model(saved(tmp_path), **FAST)
    with pytest.raises(UsageError, match="its parts have different shapes"):
        compiled.run((X, X[:, :3]))
