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
from snn_compile.sim import native, reference
from snn_compile.sim.engine import Engine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import networks

DENSITIES = (-1.0, 0.0, 2.0)
"""From which spikes are summed densely: as measured, always, never."""


def random_networks() -> Iterator[tuple[str, QuantizedGraph, np.ndarray]]:
    """Small, and together with every structure, kind of neuron and coding; first what it is."""
    for seed, kind in enumerate(networks.NEURONS):
        n_steps = 1 if kind == "graded" else 5
        yield f"mlp {kind}", *networks.mlp(seed, kind, n_steps)
        yield f"structures {kind}", *networks.structures(seed, kind, n_steps)
    yield "structures poisson", *networks.structures(0, "subtract", 5, poisson=True)
    for seed in range(12):
        yield f"branches {seed}", *networks.branches(seed, 1 + seed % 7, poisson=bool(seed % 3))


def main() -> None:
    """Print the builds that were compared; what differs, or what a sanitizer finds, is fatal."""
    for network, program, frames in random_networks():
        expected = reference.run(program, frames, record=True)
        for build in native.builds():
            for dense_above in DENSITIES:
                label = f"{build}: {network}, dense above {dense_above}"
                print(label, file=sys.stderr, flush=True)  # the last one before a crash
                engine = Engine(program, build=build, dense_above=dense_above)
                found = engine.run(frames, record=True)
                for name in ("outputs", "messages", "activity"):
                    arrays = getattr(found, name)
                    for node, array in getattr(expected, name).items():
                        np.testing.assert_array_equal(
                            arrays[node], array, f"{label}, {node} {name}"
                        )
                engine.run(frames[:1], activity=False, threads=1)
    assert native.builds(), native.status().why
    print(*native.builds())


if __name__ == "__main__":
    main()
