"""What it means that the compiled engine equals the reference: every array of a run, in each build.

Needs nothing but the project itself: ``packaging/engine_against_reference.py`` runs where there is
no pytest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.sim import native, reference
from snn_compile.sim.engine import MEASURED, Engine
from snn_compile.sim.reference import Run

DENSE_ABOVE = (MEASURED, 0.0, 2.0)
"""From which density spikes are summed densely: as measured, always, never."""


def assert_same(found: Run, expected: Run, what: str = "") -> None:
    """Outputs, messages if they were recorded, and activity are equal."""
    for name in ("messages", "outputs", "activity"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert set(ours) == set(theirs), f"{what}: {name}"
        for node, values in theirs.items():
            np.testing.assert_array_equal(ours[node], values, f"{what}: {name} of {node}")


def assert_equal(
    program: QuantizedGraph,
    frames: np.ndarray,
    what: str = "",
    say: Callable[[str], object] = lambda text: None,
) -> None:
    """Every build, in every way to sum spikes, computes what the reference computes.

    Args:
        program: the network.
        frames: encoded stimuli.
        what: the network's name.
        say: told what is run next.
    """
    expected = reference.run(program, frames, record=True)
    for build in native.builds():
        for dense_above in DENSE_ABOVE:
            label = f"{build}: {what}, dense above {dense_above}"
            say(label)
            engine = Engine(program, build=build, dense_above=dense_above)
            assert_same(engine.run(frames, record=True), expected, label)
