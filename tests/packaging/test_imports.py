"""Starting the tool must not wait for what it does not need."""

from __future__ import annotations

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
def test_help_imports_nothing_heavy() -> None:
    """How long it takes is how much it imports; and that is the same on a busy machine."""
    call = [sys.executable, "-X", "importtime", COMMAND, "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.count("|") == 2]
    imported = {name.strip().split(".")[0] for _, _, name in lines}
    assert "snn_compile" in imported
    assert not imported & set(HEAVY)
