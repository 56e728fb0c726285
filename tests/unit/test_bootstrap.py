"""``python3 toolchain``: sets up once, starts fast, survives interruption and company."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "toolchain" / "__main__.py"
FAKE_TOOL = """#!/bin/sh
pwd
for word in "$@"; do echo "<$word>"; done
exit 7
"""


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "with a space" / "venv"
    monkeypatch.setenv("SNN_COMPILE_VENV", str(folder))
    monkeypatch.delenv("SNN_COMPILE_REQUIRE_ENGINE", raising=False)  # as in CI
    return folder


@pytest.fixture
def installs(
    bootstrap: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[list[str]]:
    """Replaces what needs the network; records the extras of every installation."""
    done: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "_uv", lambda: None)
    monkeypatch.setattr(bootstrap, "_make", lambda folder, with_pip: make_fake(folder))
    monkeypatch.setattr(bootstrap, "_install", lambda python, uv, extras: done.append(extras))
    monkeypatch.setattr(bootstrap, "_warn_without_engine", lambda python: None)
    return done


def make_fake(folder: Path) -> None:
    commands = folder / "bin"
    commands.mkdir(parents=True)
    (commands / "python").symlink_to(sys.executable)
    tool = commands / "snn-compile"
    tool.write_text(FAKE_TOOL)
    tool.chmod(0o755)


def test_uses_the_standard_library_alone_and_parses_on_old_pythons() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 7))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names <= set(sys.stdlib_module_names)


def test_an_old_python_is_told_in_one_line(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 10, 13))
    assert bootstrap.start(lambda arguments: 0) == 2
    assert capsys.readouterr().err == "snn-compile needs Python 3.11 or later; this is 3.10.13\n"


def test_sets_up_once(
    bootstrap: ModuleType,
    folder: Path,
    installs: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bootstrap.prepare() == folder / "bin"
    assert len(capsys.readouterr().err.splitlines()) == 1
    bootstrap.prepare()
    assert installs == [[]]
    assert capsys.readouterr().err == ""


def test_an_extra_is_added_and_stays(bootstrap: ModuleType, installs: list[list[str]]) -> None:
    bootstrap.prepare()
    bootstrap.prepare(["test"])
    bootstrap.prepare()
    assert installs == [[], ["test"]]


def test_installs_again_when_the_requirements_change(
    bootstrap: ModuleType,
    folder: Path,
    installs: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "CONSTRAINTS", tmp_path / "constraints.txt")
    bootstrap.prepare(["test"])
    (folder / "kept").touch()
    (tmp_path / "constraints.txt").write_text("numpy==2.0.0\n")
    bootstrap.prepare()
    assert installs == [["test"], ["test"]]
    assert (folder / "kept").exists()


def test_installs_again_when_the_engine_changes(
    bootstrap: ModuleType,
    installs: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "ENGINE", tmp_path)
    bootstrap.prepare()
    (tmp_path / "new.cpp").write_text("int x;\n")
    bootstrap.prepare()
    (tmp_path / "new.cpp").write_text("int y;\n")
    bootstrap.prepare()
    assert installs == [[], [], []]


def test_requiring_the_engine_tries_again(
    bootstrap: ModuleType, installs: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.prepare()
    monkeypatch.setenv("SNN_COMPILE_REQUIRE_ENGINE", "1")
    bootstrap.prepare()
    assert installs == [[], []]


def test_says_in_one_line_that_there_is_no_engine(
    bootstrap: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = tmp_path / "snn_compile" / "sim"
    package.mkdir(parents=True)
    (package / "native.py").write_text(
        "from types import SimpleNamespace\n"
        "def status(): return SimpleNamespace(build=BUILD, why='not built')\n"
        "BUILD = None\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    python = sys._base_executable  # of no environment, so that the package above is found
    bootstrap._warn_without_engine(python)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("snn-compile: no compiled engine (not built)")
    with (package / "native.py").open("a") as file:
        file.write("BUILD = 'baseline'\n")
    bootstrap._warn_without_engine(python)
    assert capsys.readouterr().err == ""


def test_another_python_makes_the_environment_anew(
    bootstrap: ModuleType,
    folder: Path,
    installs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bootstrap.prepare()
    (folder / "of the old Python").touch()
    monkeypatch.setattr(bootstrap, "_version", lambda: "3.99.0")
    bootstrap.prepare()
    assert len(installs) == 2
    assert not (folder / "of the old Python").exists()


def test_a_copy_of_the_environment_is_made_anew(
    bootstrap: ModuleType,
    folder: Path,
    installs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bootstrap.prepare()
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy, symlinks=True)
    (copy / "of the original").touch()
    monkeypatch.setenv("SNN_COMPILE_VENV", str(copy))
    bootstrap.prepare()
    assert len(installs) == 2
    assert not (copy / "of the original").exists()


def test_an_interrupted_installation_is_not_trusted(
    bootstrap: ModuleType,
    folder: Path,
    installs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(python: str, uv: str | None, extras: list[str]) -> None:
        (folder / "half a package").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(bootstrap, "_install", interrupted)
        assert bootstrap.start(lambda arguments: bootstrap.prepare()) == 130
    bootstrap.prepare()
    assert installs == [[]]
    assert not (folder / "half a package").exists()


def test_a_failed_installation_shows_what_pip_said(
    bootstrap: ModuleType,
    installs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failed(python: str, uv: str | None, extras: list[str]) -> None:
        raise bootstrap.SetupError("ERROR: no network")

    monkeypatch.setattr(bootstrap, "_install", failed)
    assert bootstrap.start(lambda arguments: bootstrap.prepare()) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "ERROR: no network"


def test_an_environment_of_the_users_own_is_never_cleared(
    bootstrap: ModuleType,
    folder: Path,
    installs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_fake(folder)
    (folder / "theirs").touch()
    bootstrap.prepare()
    monkeypatch.setattr(bootstrap, "_version", lambda: "3.99.0")
    bootstrap.prepare()
    assert len(installs) == 2
    assert (folder / "theirs").exists()


def test_a_folder_of_something_else_is_refused(
    bootstrap: ModuleType, folder: Path, installs: list[list[str]]
) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.tex").touch()
    with pytest.raises(bootstrap.SetupError, match="SNN_COMPILE_VENV"):
        bootstrap.prepare()
    assert (folder / "thesis.tex").exists()
    assert not installs


def test_of_two_starts_at_once_one_sets_up_and_the_other_waits(
    bootstrap: ModuleType, installs: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, may_go_on = threading.Event(), threading.Event()

    def slow_install(python: str, uv: str | None, extras: list[str]) -> None:
        entered.set()
        assert may_go_on.wait(10)
        installs.append(extras)

    monkeypatch.setattr(bootstrap, "_install", slow_install)
    first = threading.Thread(target=bootstrap.prepare)
    first.start()
    assert entered.wait(10)
    second = threading.Thread(target=bootstrap.prepare)
    second.start()
    second.join(0.2)
    assert second.is_alive()
    may_go_on.set()
    first.join(10)
    second.join(10)
    assert installs == [[]]


@pytest.fixture
def ready(bootstrap: ModuleType, folder: Path, installs: list[list[str]]) -> Path:
    """An environment that is up to date, with a fake ``snn-compile`` in it."""
    bootstrap.prepare()
    return folder


def test_hands_over_arguments_working_folder_and_exit_code(ready: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "toolchain", "a model.onnx", "--flag"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert done.stdout.splitlines() == [str(tmp_path), "<a model.onnx>", "<--flag>"]
    assert done.stderr == ""


def test_a_later_start_is_light(ready: Path) -> None:
    """It imports what finding the stamp takes, and nothing that setting up takes."""
    needed = imported("-c", "import hashlib, json, pathlib, runpy, pkgutil, typing")
    assert imported(ROOT / "toolchain") <= needed
    assert "subprocess" not in needed


def imported(*words: Path | str) -> set[str]:
    """The modules that Python says it imports on the way."""
    call = [sys.executable, "-X", "importtime", *words]
    said = subprocess.run(call, capture_output=True, text=True, check=False).stderr
    return {line.split("|")[2].strip() for line in said.splitlines() if line.count("|") == 2}


@pytest.mark.slow
def test_for_real_from_a_path_with_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "a clone"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*cache", ".venv", ".git", "*.snn"))
    monkeypatch.delenv("SNN_COMPILE_VENV", raising=False)

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, copy / "toolchain", "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    first = start()
    assert first.returncode == 0, first.stderr
    head, *life = first.stderr.splitlines()
    assert head.startswith("snn-compile: setting up ")
    assert all(line.endswith("s so far ...") for line in life)
    again = start()
    assert (again.returncode, again.stderr, again.stdout) == (0, "", first.stdout)


def test_a_long_installation_shows_life(
    bootstrap: ModuleType,
    folder: Path,
    installs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = threading.Event()
    say = bootstrap._say
    monkeypatch.setattr(bootstrap, "SILENCE", 0.01)
    monkeypatch.setattr(
        bootstrap, "_say", lambda text: (say(text), "so far" in text and said.set())
    )
    monkeypatch.setattr(bootstrap, "_install", lambda python, uv, extras: said.wait(60))
    bootstrap.prepare()
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert "setting up" in first
    assert second.startswith("snn-compile: installing packages and compiling the engine: ")
