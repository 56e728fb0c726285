"""What lands in the wheel, with and without the engine, and that it works where nothing else is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from snn_compile.sim.native import BUILDS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "snn_compile": ROOT / "toolchain",
    "snn_frontends": ROOT / "frontends",
    "snn_backends": ROOT / "backends",
}
LIBRARY = re.compile(r"snn_compile/sim/native/snn_engine_(\w+)\.(so|dll)")


def build_wheel(
    folder: Path, source: Path, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Have pip build a wheel of the project into a folder."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CC", "CXX", "SNN_COMPILE_REQUIRE_ENGINE")
    }
    call = [sys.executable, "-m", "pip", "wheel", "--no-deps", *options, "-w", folder, source]
    return subprocess.run(
        call,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def the_wheel(folder: Path) -> Path:
    (wheel,) = folder.glob("snn_compile-*.whl")
    return wheel


def libraries(wheel: Path) -> list[str]:
    """The builds of the engine in a wheel."""
    found = (LIBRARY.fullmatch(name) for name in ZipFile(wheel).namelist())
    return sorted(match[1] for match in found if match)


def tag(wheel: Path) -> str:
    """The tag in the wheel's name, which has to be the one inside."""
    in_name = "-".join(wheel.stem.split("-")[-3:])
    with ZipFile(wheel) as file:
        (path,) = (name for name in file.namelist() if name.endswith(".dist-info/WHEEL"))
        tags = re.findall(r"^Tag: (.*)$", file.read(path).decode(), re.M)
    assert tags == [in_name]
    return in_name


@pytest.fixture(scope="module")
def without_compiler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with no compiler on it. CMake and Ninja may be there; they need not be downloaded."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("cmake", "ninja", "sh", "env", "uname"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory, without_compiler: str) -> Path:
    """The wheel that is made on a machine without a compiler."""
    folder = tmp_path_factory.mktemp("pure")
    done = build_wheel(folder, ROOT, "--verbose", PATH=without_compiler)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert output.count("the compiled engine was not built") == 1
    return the_wheel(folder)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution. pip does not make them, so the build backend is called directly."""
    backend = tmp_path_factory.mktemp("backend")
    with (ROOT / "pyproject.toml").open("rb") as file:
        needed = tomllib.load(file)["build-system"]["requires"]
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--target", backend, *needed]
    subprocess.run(call, check=True)
    folder = tmp_path_factory.mktemp("sdist")
    code = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(backend)}
    subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, env=environment, check=True)
    (path,) = folder.glob("snn_compile-*.tar.gz")
    with tarfile.open(path) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"LICENSE", "README.md", "tests/conftest.py", "toolchain/__main__.py"} <= names
    assert [name for name in names if name.endswith((".so", ".dll", ".pyc"))] == []
    return path


@pytest.fixture(scope="module")
def with_engine(tmp_path_factory: pytest.TempPathFactory, sdist: Path, compiler: str) -> Path:
    """The wheel that is made of the sdist on a machine with a compiler."""
    folder = tmp_path_factory.mktemp("wheel")
    # Nothing here looks at the code, and that is quicker to compile.
    settings = (
        "build-type=Debug",
        "define.CMAKE_CXX_FLAGS_DEBUG=-O0",
        "define.CMAKE_UNITY_BUILD=ON",
    )
    quick = [f"--config-settings=cmake.{setting}" for setting in settings]
    done = build_wheel(
        folder, sdist, "--quiet", *quick, CXX=compiler, SNN_COMPILE_REQUIRE_ENGINE="1"
    )
    assert done.returncode == 0, done.stderr
    return the_wheel(folder)


# All of a wheel in one test: workers of pytest share no fixtures, and each would build its own.


def test_a_wheel_without_the_engine_is_pure_and_whole(pure: Path) -> None:
    assert tag(pure) == "py3-none-any"
    assert libraries(pure) == []
    assert_whole(pure)


def test_one_wheel_with_the_engine_serves_every_python(with_engine: Path) -> None:
    assert re.fullmatch(r"py3-none-(?!any$)\w+", tag(with_engine))
    found = libraries(with_engine)
    assert found == (sorted(BUILDS) if "x86_64" in with_engine.name else ["baseline"])
    assert_whole(with_engine)


def assert_whole(wheel: Path) -> None:
    """It holds every file of the three packages and, libraries aside, nothing else."""
    names = set(ZipFile(wheel).namelist())
    files = {name for name in names if ".dist-info/" not in name and not LIBRARY.fullmatch(name)}
    paths = {
        path.relative_to(root).as_posix()
        for package, root in SOURCES.items()
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == {path for path in paths if not LIBRARY.fullmatch(path)}
    assert {name.split("/")[0] for name in files} == set(SOURCES)
    assert [package for package in SOURCES if f"{package}/py.typed" not in names] == []
    assert any(name.endswith(".toml") for name in names), "the targets are missing"
    assert any("/lava/templates/" in name for name in names), "Lava's templates are missing"
    assert any("/lava/templates/probing/" in name for name in names), "what reads potentials, too"
    assert any("/oracles/children/run_" in name for name in names), "the emulators' programs"
    assert any(name.endswith(("licenses/LICENSE", "dist-info/LICENSE")) for name in names)


@pytest.mark.slow
def test_a_bill_of_materials_lands_in_the_wheel(pure: Path, tmp_path: Path) -> None:
    wheel = Path(shutil.copy(pure, tmp_path))
    subprocess.run([ROOT / ".ci" / "sbom", wheel], check=True)
    with ZipFile(wheel) as file:
        (name,) = (
            n for n in file.namelist() if n.endswith(".dist-info/sboms/snn-compile.cdx.json")
        )
        text = file.read(name)
        (record,) = (n for n in file.namelist() if n.endswith(".dist-info/RECORD"))
        assert name in file.read(record).decode()
    assert (tmp_path / "snn-compile.cdx.json").read_bytes() == text
    said = json.loads(text)
    assert said["bomFormat"] == "CycloneDX"
    names = {component["name"].lower() for component in said["components"]}
    with (ROOT / "pyproject.toml").open("rb") as project:
        needed = tomllib.load(project)["project"]["dependencies"]
    assert {re.split("[<>=]", one)[0] for one in needed} <= names
    assert str(tmp_path).encode() not in text
    assert tag(wheel) == "py3-none-any"
    assert_whole(wheel)


def test_a_build_that_fails_is_an_error_where_the_engine_is_required(
    tmp_path: Path, without_compiler: str
) -> None:
    done = build_wheel(
        tmp_path, ROOT, "--quiet", PATH=without_compiler, SNN_COMPILE_REQUIRE_ENGINE="1"
    )
    assert done.returncode != 0
    assert "compiler" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pure", "with_engine"])
def test_works_in_an_environment_of_its_own(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    wheel: Path = request.getfixturevalue(kind)
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
    code = "from snn_compile.sim import native; print(*native.status().installed)"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == libraries(wheel)
