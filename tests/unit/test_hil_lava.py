"""Lava as a device; killed in the middle, it leaves nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from snn_backends.lava.device import board_variables
from snn_backends.lava.runner import run_emitted
from snn_compile.cli import main
from snn_compile.errors import DeviceError, UsageError

SHARED = Path("/dev/shm")


def test_boards_are_named_by_the_variables_that_lava_reads():
    assert board_variables("", {}) == {}
    assert board_variables("loihi2", {"partition": "oheogulch", "board": "ncl-1"}) == {
        "LOIHI_GEN": "N3B3",
        "SLURM": "1",
        "PARTITION": "oheogulch",
        "BOARD": "ncl-1",
    }
    assert board_variables("loihi1", {"host": "10.0.0.7"}) == {
        "LOIHI_GEN": "N2A2",
        "NOSLURM": "1",
        "NXSDKHOST": "10.0.0.7",
        "HOST_BINARY": "nxcore/bin/nx_driver_server",
    }
    assert board_variables("loihi2", {"generation": "N3C1"})["LOIHI_GEN"] == "N3C1"
    with pytest.raises(UsageError, match="simulation is selected"):
        board_variables("", {"board": "ncl-1"})


@pytest.fixture(scope="module")
def compiled(digits_folder: Callable[..., Path]) -> Path:
    return digits_folder("--coding", "signed", "-T", "8")


def test_without_the_environment_it_is_missing(compiled, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SNN_COMPILE_LAVA_ENV", str(tmp_path / "none"))
    monkeypatch.delenv("SNN_COMPILE_LAVA_PYTHON", raising=False)
    assert main(["hil", str(compiled), "--device", "lava", "-q"]) == 8
    assert "error[lava-missing]" in capsys.readouterr().err


@pytest.mark.lava
def test_lava_is_equal_and_its_recording_is_replayed(compiled, lava_environment, tmp_path, capsys):
    path = tmp_path / "lava.npz"
    words = ["--device", "lava", "--stimuli", "6", "--record", str(path), "--json", "-q"]
    assert main(["hil", str(compiled), *words]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["against"], said["equal"], said["stimuli"]) == ("lava", True, 6)
    assert "lava-nc 0.10.0" in said["mode"]
    assert main(["hil", str(compiled), "--replay", str(path), "--device", "lava", "-q"]) == 0
    assert main(["diff", str(compiled), str(path), "-q"]) == 0


@pytest.mark.lava
def test_hardware_that_is_not_there_is_one_clear_line(compiled, lava_environment, capsys):
    """Without Intel's extension; Lava itself would end with a NameError."""
    assert main(["hil", str(compiled), "--device", "lava", "--hardware", "-q"]) == 8
    err = capsys.readouterr().err
    assert "error[no-hardware]: the Lava environment lacks the lava-loihi extension" in err
    assert "NameError" not in err
    assert len(err.strip().splitlines()) == 2  # the line and its hint


@pytest.mark.lava
def test_the_emitted_runner_says_so_too(compiled, lava_environment, tmp_path):
    command = lava_environment.command(compiled / "lava" / "run.py")
    stimulus = compiled / "golden" / "stimulus.npz"
    words = [str(stimulus), "-o", str(tmp_path / "out"), "--hardware", "loihi2"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 8
    (line,) = done.stderr.strip().splitlines()
    assert line == "there is no lava-loihi extension in this environment: Lava cannot reach a chip"
    assert not (tmp_path / "out").exists()


@pytest.mark.lava
def test_a_runner_that_finds_no_chip_is_not_a_failure_of_lava(compiled, lava_environment, tmp_path):
    """The extension may be gone between the question and the run."""
    stimulus = compiled / "golden" / "stimulus.npz"
    with pytest.raises(DeviceError, match="no lava-loihi extension") as caught:
        run_emitted(
            lava_environment,
            compiled / "lava",
            stimulus,
            tmp_path,
            time_limit=300.0,
            hardware="loihi1",
        )
    assert caught.value.code == "no-hardware"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(("chip", "generation"), [("loihi2", "N3B3"), ("loihi1", "N2A2")])
@pytest.mark.parametrize("named", [None, "N3C1"])
def test_the_emitted_runner_takes_the_configuration_of_the_chip(
    compiled, monkeypatch, chip, generation, named
):
    """With the extension: which of Lava's configurations; LOIHI_GEN only if it is open."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the folder is read again, and checked
    made = []

    def module(name, **content):
        fake = ModuleType(name)
        fake.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, fake)
        return fake

    configurations = module("lava.magma.core.run_configs")
    for kind in ("Loihi2SimCfg", "Loihi2HwCfg", "Loihi1HwCfg"):
        setattr(configurations, kind, lambda kind=kind, **given: made.append((kind, given)))
    module("lava.magma.core", run_configs=configurations)
    module("lava.utils", loihi=SimpleNamespace(is_installed=lambda: True))
    monkeypatch.setattr(os, "environ", {} if named is None else {"LOIHI_GEN": named})
    spec = importlib.util.spec_from_file_location("emitted_run", compiled / "lava" / "run.py")
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    runner.require_chip(chip)
    runner.configuration(chip)
    runner.configuration(None)
    expected = f"Loihi{chip[-1]}HwCfg"
    given = {"select_tag": "fixed_pt"}
    assert made == [(expected, given), ("Loihi2SimCfg", given)]
    assert os.environ["LOIHI_GEN"] == (named or generation)


def processes(mark: str) -> dict[int, list[str]]:
    """Processes whose command line holds a mark, but for this one."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if any(mark in word for word in words) and int(path.parent.name) != os.getpid():
            found[int(path.parent.name)] = words
    return found


def until(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.lava
@pytest.mark.skipif(not SHARED.is_dir(), reason="looks into /dev/shm and /proc")
@pytest.mark.parametrize("victim", ["lava", "tool"])
def test_killed_in_the_middle_nothing_is_left(compiled, lava_environment, tmp_path, victim):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = "import sys; from snn_compile.cli import main; sys.exit(main())"
    line = ["hil", str(compiled), "--device", "lava", "-q", "--record", str(tmp_path / "t.npz")]
    paths = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"PYTHONPATH": paths, "TMPDIR": str(scratch)}
    command = [sys.executable, "-c", code, *line]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as tool:

        def running() -> list[int]:
            """Lava's own processes: they have the copy's runner as their script, and its token."""
            there = processes(str(scratch)).items()
            return sorted(pid for pid, words in there if "-c" in words)

        until(lambda: tool.poll() is not None or len(running()) > 4)  # a process for each layer
        assert tool.poll() is None, tool.stderr and tool.stderr.read()
        main_one = running()[0]
        words = processes(str(scratch))[main_one]
        token = words[words.index("-c") + 2]
        until(lambda: list(SHARED.glob(f"psm_{token}_*")))
        os.kill(main_one if victim == "lava" else tool.pid, signal.SIGKILL)
        assert tool.stderr is not None
        err = tool.stderr.read()
        status = tool.wait(300)
    until(lambda: not processes(str(compiled)) and not processes(str(scratch)))
    until(lambda: not list(SHARED.glob(f"psm_{token}_*")))
    if victim == "lava":
        assert status == 8
        assert "error[lava-failed]" in err
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == ["scratch"]
