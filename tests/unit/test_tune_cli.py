"""``snn-compile tune``: what it writes, what it refuses, and that it survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recordings import classifier, nmnist
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileErrors, UsageError
from snn_compile.ir.serialize import array_hashes, dump_program
from snn_compile.quantize import stock
from snn_compile.tune import TuneOptions
from snn_compile.tune.options import METHODS, SURROGATES
from snn_compile.tune.report import worse

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = Path(__file__).parent.parent / "fixtures" / "snntorch_tiny.nir"


@pytest.fixture(scope="module")
def labelled(examples, tmp_path_factory):
    """The evaluation images of the digits, in two halves: to train on and to judge."""
    with np.load(examples / "digits_evaluate.npz") as file:
        x, y = file["x"], file["y"]
    folder = tmp_path_factory.mktemp("digits")
    np.savez(folder / "train.npz", x=x[:160], y=y[:160])
    np.savez(folder / "test.npz", x=x[300:], y=y[300:])
    return folder


@pytest.fixture
def compiled(examples, once):
    """The folder of the small CNN; nobody changes it."""

    def make(folder):
        line = [str(examples / "digits_cnn.onnx"), "-o", str(folder / "base"), "-q", "--no-emit"]
        assert main(line) == 0

    return once("tune-base", make) / "base"


def tune(*line):
    return main(["tune", *(str(word) for word in line), "--threads", "1"])


def integers(folder):
    return integers_of(CompiledModel.load(folder))


def integers_of(compiled):
    return array_hashes(dump_program(compiled.program)[1])


# ------------------------------------------------------------------------------ with torch


@pytest.fixture
def with_torch():
    pytest.importorskip("torch", reason="torch is not installed (extra: tune)")


@pytest.mark.usefixtures("with_torch")
@pytest.mark.parametrize("coding", ["rate", "sync", "graded"])
def test_a_tuned_folder_is_a_compiled_folder(examples, labelled, tmp_path, coding, capsys):
    base, folder = tmp_path / "base", tmp_path / "tuned"
    model, test = examples / "digits_cnn.onnx", labelled / "test.npz"
    words = ["--coding", coding, "-T", "2", "--payload-bits", "3", "--emit", "lava"]
    words += ["--calibrate", str(examples / "digits_calibrate.npz"), "--evaluate", str(test)]
    assert main([str(model), "-o", str(base), "-q", *words]) == 0
    assert tune(base, "-o", folder, "--train", labelled / "train.npz", "--epochs", 2,
                "--evaluate", test, "--no-progress") == 0  # fmt: skip
    captured = capsys.readouterr()
    assert "untuned" in captured.out
    report = json.loads((folder / "report.json").read_text())
    stages = [rung["stage"] for rung in report["ladder"]]
    assert stages[-3:] == ["untuned", "fixed", "mapped"]
    found = report["tune"]
    assert len(found["curve"]) == 3
    assert found["best_epoch"] == max(range(3), key=lambda k: found["curve"][k]["merit"])
    epochs = [line for line in captured.err.splitlines() if line.startswith("  epoch ")]
    assert len(epochs) == 3
    marked = [line for line in epochs if line.endswith("best")][-1]
    assert marked == epochs[found["best_epoch"]]
    assert f"calibrated loss {-found['curve'][found['best_epoch']]['merit']:.4f}" in marked
    before, after = CompiledModel.load(base), CompiledModel.load(folder)
    assert after.report["tune"]["before"] == before.report["ladder"][-1]["top1"]
    assert ">Tuning</h2>" in (folder / "report.html").read_text()
    assert (folder / "lava").is_dir()
    assert not list(tmp_path.glob("*.checkpoint"))
    assert main(["verify", str(folder), "--against", "golden,engine"]) == 0
    again = tmp_path / "again"
    assert tune(folder, "-o", again, "--train", labelled / "train.npz", "--epochs", 1, "-q",
                "--no-emit") == 0  # fmt: skip
    assert not (again / "lava").exists()


@pytest.mark.usefixtures("with_torch")
@pytest.mark.parametrize("method", [name for name in METHODS if name != "normad"])
def test_a_model_file_is_compiled_first(examples, labelled, tmp_path, method):
    folder = tmp_path / "tuned"
    line = [examples / "digits_mlp.onnx", "-o", folder, "--method", method, "--epochs", 2, "-q"]
    line += ["--coding", "rate", "-T", 2, "--no-emit", "--train"]
    assert tune(*line, labelled / "none.npz") == 2
    assert tune(*line, labelled / "train.npz", "--evaluate", labelled / "test.npz") == 0
    known = json.loads((folder / "report.json").read_text())["tune"]
    assert known["method"] == method
    assert known["options"]["distill"] == 0.5
    assert known["before"] is not None
    assert known["after"] is not None


@pytest.mark.usefixtures("with_torch")
def test_a_network_tuned_before_it_is_converted(examples, labelled, tmp_path, capsys):
    """In sync coding its spike counts are the integers that were trained; a bad rate is told."""
    words = ["--coding", "sync", "-T", "2", "--calibrate", examples / "digits_calibrate.npz"]
    words += ["--train", labelled / "train.npz", "--evaluate", labelled / "test.npz", "--no-emit"]
    words += ["--method", "qcfs", "--epochs", 4, "--no-progress"]
    model = examples / "digits_mlp.onnx"
    assert tune(model, "-o", tmp_path / "tuned", *words) == 0
    assert "tuned-worse" not in capsys.readouterr().err
    found = json.loads((tmp_path / "tuned" / "report.json").read_text())["tune"]
    assert found["after"] >= found["before"] > 50
    assert found["judged_by"] == "the float network with quantized activations"
    assert found["kept"] == "tuned"
    plain = ["-o", tmp_path / "plain", "-q", *words[:6], "--evaluate", labelled / "test.npz"]
    assert main([str(word) for word in (model, *plain, "--no-emit")]) == 0
    ladders = [
        json.loads((tmp_path / name / "report.json").read_text())["ladder"]
        for name in ("plain", "tuned")
    ]
    untuned, tuned = ({rung["stage"]: rung["top1"] for rung in ladder} for ladder in ladders)
    stages = ["onnx", "folded", "untuned", "trained", "rate", "spiking", "fixed", "mapped"]
    assert list(tuned) == stages
    assert tuned["folded"] == untuned["folded"]
    assert tuned["untuned"] == untuned["fixed"] == found["before"]
    assert tuned["trained"] == pytest.approx(tuned["rate"], abs=1)
    assert main(["verify", str(tmp_path / "tuned"), "--against", "golden,engine"]) == 0


@pytest.mark.usefixtures("with_torch")
def test_stock_neurons_stay_stock(examples, labelled, tmp_path):
    """Biases keep their exponent and thresholds 17 bits, though other classes are to be learned."""
    from snn_compile.tune import tune_model

    words = ["--coding", "rate", "-T", "2", "--neurons", "stock", "--emit", "lava", "-q"]
    words += ["--calibrate", str(examples / "digits_calibrate.npz")]
    words += ["--evaluate", str(labelled / "test.npz")]
    base = tmp_path / "base"
    assert main([str(examples / "digits_mlp.onnx"), "-o", str(base), *words]) == 0
    before = CompiledModel.load(base)
    with np.load(labelled / "train.npz") as file:
        x, y = file["x"], (file["y"] + 1) % 10
    tuned = tune_model(
        base,
        (x, y),
        epochs=4,
        learning_rate=0.02,
        average=0.0,
        patience=0,
        threads=1,
    )
    assert integers_of(tuned) != integers_of(before)
    for node in tuned.program.populations:
        bias = node.bias.values
        assert (stock.rounded_bias(bias) == bias).all()
        if hasattr(node, "threshold"):
            assert node.threshold.values.max() <= stock.MAX_THRESHOLD
    tuned.save(tmp_path / "tuned")
    manifest = json.loads((tmp_path / "tuned" / "lava" / "manifest.json").read_text())
    assert "custom" not in json.dumps(manifest["layers"])
    assert "neurons" not in tuned.report


FEW = """inherits = "loihi2"
name = "small"
description = "a chip whose cores hold little"
"""
FIGURE = """[{name}]
value = {value}
unit = "{unit}"
source = "a test"
confidence = "assumed"
"""
REMEDIES = {
    "narrow sums": (
        [("core.input_axons", 40, "axons"), ("features.state_bits", 20, "bits")],
        [],
        "split-fan-in",
    ),
    "pruned": (
        [("core.input_axons", 40, "axons"), ("features.payload_bits", 0, "bits")],
        ["--coding", "rate", "-T", "4", "--allow-approximate"],
        "approximation",
    ),
    "wider weights": (
        [("features.weight_bits", [8], "bits")],
        ["--weight-bits", "6"],
        "weights-widened",
    ),
    "duplicated": (
        [("core.neurons", 4, "neurons"), ("core.output_axons", 6, "axons")],
        [],
        "sources-duplicated",
    ),
}


@pytest.mark.usefixtures("with_torch")
@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_network_that_was_fitted_fits_again(examples, labelled, tmp_path, remedy):
    """Partial sums are merged for training, and their states are wide when they are made again."""
    limits, words, code = REMEDIES[remedy]
    figures = "".join(FIGURE.format(name=n, value=v, unit=u) for n, v, u in limits)
    (tmp_path / "small.toml").write_text(FEW + figures)
    words = [*words, "--target", str(tmp_path / "small.toml"), "--no-emit", "-q"]
    words += ["--rounding", "nearest"]  # fitted weights are so good that training gains nothing
    words += ["--calibrate", str(examples / "digits_calibrate.npz")]
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    assert main([str(examples / "digits_mlp.onnx"), "-o", str(base), *words]) == 0
    assert code in {one["code"] for one in json.loads((base / "report.json").read_text())["fit"]}
    line = [base, "--train", labelled / "train.npz", "-o", tuned, "--epochs", "1", "-q"]
    assert tune(*line, "--patience", "0", "--average", "0") == 0
    assert integers(tuned) != integers(base)
    assert main(["verify", str(tuned), "--against", "golden,engine"]) == 0


@pytest.mark.usefixtures("with_torch")
def test_a_checkpoint_goes_where_the_folder_goes(examples, labelled, tmp_path):
    folder = tmp_path / "new" / "place" / "tuned"
    words = ["--train", labelled / "train.npz", "--epochs", 1, "-q", "--no-emit"]
    model = examples / "digits_mlp.onnx"
    assert tune(model, "-o", folder, "--coding", "rate", "-T", "1", *words) == 0
    assert [path.name for path in folder.parent.iterdir()] == ["tuned"]


@pytest.mark.usefixtures("with_torch")
@pytest.mark.parametrize("method", ["psg", "qcfs"])
def test_the_better_network_is_kept(examples, labelled, tmp_path, method):
    """Labels that are wrong by one: what was learned from them is worse on the right ones."""
    from snn_compile import CompileOptions, compile_model
    from snn_compile.tune import tune_model

    with np.load(labelled / "train.npz") as file:
        x, y = file["x"], file["y"]
    model, calibrate = examples / "digits_mlp.onnx", examples / "digits_calibrate.npz"
    compiling = CompileOptions(coding="sync", timesteps=2, emit=(), calibrate=calibrate)
    base = compile_model(model, options=compiling, evaluate=(x, y))
    training = {"epochs": 8, "learning_rate": 0.05, "patience": 0, "average": 0.0, "distill": 0.0}
    tuned = tune_model(
        model,
        (x, (y + 1) % 10),
        compile_options=compiling,
        evaluate=(x, y),
        method=method,
        threads=1,
        **training,
    )
    found, ladder = tuned.report["tune"], tuned.report["ladder"]
    assert found["kept"] == "untuned"
    assert found["after"] < found["before"] == ladder[-1]["top1"]
    assert integers_of(tuned) == integers_of(base)
    assert dict(tuned.provenance) == dict(base.provenance)
    (told,) = (one for one in tuned.report["warnings"] if one["code"] == "tuned-worse")
    assert f"--method {method}" not in told["hint"]
    tuned.save(tmp_path / "kept")
    assert main(["verify", str(tmp_path / "kept"), "--against", "golden,engine", "-q"]) == 0


def test_a_tuned_network_that_is_worse_is_told():
    assert worse(90.0, 90.0) == worse(None, 80.0) == worse(90.0, None) == []
    (finding,) = worse(90.06, 89.84)
    assert finding.warning
    assert finding.code == "tuned-worse"
    assert "90.06 % -> 89.84 %" in finding.message


@pytest.mark.usefixtures("with_torch")
def test_a_network_that_was_trained_with_spikes(tmp_path):
    pytest.importorskip("nir")
    from snn_compile import CompileOptions
    from snn_compile.tune import tune_model

    with np.load(FIXTURE.with_suffix(".npz")) as file:
        x, spikes = file["x"], file["spikes"]
    y = spikes.sum(axis=1).reshape(len(x), -1).argmax(axis=1)
    compiling = CompileOptions(timesteps=24, emit=(), nir_producer="snntorch", nir_reset="subtract")
    tuned = tune_model(
        FIXTURE, (x, y), compile_options=compiling, epochs=2, threads=1, evaluate=(x, y)
    )
    assert tuned.program.input.coding.value == "events"
    assert tuned.report["ladder"][-1]["stage"] == "mapped"
    tuned.save(tmp_path / "t")
    assert main(["verify", str(tmp_path / "t"), "--against", "golden,engine"]) == 0


@pytest.mark.usefixtures("with_torch")
def test_a_killed_training_goes_on_where_it_was(examples, labelled, tmp_path):
    base = tmp_path / "base"
    assert main([str(examples / "digits_mlp.onnx"), "-o", str(base), "-q", "--no-emit",
                 "--coding", "rate", "-T", "1", "--rounding", "nearest"]) == 0  # fmt: skip
    words = ["--train", labelled / "train.npz", "--epochs", 40, "--patience", 0, "-q"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert tune(base, "-o", whole, *words) == 0
    checkpoint = tmp_path / "killed.checkpoint"
    line = ["tune", base, "-o", killed, *words, "--threads", 1]
    code = f"from snn_compile.cli import main; main({[str(word) for word in line]!r})"
    paths = [str(ROOT / name) for name in ("toolchain", "frontends", "backends")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        while process.poll() is None and not checkpoint.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert checkpoint.exists()
    assert not killed.exists()
    assert tune(base, "-o", killed, *words) == 0
    assert integers(killed) == integers(whole) != integers(base)
    assert not checkpoint.exists()


@pytest.mark.usefixtures("with_torch")
@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("{base} --train {calibrate}", 2, "missing-labels"),
        ("{base} --train {train} --weight-bits 4", 2, "already compiled: weight-bits"),
        ("{base} --train {train} --method qcfs", 2, "before conversion"),
        ("{base} --train {train} --method qcfs --from-scratch", 2, "from-scratch cannot be"),
        ("{base} --train {train} --emit nir,nothing", 2, "unknown-backend"),
        ("{base} --train {train} --max-accuracy-drop 1", 2, "missing-data"),
        ("{base} --train {train} --device cuda", 2, "no-cuda"),
        ("{base} --train {train} --from-scratch", 4, "tune-from-scratch"),
        ("{base}x --train {train}", 2, "no-such-file"),
    ],
)
def test_what_is_refused(examples, labelled, compiled, tmp_path, capsys, line, code, message):
    if "cuda" in line:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
    words = line.format(
        base=compiled, train=labelled / "train.npz", calibrate=examples / "digits_calibrate.npz"
    )
    before = sorted(os.listdir(compiled.parent))
    assert tune(*words.split(), "-o", tmp_path / "out", "-q") == code
    assert message in capsys.readouterr().err
    assert sorted(os.listdir(compiled.parent)) == before
    assert os.listdir(tmp_path) == []


@pytest.mark.shared_data
@pytest.mark.usefixtures("with_torch")
def test_recorded_events_are_learned(shared_data, tmp_path):
    """N-MNIST, from random weights, by a file of events in place of x and y."""
    pytest.importorskip("nir")
    folder = tmp_path / "tuned"
    train, test = tmp_path / "train.npz", tmp_path / "test.npz"
    nmnist(shared_data, 0, 100, train)
    nmnist(shared_data, 100, 150, test)
    words = ["--nir-producer", "other", "--nir-reset", "zero", "-T", "20", "--emit", "lava"]
    words += ["--from-scratch", "--epochs", "20", "--batch-size", "16", "--patience", "0", "-q"]
    model = classifier(tmp_path / "net.nir", 8)
    assert tune(model, "-o", folder, "--calibrate", train, "--train", train, "--evaluate", test,
                *words) == 0  # fmt: skip
    found = json.loads((folder / "report.json").read_text())["tune"]
    assert found["train"] == 90
    assert found["after"] > 35 > 20 > found["before"]  # chance is 10; 50 recordings
    assert main(["verify", str(folder), "--against", "golden,engine"]) == 0


# ------------------------------------------------------------------------------ without


@pytest.mark.parametrize(
    "line",
    [
        "tune {model} --train a.npz --held-out h.npz --calibrate c.npz --evaluate e.npz",
        "compile {model} --calibrate c.npz --evaluate e.npz",
        "run d.snn --data a.npz",
        "verify d.snn --data a.npz",
    ],
)
def test_missing_files_are_named_before_any_work(examples, monkeypatch, capsys, line):
    """All of them, and before torch is imported: that alone takes seconds."""
    monkeypatch.setitem(sys.modules, "torch", None)
    words = line.format(model=examples / "digits_mlp.onnx").split()
    assert main([*words, "-q"]) == 2
    told = capsys.readouterr().err
    missing = [words[k : k + 2] for k, word in enumerate(words) if word.startswith("--")]
    assert told.count("error[no-such-file]") == 1
    for option, path in missing:
        assert path in told
        assert option in told


def test_without_torch_the_error_says_what_to_install(labelled, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    (model := tmp_path / "x.onnx").touch()
    assert tune(model, "--train", labelled / "train.npz", "-o", tmp_path / "o") == 2
    said = capsys.readouterr().err
    assert "error[missing-package]" in said
    assert "pip install 'snn-compile[tune]'" in said


def test_all_complaints_about_options_at_once():
    with pytest.raises(CompileErrors) as caught:
        TuneOptions(method="magic", epochs=0, hold_out=1.0, surrogate="step", pda=-1.0)
    assert len(caught.value.errors) == 5
    assert {error.code for error in caught.value.errors} == {"bad-option"}
    with pytest.raises(UsageError, match="learning-rate"):
        TuneOptions(learning_rate=2.0)


def test_every_surrogate_has_a_shape():
    pytest.importorskip("torch")
    from snn_compile.tune.surrogates import SHAPES

    assert tuple(SHAPES) == SURROGATES
