"""Run every build of the engine on random networks and compare with the reference.

A program of its own: ``test_engine_sanitized.py`` starts it in a process that sanitizers watch, and
cibuildwheel in an environment that holds nothing but the wheel.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import native

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import networks
import scheduled_networks
import wide_networks
from engine_equality import assert_equal


def random_networks() -> Iterator[tuple[str, QuantizedGraph, np.ndarray]]:
    """Small, and together with every structure, kind of neuron and coding; first what it is."""
    for seed, kind in enumerate(networks.ALL_NEURONS):
        n_steps = 1 if kind in networks.AT_ONCE else 5
        yield f"mlp {kind}", *networks.mlp(seed, kind, n_steps)
        yield f"structures {kind}", *networks.structures(seed, kind, n_steps)
    for kind in ("subtract", "signed"):
        yield f"structures poisson {kind}", *networks.structures(0, kind, 5, poisson=True)
    for seed in range(8):
        n_steps, poisson, kinds = 1 + seed % 7, bool(seed % 3), networks.ALL_NEURONS
        made = networks.branches(seed, n_steps, poisson=poisson, kinds=kinds)
        yield f"branches {seed}", *made
    for coding in scheduled_networks.SCHEDULED:
        for seed, name in enumerate(scheduled_networks.NAMES):
            spread = scheduled_networks.scheduled(coding, name, seed, 7)
            yield f"{coding} {name}", spread.program, spread.frames
    for seed in range(12):
        yield f"wide {seed}", *wide_networks.wide(seed, (1, 5, 33)[seed % 3])


def main() -> None:
    """Print the builds that were compared; what differs, or what a sanitizer finds, is fatal."""
    assert native.builds(), native.status().why
    for network, program, frames in random_networks():
        # The last line before a crash says what was run.
        assert_equal(
            program, frames, network, lambda text: print(text, file=sys.stderr, flush=True)
        )
    print(*native.builds())


if __name__ == "__main__":
    main()
