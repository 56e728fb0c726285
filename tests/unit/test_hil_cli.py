"""``hil`` and ``diff`` from the command line: what they say, and the exit codes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.cli.hil import form_of
from snn_compile.cli.verify import record
from snn_compile.hil.recording import Recording
from snn_compile.hil.verification import Verification

N = 12


@pytest.fixture(scope="module")
def compiled(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hil") / "cnn.snn"
    data = examples / "digits_calibrate.npz"
    line = [str(examples / "digits_cnn.onnx"), "--calibrate", str(data), "-o", str(folder)]
    assert main([*line, "--quiet", "--no-emit", "--coding", "rate", "-T", "8"]) == 0
    return folder


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


SSH = """#!{python}
import os, sys
words = sys.argv[1:]
host, script = words[words.index("--") + 1 :]
if host == "nobody@nowhere":
    print("ssh: could not resolve hostname nowhere", file=sys.stderr)
    sys.exit(255)
if host == "chatty@lab":
    print("Welcome to the laboratory", flush=True)
open(os.environ["SSH_LOG"], "a").write(host + "\\n")
os.environ["PATH"] = {path!r} + os.pathsep + os.environ["PATH"]
os.execvp("sh", ["sh", "-c", script])
"""
TOOL = """#!{python}
import sys
from snn_compile.cli import main
sys.exit(main())
"""


@pytest.fixture
def far(tmp_path, monkeypatch):
    """A fake ssh in PATH that runs here what it is told to run there, in a folder of its own."""
    here, there = tmp_path / "here", tmp_path / "there"
    for path, name, text in ((here, "ssh", SSH), (there, "snn-compile", TOOL)):
        path.mkdir()
        program = path / name
        program.write_text(text.format(python=sys.executable, path=str(there)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SSH_LOG", str(tmp_path / "log"))
    (tmp_path / "work").mkdir()
    return tmp_path


def test_a_device_on_another_host(compiled, far, capsys):
    work = far / "work"
    for device, code in (("reference", 0), ("faulty:no-bias@relu2", 7)):
        words = ["--device", f"remote:me@lab:{work}", "--set", f"device={device}", "--json"]
        assert hil(compiled, *words, "--record", str(far / "trace.npz")) == code
        said = json.loads(capsys.readouterr().out)
        assert said["stimuli"] == N
        assert said["equal"] is (code == 0)
        assert f"device {device}" in said["mode"]
        if code:
            assert said["diagnoses"][0]["causes"][0]["kind"] == "no-bias"
    assert (far / "log").read_text() == "me@lab\n" * 2
    assert os.listdir(work) == []  # nothing is left there
    with Recording.open(far / "trace.npz") as recording:
        assert recording.header.about.device == f"remote:me@lab:{work}"


def test_a_device_that_is_lost_far_away(compiled, far, capsys):
    words = ["--device", f"remote:me@lab:{far / 'work'}", "--set", "device=faulty:crash"]
    path = far / "trace.npz"
    assert hil(compiled, *words, "--record", str(path)) == 8
    err = capsys.readouterr().err
    assert "error[trace-incomplete]" in err
    assert "exit status 70" in err
    with Recording.open(far / "trace.partial.npz") as recording:
        assert recording.header.recorded == N // 2
    assert os.listdir(far / "work") == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["remote:nobody@nowhere"], "no-connection", "could not resolve"),
        (["remote:me@lab", "--set", "device=toaster"], "remote-failed", "no device named"),
        (["remote:me@lab", "--set", "command=snn-kompile"], "remote-failed", "no snn-compile"),
        (["remote:me@lab:/nowhere/at/all"], "remote-failed", "exit status 73"),
        (["remote:me@lab", "--set", "ssh=no-such-ssh -v"], "no-ssh", "no-such-ssh"),
    ],
)
def test_hosts_that_cannot_be_used(compiled, far, capsys, words, code, said):
    assert hil(compiled, "--device", *words) == 8
    err = capsys.readouterr().err
    assert f"error[{code}]" in err
    assert said in err


BROKEN = """#!/bin/sh
printf 'the board \\033[2Jis on fire\\n' >&2
{body}
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 0", "recorded nothing; exit status 0"),
        ("exit 7", "recorded nothing; exit status 7"),
        ("exit 2", "recorded nothing; exit status 2"),
        ("printf '\\033[2Jhello' > trace.npz", r"begins with b'\x1b[2Jhello'"),
        ("printf 'PK garbage' > trace.npz; exit 7", "damaged or cut off"),
        ("head -c 900 {recorded} > trace.npz", "damaged or cut off"),
        ("cp {recorded} trace.npz", "recorded for other stimuli"),
    ],
    ids=["nothing", "nothing-differs", "fails", "text", "no-archive", "cut", "other-stimuli"],
)
def test_a_host_that_sends_no_trace_is_a_lost_device(
    compiled, far, recorded, examples, capsys, body, said
):
    """The host's own words are shown, harmless, and no path that is gone by then."""
    tool = far / "there" / "broken"
    tool.write_text(BROKEN.format(body=body.format(recorded=recorded)))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    data = ["--data", str(examples / "digits_calibrate.npz")] if "cp" in body else []
    words = ["--device", f"remote:me@lab:{far / 'work'}", "--set", "command=broken"]
    assert hil(compiled, *words, *data) == 8
    err = capsys.readouterr().err
    assert "error[remote-failed]" in err
    assert said in err
    assert r"the board \x1b[2Jis on fire" in err
    assert "snn-compile-remote-" not in err
    assert os.listdir(far / "work") == []


def test_a_host_that_greets_is_told_apart_from_a_trace(compiled, far, capsys):
    assert hil(compiled, "--device", "remote:chatty@lab", "--set", "device=reference") == 8
    err = capsys.readouterr().err
    assert "error[remote-failed]" in err
    assert "b'Welcome to the laboratory" in err
    assert "login scripts" in err


def test_a_partial_trace_from_far_away_names_the_host(compiled, far, capsys):
    words = ["--device", f"remote:me@lab:{far / 'work'}", "--set", "device=faulty:crash"]
    assert hil(compiled, *words) == 8
    err = capsys.readouterr().err
    assert "me@lab: error[trace-incomplete]" in err
    assert "snn-compile-remote-" not in err


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
