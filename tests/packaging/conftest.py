"""What the tests of the compiled engine share: a compiler, and small libraries made with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from snn_compile.sim import native


@pytest.fixture(scope="session")
def absent() -> Callable[[str], NoReturn]:
    """Skips for want of something, except in CI, where it has to be there."""

    def give_up(what: str) -> NoReturn:
        if os.environ.get("CI"):
            pytest.fail(what, pytrace=False)
        pytest.skip(what)

    return give_up


@pytest.fixture(scope="session")
def compiler(absent: Callable[[str], NoReturn]) -> str:
    """The C++ compiler."""
    candidates = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    found = next((path for name in candidates if name and (path := shutil.which(name))), None)
    return found or absent("no C++ compiler")


@pytest.fixture(scope="session")
def cmake(absent: Callable[[str], NoReturn], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CMake: the system's, or the one that an installation of the project would fetch."""
    if found := shutil.which("cmake"):
        return Path(found)
    folder = tmp_path_factory.mktemp("cmake")
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "cmake"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        absent(f"no CMake: {done.stderr}")
    return folder / "cmake" / "data" / "bin" / "cmake"


@pytest.fixture
def fake_engine(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Compiles libraries that say of themselves what they are told to, and has them found.

    The first argument is the build in the file's name; ``name``, ``abi`` and ``runs`` (the builds
    that the CPU is said to run) default to what is right on a CPU that runs everything.
    """
    folder = tmp_path / "engine"
    folder.mkdir()
    monkeypatch.setenv("SNN_COMPILE_ENGINE_PATH", str(folder))
    monkeypatch.delenv("SNN_COMPILE_ENGINE", raising=False)

    def make(
        build: str,
        *,
        name: str = "",
        abi: int = native.ABI,
        runs: tuple[str, ...] = native.BUILDS,
    ) -> Path:
        source = folder / f"{build}.cpp"
        supported = " || ".join([*(f'!std::strcmp(build, "{run}")' for run in runs), "false"])
        source.write_text(
            f"""#include <cstring>
extern "C" int snn_engine_abi() {{ return {abi}; }}
extern "C" const char *snn_engine_build() {{ return "{name or build}"; }}
extern "C" int snn_engine_cpu_supports(const char *build) {{ return {supported}; }}
"""
        )
        library = folder / f"snn_engine_{build}.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-nostartfiles", source, "-o", library], check=True
        )
        return library

    return make
