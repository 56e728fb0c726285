"""``hil`` and ``diff`` from the command line: what they say, and the exit codes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.cli.hil import form_of
from snn_compile.cli.report import record
from snn_compile.hil.recording import Recording
from snn_compile.hil.verification import Verification

N = 12


@pytest.fixture(scope="module")
def compiled(digits_folder: Callable[..., Path]) -> Path:
    return digits_folder("--no-emit", "--coding", "rate", "-T", "8")


def hil(folder: Path, *words: str) -> int:
    return main(["hil", str(folder), "--quiet", "--stimuli", str(N), *words])


@pytest.fixture(scope="module")
def recorded(compiled: Path) -> Path:
    path = compiled.parent / "right.npz"
    assert hil(compiled, "--device", "reference", "--record", str(path)) == 0
    return path


@pytest.fixture(scope="module")
def wrong(compiled: Path) -> Path:
    path = compiled.parent / "wrong.npz"
    assert hil(compiled, "--device", "faulty:flipped-kernel@relu2", "--record", str(path)) == 7
    return path


def test_equal(compiled, capsys):
    assert hil(compiled, "--device", "reference") == 0
    out = capsys.readouterr().out
    assert "equal, bit for bit" in out
    report = json.loads((compiled / "report.json").read_text())
    (row,) = [e for e in report["verification"] if e["against"] == "reference"]
    assert (row["equal"], row["stimuli"], row["first_divergence"]) == (True, N, None)


def test_every_build_of_the_engine_is_a_device(compiled, build, capsys):
    assert hil(compiled, "--device", f"engine:{build}", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["against"], said["mode"]) == (f"engine:{build}", f"build {build}")
    assert said["equal"] is True


def test_forms_of_a_device_do_not_replace_each_other(compiled):
    """In the reports: other options, and what ``verify`` found, are rows of their own."""
    folder = compiled.parent / "forms.snn"
    shutil.copytree(compiled, folder)

    def rows(against):
        report = json.loads((folder / "report.json").read_text())
        return [(e["form"], e["steps"]) for e in report["verification"] if e["against"] == against]

    outcome = Verification("lava", "m", 1, 1, 1, True)
    for form, steps in (("", 1), ("device", 2), ("device, synapses=conv", 3), ("device", 4)):
        report = json.loads((folder / "report.json").read_text())
        record(folder, report, [replace(outcome, form=form, steps=steps)])
    assert rows("lava") == [("", 1), ("device, synapses=conv", 3), ("device", 4)]
    assert form_of({}) == "device"
    assert form_of({"synapses": "conv", "hardware": "loihi2"}) == (
        "device, hardware=loihi2, synapses=conv"
    )
    assert hil(folder, "--device", "reference") == 0
    assert [form for form, _ in rows("reference")] == ["device"]


def test_without_an_engine_the_device_is_missing(compiled, monkeypatch, capsys):
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "off")
    assert hil(compiled, "--device", "engine") == 8
    assert "error[no-engine]" in capsys.readouterr().err


def test_a_fault_is_shown_with_its_cause(compiled, capsys):
    assert hil(compiled, "--device", "faulty:no-bias@relu2") == 7
    out, err = capsys.readouterr()
    for words in ("differs: layer 'relu2'", "the bias is missing", "fed by", "relu1"):
        assert words in out
    assert "error[not-equal]" in err
    assert "hint: likely cause: 'relu2': the bias is missing" in err
    report = json.loads((compiled / "report.json").read_text())
    assert not [e for e in report["verification"] if e["against"].startswith("faulty")]


def test_a_fault_for_scripts(compiled, capsys):
    assert hil(compiled, "--device", "faulty:silent", "--json") == 7
    said = json.loads(capsys.readouterr().out)
    (one,) = said["diagnoses"]
    assert one["causes"][0]["kind"] == "silent"
    assert one["first_divergence"]["layer"] == said["first_divergence"]["layer"] == one["layer"]
    assert len(one["synapses"]) <= 10
    assert sum(layer["differing"] for layer in said["layers"]) > 0
    assert said["accuracy"]["agreement"] <= 100


def test_accuracy_is_that_of_the_device(compiled, examples, capsys):
    data = examples / "digits_evaluate.npz"
    words = ["--device", "faulty:flipped-kernel", "--data", str(data), "--json"]
    assert main(["hil", str(compiled), "--quiet", *words]) == 7
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    assert accuracy["top1"] < accuracy["reference"]
    with np.load(data) as samples:
        right = CompiledModel.load(compiled).run(samples["x"]).argmax(1) == samples["y"]
    assert accuracy["reference"] == pytest.approx(100 * right.mean())


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("hang", "device-timeout"),
        ("crash", "device-crashed"),
        ("truncated", "device-incomplete"),
    ],
)
def test_a_device_that_is_lost_keeps_what_it_had_done(compiled, tmp_path, capsys, kind, code):
    words = ["--device", f"faulty:{kind}", "--record", str(tmp_path / "board.npz")]
    kept = f"{N // 2} stimuli are in {tmp_path / 'board.partial.npz'}"
    for limit in (5, 50, 500) if kind == "hang" else (500,):
        assert hil(compiled, *words, "--time-limit", str(limit)) == 8
        out, err = capsys.readouterr()
        assert f"error[{code}]" in err
        if kept in err:  # else the machine is too busy to get so far so soon
            break
    assert kept in err
    assert "equal as far as it went" in out
    with Recording.open(tmp_path / "board.partial.npz") as recording:
        assert recording.header.recorded == N // 2
        assert not recording.header.complete
    assert os.listdir(tmp_path) == ["board.partial.npz"]
    assert hil(compiled, "--replay", str(tmp_path / "board.partial.npz")) == 8
    assert "error[trace-incomplete]" in capsys.readouterr().err
    assert main(["diff", str(compiled), str(tmp_path / "board.partial.npz"), "-q"]) == 8


def test_replay(compiled, recorded, wrong, capsys):
    assert main(["hil", str(compiled), "--replay", str(recorded), "-q"]) == 0
    assert f"{N} stimuli" in capsys.readouterr().out
    assert main(["hil", str(compiled), "--device", f"replay:{recorded}", "-q"]) == 0
    capsys.readouterr()
    assert main(["hil", str(compiled), "--replay", str(wrong), "--json", "-q"]) == 7
    said = json.loads(capsys.readouterr().out)
    assert said["against"] == "faulty:flipped-kernel@relu2"
    assert said["diagnoses"][0]["causes"][0]["kind"] == "flipped-kernel"
    words = ["--replay", str(recorded), "--device"]
    assert main(["hil", str(compiled), *words, "reference", "-q"]) == 0
    assert main(["hil", str(compiled), *words, "lava", "-q"]) == 2
    assert "error[other-device]" in capsys.readouterr().err


def test_a_trace_of_another_network_or_other_data_is_refused(
    compiled, recorded, examples, tmp_path, capsys
):
    other = tmp_path / "other.snn"
    line = [str(examples / "digits_cnn.onnx"), "-o", str(other), "--quiet", "--no-emit"]
    assert main([*line, "--coding", "rate", "-T", "8", "--weight-bits", "6"]) == 0
    for words in (
        ["hil", str(other), "--replay", str(recorded)],
        ["diff", str(other), str(recorded)],
    ):
        assert main([*words, "-q"]) == 2
        assert "error[other-network]" in capsys.readouterr().err
    data = str(examples / "digits_calibrate.npz")  # the golden stimuli are of the other file
    assert main(["hil", str(compiled), "--replay", str(recorded), "--data", data, "-q"]) == 2
    assert "error[other-stimulus]" in capsys.readouterr().err
    assert main(["diff", str(compiled), str(recorded), "--data", data, "-q"]) == 2
    assert "error[other-stimulus]" in capsys.readouterr().err


def test_damaged_traces(compiled, recorded, tmp_path, capsys):
    cut = tmp_path / "cut.npz"
    cut.write_bytes(recorded.read_bytes()[:-400])
    assert main(["hil", str(compiled), "--replay", str(cut), "-q"]) == 8
    assert "error[trace-damaged]" in capsys.readouterr().err
    assert main(["diff", str(recorded), str(cut), "-q"]) == 8
    (tmp_path / "text").write_text("hello")
    assert main(["hil", str(compiled), "--replay", str(tmp_path / "text"), "-q"]) == 2
    assert main(["diff", str(compiled), str(tmp_path / "nothing"), "-q"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_diff_of_two_traces(recorded, wrong, compiled, capsys):
    assert main(["diff", str(recorded), str(recorded), "-q"]) == 0
    assert "equal, bit for bit" in capsys.readouterr().out
    assert main(["diff", str(recorded), str(wrong), "--json", "-q"]) == 7
    said = json.loads(capsys.readouterr().out)
    assert said["equal"] is False
    assert said["first_divergence"]["layer"] == "relu2"
    assert main(["diff", str(wrong), str(recorded), "--json", "-q"]) == 7
    turned = json.loads(capsys.readouterr().out)["first_divergence"]
    assert turned["expected"] == said["first_divergence"]["actual"]


def test_diff_with_a_folder_says_why(recorded, wrong, compiled, capsys):
    for pair in ((compiled, recorded), (recorded, compiled)):
        assert main(["diff", *map(str, pair), "-q"]) == 0
    capsys.readouterr()
    assert main(["diff", str(compiled), str(wrong), "-q"]) == 7
    assert "the kernel is flipped" in capsys.readouterr().out
    assert main(["diff", str(compiled), str(compiled), "-q"]) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "usage"),
        (["--device", "toaster"], "unknown-device"),
        (["--device", "reference:5"], "bad-device"),
        (["--device", "reference", "--set", "a=1"], "bad-device"),
        (["--device", "reference", "--set", "a"], "usage"),
        (["--device", "faulty:nothing"], "bad-device"),
        (["--device", "faulty:no-bias@nowhere"], "bad-device"),
        (["--device", "replay"], "bad-device"),
        (["--device", "remote"], "bad-device"),
        (["--device", "engine:mmx"], "no-engine"),
        (["--device", "lava"], "not-emitted"),
        (["--device", "lava", "--set", "board=x"], "bad-device"),
        (["--device", "reference", "--hardware"], "bad-device"),
        (["--device", "reference", "--tolerance", "1"], "bad-option"),
    ],
)
def test_what_cannot_be_asked_for(compiled, compiled_engine, capsys, words, code):
    assert hil(compiled, *words) == 2
    assert f"error[{code}]" in capsys.readouterr().err


def test_a_tie_names_the_stimulus_that_decides_it(compiled, capsys):
    """With that stimulus, one of the weights is left."""
    line = ["hil", str(compiled), "-q", "--device", "faulty:weight-bit@logits", "--stimuli"]
    assert main([*line, "1", "--json"]) == 7
    (one,) = json.loads(capsys.readouterr().out)["diagnoses"]
    tie = one["undecided"]
    assert tie["causes"] > 1
    assert {cause["kind"] for cause in one["causes"][: tie["causes"]]} == {"weight-bit"}
    assert main([*line, "1"]) == 7
    said = f"stimulus {tie['stimulus']}, shown in a run from 0 on, would tell them apart"
    assert said in " ".join(capsys.readouterr().out.split())
    assert main([*line, str(tie["stimulus"] + 1), "--json"]) == 7
    (one,) = json.loads(capsys.readouterr().out)["diagnoses"]
    assert one["undecided"] is None
    assert one["causes"][0]["kind"] == "weight-bit"


def test_diff_names_the_stimulus_that_decides_a_tie(compiled, tmp_path, capsys):
    path = tmp_path / "one.npz"
    words = ["--device", "faulty:weight-bit@logits", "--stimuli", "1", "--record", str(path), "-q"]
    assert main(["hil", str(compiled), *words, "--json"]) == 7
    (one,) = json.loads(capsys.readouterr().out)["diagnoses"]
    assert main(["diff", str(compiled), str(path), "-q", "--json"]) == 7
    (other,) = json.loads(capsys.readouterr().out)["diagnoses"]
    assert other["undecided"] == one["undecided"]
