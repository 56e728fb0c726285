"""Many compilations in one process: it must not grow by as much as one network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is read from /proc, as Linux has it"
)


def growth(*line: object) -> tuple[int, int]:
    """Bytes that a child process grew by, and those of one network."""
    command = [sys.executable, str(TESTS / "repeated_compiles.py"), *map(str, line)]
    # Arrays go back to the system when they are freed, whatever glibc has learned about sizes.
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown, network = map(int, done.stdout.split())
    return grown, network


def test_compiling_again_and_again_takes_no_more_memory() -> None:
    grown, network = growth(8, 256, 2, 4)
    assert grown < network


def test_a_network_that_is_kept_would_be_seen() -> None:
    grown, network = growth(8, 256, 1, 1, "--leak")
    assert grown > network


@pytest.mark.slow
def test_fifty_compilations_of_a_larger_network_take_no_more_memory() -> None:
    grown, network = growth(12, 512, 4, 50, "--calibrate")
    assert network > 3_000_000 * 7
    assert grown < network
