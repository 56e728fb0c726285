"""Run every build of the engine on random networks and compare with the reference.

A program of its own: ``test_engine_sanitized.py`` starts it in a process that sanitizers watch, and
cibuildwheel in an environment that holds nothing but the wheel. A number makes it run every so
manieth network only; names behind it are those of the builds that there should be.
"""

from __future__ import annotations

import sys
from pathlib import Path

from snn_compile.sim import native

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from engine_cases import random_networks
from engine_equality import BUILDS, assert_equal


def main() -> None:
    """Print the builds that were compared; what differs, or what a sanitizer finds, is fatal."""
    assert native.builds(), native.status().why
    assert set(native.status().installed) == set(sys.argv[2:] or BUILDS)
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for network, program, frames in list(random_networks())[::every]:
        # The last line before a crash says what was run.
        assert_equal(
            program, frames, network, lambda text: print(text, file=sys.stderr, flush=True)
        )
    print(*native.builds())


if __name__ == "__main__":
    main()
