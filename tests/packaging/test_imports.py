"""Starting the tool must not wait for what it does not need."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("onnx", "torch", "lava", "matplotlib", "scipy", "networkx", "numpy")
SOURCES = Path(__file__).resolve().parents[2] / "toolchain"
COMMAND = Path(sys.executable).parent / "snn-compile"


def test_importing_the_compiler_imports_nothing_heavy() -> None:
    code = f"import sys, snn_compile; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCES, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.skipif(not COMMAND.exists(), reason="the project is not installed (pip install -e .)")
def test_help_takes_less_than_three_tenths_of_a_second() -> None:
    assert min(cpu_seconds_of_help() for _ in range(3)) < 0.3


def cpu_seconds_of_help() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
