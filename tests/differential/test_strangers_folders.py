"""A compiled folder may come from a stranger: what lies in it is compared and never run."""

from __future__ import annotations

import json
import os
import py_compile
import secrets
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from snn_backends.oracles import NengoLoihiDevice
from snn_backends.oracles import device as oracles
from snn_compile.cli import main
from snn_compile.errors import DeviceError
from snn_compile.hil.devices.remote import RemoteDevice


@pytest.fixture(scope="module")
def compiled(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strangers") / "digits.snn"
    assert main([str(examples / "digits_cnn.onnx"), "-o", str(folder), "-q"]) == 0
    return folder


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def folder(compiled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(compiled, tmp_path / "digits.snn")


def leaves(marker: Path) -> str:
    """Code that shows that it was run."""
    return f"open({str(marker)!r}, 'w').close()\n"


def added_package(lava: Path, code: str) -> None:
    (lava / "numpy").mkdir()
    (lava / "numpy" / "__init__.py").write_text(code)


def bytecode(lava: Path, code: str) -> None:
    """Python takes a module without a source from such a file."""
    source = lava.parent.parent / "scipy.py"
    source.write_text(code)
    py_compile.compile(str(source), str(lava / "scipy.pyc"), doraise=True)


def cached_bytecode(lava: Path, code: str) -> None:
    """Valid for the source that is there: the interpreter would not look at the source's text."""
    source = lava / "layout.py"
    text = source.read_text()
    source.write_text(code + text)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    cached = lava / "__pycache__" / "layout.cpython-310.pyc"
    py_compile.compile(str(source), str(cached), doraise=True, invalidation_mode=mode)
    source.write_text(text)


def linked_file(lava: Path, code: str) -> None:
    """The content is right when it is compared."""
    outside = lava.parent.parent / "layout.py"
    shutil.move(lava / "layout.py", outside)
    (lava / "layout.py").symlink_to(outside)


def linked_folder(lava: Path, code: str) -> None:
    outside = lava.parent.parent / "elsewhere"
    shutil.move(lava, outside)
    lava.symlink_to(outside)


def edited_processes(lava: Path, code: str) -> None:
    path = lava / "processes" / "neurons.py"
    path.write_text(path.read_text() + code)


def edited_runner(lava: Path, code: str) -> None:
    path = lava / "run.py"
    path.write_text(code + path.read_text())


def named_file(lava: Path, code: str) -> None:
    """What is not code is not left there, either."""
    (lava / "notes.txt").write_text(code)


CHANGES = {
    "added-package": (added_package, "numpy is not an emitted file"),
    "bytecode": (bytecode, "scipy.pyc is not an emitted file"),
    "cached-bytecode": (cached_bytecode, "__pycache__ is not an emitted file"),
    "linked-file": (linked_file, "layout.py is not an emitted file"),
    "linked-folder": (linked_folder, ". is not an emitted file"),
    "edited-processes": (edited_processes, "processes/neurons.py differs"),
    "edited-runner": (edited_runner, "run.py differs"),
    "added-file": (named_file, "notes.txt is not an emitted file"),
}


@pytest.mark.lava
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("command", ["verify", "hil"])
def test_a_changed_folder_is_refused_before_anything_runs(
    lava_environment, folder, marker, capsys, change, command
):
    edit, said = CHANGES[change]
    edit(folder / "lava", leaves(marker))
    words = {"verify": ["--against", "lava", "--stimuli", "1"], "hil": ["--device", "lava"]}
    status = main([command, str(folder), *words[command], "-q"])
    assert not marker.exists()
    assert status == 7
    assert said in capsys.readouterr().err


def test_what_has_been_removed_is_missed(folder, capsys):
    """The seal says what was written: whatever the report says, and whatever is asked for."""
    shutil.rmtree(folder / "lava")
    report = json.loads((folder / "report.json").read_text())
    report["options"]["emit"]["value"] = []
    (folder / "report.json").write_text(json.dumps(report))
    words = ["verify", str(folder), "--stimuli", "1", "-q"]
    for more in ([], ["--against", "lava"], ["--against", "golden"]):
        assert main([*words, *more]) == 7
        assert "lava/ is missing, and the seal lists it" in capsys.readouterr().err
    assert "lava/ is missing" in (folder / "report.json").read_text()


def test_a_folder_without_a_report_does_not_verify(folder, capsys):
    (folder / "report.json").unlink()
    assert main(["verify", str(folder), "--against", "golden", "-q"]) == 7
    assert "error[incomplete-report]" in capsys.readouterr().err


@pytest.mark.lava
def test_nothing_in_the_working_folder_is_run(lava_environment, folder, marker, monkeypatch):
    """Nor what variables name."""
    place = folder.parent / "here"
    place.mkdir()
    for name in ("numpy", "json", "platform", "scipy", "lava", "sitecustomize", "usercustomize"):
        (place / f"{name}.py").write_text(leaves(marker))
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", str(place))
    monkeypatch.setenv("PYTHONSTARTUP", str(place / "numpy.py"))
    assert main(["verify", str(folder), "--against", "lava", "--stimuli", "1", "-q"]) == 0
    assert not marker.exists()


def test_emulators_do_not_look_into_the_working_folder(tmp_path, marker, monkeypatch):
    for name in ("nengo_loihi", "importlib"):
        (tmp_path / f"{name}.py").write_text(leaves(marker))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(NengoLoihiDevice.variable, sys.executable)
    with pytest.raises(DeviceError, match="cannot import it"):
        NengoLoihiDevice()._found()
    assert not marker.exists()


def test_an_isolated_emulator_finds_its_own_module():
    script = oracles.CHILDREN / "run_nengo_loihi.py"
    stubs = ["nengo_loihi", *(f"nengo_loihi.{name}" for name in ("block", "emulator", "inputs"))]
    code = (
        "import runpy, sys; from unittest.mock import MagicMock;"
        f" sys.modules.update({{name: MagicMock() for name in {stubs!r}}});"
        f" print(runpy.run_path({str(script)!r})['main'].__module__)"
    )
    command = [sys.executable, *oracles.ISOLATED, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=os.sep)
    assert done.stdout.strip() == "read_network"


def test_reports_are_not_written_through_a_link(folder, tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("dear")
    monkeypatch.setattr(secrets, "token_hex", lambda n: "ab" * n)  # a stranger who could guess it
    for name in (".report.json.abababab.new", ".report.html.abababab.new"):
        (folder / name).symlink_to(victim)
    (folder / "report.html").unlink()
    (folder / "report.html").symlink_to(victim)
    assert main(["verify", str(folder), "--against", "golden", "--stimuli", "1", "-q"]) == 0
    assert victim.read_text() == "dear"
    (folder / ".report.json.lock").symlink_to(victim)
    assert main(["verify", str(folder), "--against", "golden", "--stimuli", "1", "-q"]) == 2
    assert victim.read_text() == "dear"


def test_links_are_not_sent_to_another_host(folder, tmp_path):
    (tmp_path / "secret").write_text("mine")
    (folder / "key").symlink_to(tmp_path / "secret")
    device = RemoteDevice("me@host")
    device._network = folder
    with (tmp_path / "sent.tar").open("wb") as stream:
        device._send(np.zeros((1, 1), np.int64), stream)
    with tarfile.open(tmp_path / "sent.tar") as archive:
        members = archive.getmembers()
    assert len(members) > 5
    assert all(member.isfile() for member in members)
    assert "network/key" not in {member.name for member in members}
