"""Finding an interpreter for Lava, with stand-ins for interpreters."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from snn_backends.lava import environment
from snn_compile.errors import DeviceError


def fake_python(path: Path, version: str, lava: str = "0.10.0", needs: str = "") -> Path:
    """A script that answers like an interpreter, with ``needs`` only for that PYENV_VERSION."""
    versions = json.dumps({"python": version, "numpy": "1.26.4", "lava-nc": lava})
    guard = f'[ "$PYENV_VERSION" = "{needs}" ] || exit 127\n' if needs else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    real = path if not needs else path.with_name(f"{path.name}-real")
    body = (
        'for word in "$@"; do case "$word" in\n'
        f"  *sys.executable*) echo {real}; exit 0;;\n"
        f"  *importlib*) echo '{versions}'; exit 0;;\n"
        "esac; done; exit 1\n"
    )
    for target, prefix in ((path, guard), (real, "")) if needs else ((path, ""),):
        target.write_text(f"#!/bin/sh\n{prefix}{body}")
        target.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    for name in (environment.PYTHON_VARIABLE, environment.FOLDER_VARIABLE, "PYENV_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_without_any_there_is_none(tmp_path):
    assert environment.default_folder() == tmp_path / "cache" / "snn-compile" / "lava-env"
    assert environment.locate() is None
    with pytest.raises(DeviceError) as caught:
        environment.ensure()
    assert caught.value.code == "lava-missing"
    assert caught.value.exit_code == 8
    assert "lava-env" in caught.value.hint


def test_a_named_interpreter_comes_first(monkeypatch, tmp_path):
    python = fake_python(tmp_path / "mine" / "python", "3.10.13")
    monkeypatch.setenv(environment.PYTHON_VARIABLE, str(python))
    found = environment.locate()
    assert found is not None
    assert (found.python, found.mode, found.native) == (python, "native 3.10", True)
    assert found.command(Path("run.py")) == [str(python), "-B", "-I", "run.py"]


def test_a_later_python_needs_the_shim(monkeypatch, tmp_path):
    python = fake_python(tmp_path / "python", "3.12.1")
    monkeypatch.setenv(environment.PYTHON_VARIABLE, str(python))
    found = environment.ensure()
    assert found.mode == "compat 3.12"
    assert found.command(Path("run.py"))[-2].endswith("compat.py")


@pytest.mark.parametrize("lava", ["", "0.9.0"])
def test_a_named_interpreter_without_lava_is_an_error(monkeypatch, tmp_path, lava):
    python = fake_python(tmp_path / "python", "3.10.13", lava)
    monkeypatch.setenv(environment.PYTHON_VARIABLE, str(python))
    with pytest.raises(DeviceError, match=environment.PYTHON_VARIABLE):
        environment.locate()


def test_an_unfinished_environment_is_not_used(monkeypatch, tmp_path):
    folder = tmp_path / "env"
    monkeypatch.setenv(environment.FOLDER_VARIABLE, str(folder))
    fake_python(folder / "bin" / "python", "3.10.13")
    assert environment.locate() is None
    (folder / environment.MARKER).write_text("")
    assert environment.ensure().python == folder / "bin" / "python"
    assert environment.create() == environment.ensure()


def test_a_shim_is_asked_for_its_version(tmp_path):
    shim = fake_python(tmp_path / "bin" / "python3.10", "3.10.4", needs="3.10")
    assert next(environment.candidates()) == (f"{shim}-real", True)


def test_pyenv_is_searched(tmp_path):
    python = fake_python(tmp_path / "pyenv" / "versions" / "3.10.9" / "bin" / "python", "3.10.9")
    fake_python(tmp_path / "pyenv" / "versions" / "3.11.2" / "bin" / "python", "3.11.2")
    assert next(environment.candidates()) == (str(python), True)


def test_this_python_is_the_last_resort_in_compatibility_mode():
    found = list(environment.candidates())
    natives = [python for python, native in found if native]
    assert natives == [] or shutil.which("python3.10")
    if sys.version_info[:2] in ((3, 11), (3, 12)):
        assert (sys.executable, False) in found


def test_a_failed_creation_leaves_nothing(monkeypatch, tmp_path):
    python = fake_python(tmp_path / "python", "3.10.9")
    monkeypatch.setattr(environment, "candidates", lambda: iter([(str(python), True)]))
    with pytest.raises(DeviceError, match="no environment") as caught:
        environment.create(tmp_path / "env")
    assert caught.value.code == "lava-missing"
    assert not (tmp_path / "env").exists()


def test_a_folder_of_the_user_is_not_touched(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("dear")
    with pytest.raises(DeviceError, match="not an environment"):
        environment.create(tmp_path / "home")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "dear"
