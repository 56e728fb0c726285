"""What it means that the compiled engine equals the reference: every array of a run, in each build.

Needs nothing but the project itself: ``packaging/engine_against_reference.py`` runs where there is
no pytest.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import numpy as np

from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.schedule import is_scheduled
from snn_compile.sim import native, reference
from snn_compile.sim.engine import MEASURED, Engine
from snn_compile.sim.reference import Run

DENSE_ABOVE = (MEASURED, 0.0, 1.0, 2.0)
"""From which density spikes are summed densely: as measured, always, where all fire, never."""

BUILDS = native.BUILDS if platform.machine() in ("x86_64", "AMD64") else ("baseline",)
"""Those that are made on machines like this one, whether it can run them or not."""


def assert_same(found: Run, expected: Run, what: str = "") -> None:
    """Outputs, messages if they were recorded, and activity are equal."""
    for name in ("messages", "outputs", "activity"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert set(ours) == set(theirs), f"{what}: {name}"
        for node, values in theirs.items():
            if not np.array_equal(ours[node], values):  # which is quicker than to say where
                np.testing.assert_array_equal(ours[node], values, f"{what}: {name} of {node}")


def assert_equal(
    program: QuantizedGraph,
    frames: np.ndarray,
    what: str = "",
    say: Callable[[str], object] = lambda text: None,
) -> None:
    """Every build, in every way to sum spikes and to be given messages, equals the reference.

    Args:
        program: the network.
        frames: encoded stimuli.
        what: the network's name.
        say: told what is run next.
    """
    runs = list(_runs(program, frames))
    for build in native.builds():
        engine = Engine(program, build=build)
        for dense_above in DENSE_ABOVE:
            engine.dense_above = dense_above
            for given, run, expected in runs:
                label = f"{build}: {what}, {given}, dense above {dense_above}"
                say(label)
                assert_same(run(engine), expected, label)


def _runs(
    program: QuantizedGraph, frames: np.ndarray
) -> Iterator[tuple[str, Callable[[Engine], Run], Run]]:
    """What the engine is given, how, and what the reference answers.

    Messages are given for each step, or once for all steps.
    """
    expected = reference.run(program, frames, record=True)
    yield "frames", lambda engine: engine.run(frames, record=True), expected
    n_steps = program.window.n_steps
    if n_steps == 1 or is_scheduled(program):
        return
    messages = reference.encode_inputs(program.inputs, frames, n_steps, 0)
    once = messages[:, :1]
    if messages.shape[1] > 1:
        expected = reference.run_messages(program, once, record=True)
        yield "messages once", lambda engine: engine.run_messages(once, record=True), expected
    often = np.repeat(once, n_steps, axis=1)
    yield "messages often", lambda engine: engine.run_messages(often, record=True), expected
