"""Bad input: one line and a hint, the documented exit code, and nothing half-written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from snn_compile.cli import main

WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def dense(weight: np.ndarray, *, empty: bool = False) -> onnx.ModelProto:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="fc", transB=1)
    graph = helper.make_graph(
        [] if empty else [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 4))],
        [] if empty else [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 10
    return model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a good model, and good data for it."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    onnx.save(dense(WEIGHT), "net.onnx")
    np.savez("good.npz", x=x, y=np.arange(8) % 4)
    return tmp_path


def refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: str, exit_code: int
) -> str:
    """Run, and return what was said after checking its form."""
    there = set(Path().iterdir())
    assert main([*arguments, "--quiet"]) == exit_code
    out, err = capsys.readouterr()
    assert not out
    assert f"error[{code}]" in err
    assert "Traceback" not in err
    error, *hints = err.splitlines()
    assert "error[" in error
    assert len(hints) <= 1
    assert all(hint.startswith("hint: ") for hint in hints)
    assert set(Path().iterdir()) == there
    return err


@pytest.mark.parametrize(
    ("name", "code", "exit_code"),
    [
        ("truncated", "unreadable-model", 3),
        ("text", "unreadable-model", 3),
        ("nothing", "unreadable-model", 3),
        ("no-operators", "empty-graph", 3),
        ("nan", "not-finite", 3),
        ("infinity", "not-finite", 3),
    ],
)
@pytest.mark.parametrize("command", ["compile", "check", "inspect"])
def test_bad_models(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    code: str,
    exit_code: int,
) -> None:
    contents = {
        "truncated": Path("net.onnx").read_bytes()[:60],
        "text": b"this is no model\n",
        "nothing": b"",
        "no-operators": dense(WEIGHT, empty=True).SerializeToString(),
        "nan": dense(np.where(WEIGHT > 0, np.nan, WEIGHT)).SerializeToString(),
        "infinity": dense(np.where(WEIGHT > 1, np.inf, WEIGHT)).SerializeToString(),
    }
    (folder / "bad.onnx").write_bytes(contents[name])
    arguments = [command, "bad.onnx"]
    if command != "compile":
        assert main(arguments) == exit_code
        assert f"error[{code}]" in capsys.readouterr().err
    else:
        refused(capsys, arguments, code, exit_code)


@pytest.mark.usefixtures("folder")
def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["missing.onnx"], "no-such-file", 2)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("option", ["--calibrate", "--evaluate"])
@pytest.mark.parametrize(
    ("arrays", "code", "words"),
    [
        (
            {"x": np.zeros((8, 4), np.float32)},
            "wrong-shape",
            "(8, 4), but the network takes (N, 3)",
        ),
        ({"x": np.zeros((8, 3), np.uint8)}, "wrong-dtype", "--mean-values"),
        ({"x": np.full((8, 3), np.nan, np.float32)}, "not-finite", "NaN"),
        ({"x": np.zeros((0, 3), np.float32)}, "empty-data", "no samples"),
        ({"x": np.array([{}, {}], object)}, "pickled-data", "pickled"),
        ({"images": np.zeros((8, 3), np.float32)}, "missing-key", "it holds images"),
    ],
)
def test_bad_data(
    capsys: pytest.CaptureFixture[str], option: str, arrays: dict[str, Any], code: str, words: str
) -> None:
    np.savez("bad.npz", **arrays)
    assert words in refused(capsys, ["net.onnx", option, "bad.npz"], code, 2)


@pytest.mark.usefixtures("folder")
def test_bad_labels(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.zeros((8, 3), np.float32)
    for labels in (np.arange(8), np.arange(7) % 4, np.arange(8) % 4 - 1, np.zeros(8)):
        np.savez("bad.npz", x=x, y=labels)
        refused(capsys, ["net.onnx", "--evaluate", "bad.npz"], "bad-labels", 2)


@pytest.mark.usefixtures("folder")
def test_an_unknown_option_in_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.toml").write_text("weight_bit = 4\n")
    said = refused(capsys, ["net.onnx", "--config", "bad.toml"], "unknown-option", 2)
    assert "did you mean weight_bits?" in said
    refused(capsys, ["net.onnx", "--target", "loihi3"], "unknown-target", 2)


@pytest.mark.usefixtures("folder")
def test_a_limit_with_nothing_to_measure_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["net.onnx", "--max-accuracy-drop", "1"], "missing-data", 2)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["verify", "report", "inspect", "run"])
def test_a_folder_that_is_not_ours(capsys: pytest.CaptureFixture[str], command: str) -> None:
    Path("empty").mkdir()
    more = ["--data", "good.npz"] if command == "run" else []
    assert main([command, "empty", *more]) == 2
    assert "error[not-compiled]" in capsys.readouterr().err


def test_a_changed_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["net.onnx", "--no-emit", "--quiet", "--calibrate", "good.npz"]) == 0
    whole = (folder / "net.snn" / "model.snn").read_bytes()
    shutil.copytree("net.snn", "cut.snn")
    (folder / "cut.snn" / "model.snn").write_bytes(whole[: len(whole) // 2])
    capsys.readouterr()
    assert main(["verify", "cut.snn"]) in (3, 7)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "error[" in err
