"""Devices on another host: what comes back, and what is said when nothing does."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snn_compile.cli import main
from snn_compile.hil.recording import Recording

N = 12


@pytest.fixture(scope="module")
def compiled(digits_folder: Callable[..., Path]) -> Path:
    return digits_folder("--no-emit", "--coding", "rate", "-T", "4")


def hil(folder: Path, *words: str) -> int:
    return main(["hil", str(folder), "--quiet", "--stimuli", str(N), *words])


@pytest.fixture(scope="module")
def recorded(compiled: Path) -> Path:
    path = compiled.parent / "right.npz"
    assert hil(compiled, "--device", "reference", "--record", str(path)) == 0
    return path


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
        (["remote:me@lab", "--set", "command=snn-kompile"], "remote-failed", "not installed"),
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
        ("cp {recorded} trace.npz", "recorded with different stimuli"),
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


@pytest.mark.parametrize("stream", ["", " >&2"], ids=["trace", "log"])
def test_a_host_that_sends_without_end_is_stopped(compiled, tmp_path, capsys, stream):
    endless = tmp_path / "endless"
    endless.write_text(f"while head -c 1000000 /dev/zero{stream}; do :; done\n")
    words = ["--device", "remote:me@lab", "--set", f"ssh=sh {endless}", "--time-limit", "60"]
    assert hil(compiled, *words) == 8
    err = capsys.readouterr().err
    assert "error[remote-failed]" in err
    assert "me@lab sent more than" in err


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
