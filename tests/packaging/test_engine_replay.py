"""The engine without Python in its process: under sanitizers, memcheck and emulators.

Minutes each. ``test_engine_sanitized.py`` replays in every run, under some sanitizers of GCC.
"""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

import engine_replay
from engine_cases import random_networks, write
from engine_replay import WAYS

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="loads ELF libraries")

EMULATED = {"nehalem": {"baseline"}, "haswell": {"baseline", "avx2"}, "aarch64": {"baseline"}}
"""What the CPUs run that are emulated."""


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random networks with the reference's answers."""
    path = tmp_path_factory.mktemp("replay") / "cases.bin"
    assert write(path, random_networks(engine_replay.N_WIDE)) > 100
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the engine is compiled; ways with the same options share a build."""
    return tmp_path_factory.mktemp("replayed")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WAYS if name != "arithmetic"])
def test_every_case_is_equal(
    name: str, cases: Path, folder: Path, cmake: Path, compiled_engine: tuple[str, ...]
) -> None:
    way = WAYS[name]
    if missing := way.missing():
        pytest.skip(f"{name}: {missing}")
    found = list(engine_replay.replay(way, engine_replay.compile_for(way, folder, cmake), cases))
    assert [(f.build, f.said) for f in found if not f.equal] == []
    expected = EMULATED.get(name, set(compiled_engine))
    if name == "memcheck":
        expected -= {"avx512"}  # which valgrind does not know
    assert {f.build for f in found} == expected
