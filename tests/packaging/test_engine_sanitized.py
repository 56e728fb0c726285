"""The engine under GCC's sanitizers of addresses and of arithmetic, with spoiled scratch.

Two builds here: the narrowest, and the widest that this CPU runs. ``test_engine_replay.py`` has the
one between, of the same sources, the rest of what is undefined and every network on every build, in
minutes.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from engine_cases import random_networks, write
from engine_replay import ARITHMETIC, WAYS, compile_for, replay, runs_here

Absent = Callable[[str], NoReturn]

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("engine_against_reference.py")
PAST_THE_END = """
extern "C" int snn_engine_abi() {
    int *numbers = new int[4];
    volatile int past_the_end = 4;
    const int found = numbers[past_the_end];
    delete[] numbers;
    return found;
}
"""
OVERFLOW = """
extern "C" int snn_engine_abi() {
    volatile int largest = 2147483647;
    return largest + 1;
}
"""

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="preloads ELF libraries")


@pytest.fixture(scope="module")
def gcc(absent: Absent) -> str:
    """GCC, of which it is known where the sanitizers' libraries lie."""
    return shutil.which("g++") or absent("no g++")


@pytest.fixture(scope="module")
def watched(gcc: str, absent: Absent) -> dict[str, str]:
    """The environment of a process that the sanitizers watch.

    Python itself is not built for them, so their libraries have to be there before it starts; that
    of C++ is, so that they find the functions to stand in for. What Python leaves unfreed at its
    end is no leak of ours.
    """
    names = ("libasan.so", "libubsan.so", "libstdc++.so")
    paths = [
        subprocess.run(
            [gcc, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in names
    ]
    if missing := [path for path in paths if not os.path.isabs(path)]:
        absent(f"GCC has no {', '.join(missing)}")
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(paths),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        # Each array in a piece of memory of its own, with guards around it.
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(ROOT / "toolchain"),
        "SNN_COMPILE_ENGINE": "auto",
    }


# All in one test: workers of pytest share no fixtures, and each would compile for minutes.
def test_random_networks_run_clean_and_equal(
    gcc: str,
    cmake: Path,
    compiled_engine: tuple[str, ...],
    watched: dict[str, str],
    tmp_path: Path,
) -> None:
    way = WAYS["arithmetic"]
    way = replace(way, options=(*way.options, f"-DCMAKE_CXX_COMPILER={gcc}"))
    builds = sorted({"baseline", compiled_engine[0]})
    build = compile_for(way, tmp_path, cmake, builds)
    # From Python some of them are enough: there each step is several times as slow.
    done = subprocess.run(
        [sys.executable, SCRIPT, "30", *builds],
        env={**watched, "SNN_COMPILE_ENGINE_PATH": str(build / "native")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == builds

    # Without Python memory that is not freed is an error, too. Each network on one of the builds.
    networks = list(random_networks())
    assert len(networks) > 30
    assert set(builds) <= set(runs_here(way, build))
    cases = tmp_path / "cases.bin"
    for k, name in enumerate(builds):
        assert write(cases, networks[k :: len(builds)])
        (found,) = replay(way, build, cases, [name])
        assert found.equal, f"{name}: {found.said}"
    write(cases, networks[:1])
    cases.write_bytes(cases.read_bytes()[:-1] + b"\x55")  # of the last potential of a readout
    for different in replay(way, build, cases, builds):
        assert not different.equal
        assert "messages of population" in different.said


@pytest.mark.parametrize(
    ("source", "complaint"),
    [(PAST_THE_END, "heap-buffer-overflow"), (OVERFLOW, "signed integer overflow")],
)
def test_the_sanitizers_are_awake(
    gcc: str, watched: dict[str, str], tmp_path: Path, source: str, complaint: str
) -> None:
    path, library = tmp_path / "bad.cpp", tmp_path / "bad.so"
    path.write_text(source)
    options = [f"-fsanitize=address,{ARITHMETIC}", "-fno-sanitize-recover=all", "-shared", "-fPIC"]
    subprocess.run([gcc, *options, path, "-o", library], check=True)
    code = f"import ctypes; ctypes.CDLL({str(library)!r}).snn_engine_abi()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=watched, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert complaint in done.stderr
