"""What lands in the wheel, and that the wheel works where nothing else is."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "snn_compile": ROOT / "toolchain",
    "snn_frontends": ROOT / "frontends",
    "snn_backends": ROOT / "backends",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", folder, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("snn_compile-*.whl")
    return wheel


def test_holds_every_file_of_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(root).as_posix()
        for package, root in SOURCES.items()
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == expected
    assert {name.split("/")[0] for name in names} == set(SOURCES)


def test_every_package_says_that_it_is_typed(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert [package for package in SOURCES if f"{package}/py.typed" not in names] == []


def test_holds_the_files_that_are_not_python(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert any(name.endswith(".toml") for name in names), "the targets are missing"
    assert any("/lava/templates/" in name for name in names), "Lava's templates are missing"
    assert any(name.endswith(("licenses/LICENSE", "dist-info/LICENSE")) for name in names)


@pytest.mark.slow
def test_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    model = ROOT / "examples" / "digits_cnn.onnx"
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "snn-compile", "check", model],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
