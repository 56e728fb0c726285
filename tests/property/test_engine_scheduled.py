"""Networks spread over time on the compiled engine, which runs them at once: equal, with ``==``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from engine_equality import assert_equal, assert_same
from scheduled_networks import NAMES, SCHEDULED, SIGMA_DELTA, SYNC, scheduled
from snn_compile.sim import native, reference
from snn_compile.sim.engine import Engine

pytestmark = pytest.mark.usefixtures("compiled_engine")

SEEDS = st.integers(0, 2**32 - 1)
STEPS = st.sampled_from((1, 2, 7, 32, 300))
"""Counts of one byte and of two."""
MANY = examples(40)
FEW = examples(15)


@MANY
@given(st.sampled_from(SCHEDULED), st.sampled_from(NAMES), SEEDS, STEPS)
def test_every_message(coding, name, seed, n_steps):
    made = scheduled(coding, name, seed, n_steps if name != "wide" else min(n_steps, 32))
    assert_equal(made.program, made.frames, f"{coding} {name}")
    assert_equal(made.single_step, made.frames, f"{coding} {name} at once")


@FEW
@given(st.sampled_from(SCHEDULED), SEEDS, st.sampled_from((1, 5, 40)), st.integers(1, 3))
def test_batches_threads_and_the_frame_before_do_not_matter(coding, seed, n_steps, split):
    made = scheduled(coding, "branches", seed, n_steps)
    frames = np.concatenate([made.frames, made.frames[::-1]])
    whole = reference.run(made.program, frames, record=True)
    counted = reference.run(made.program, frames)
    for engine in engines(made.program):
        assert_same(engine.run(frames, record=True, threads=3), whole)
        start = engine.run(frames[:split], record=True)
        finished = []
        rest = engine.run(
            frames[split:],
            first=split,
            before=frames[split - 1],
            record=True,
            advance=finished.append,
        )
        assert sum(finished) == len(frames) - split
        assert_same(reference.join_runs([start, rest]), whole)
        assert_same(engine.run(frames), counted)
        outputs = engine.run(frames, activity=False).outputs
        for name, values in whole.outputs.items():
            np.testing.assert_array_equal(outputs[name], values)


@FEW
@given(SEEDS)
def test_long_streams_are_cut_and_joined(seed):
    made = scheduled(SIGMA_DELTA, "branches", seed, 1)
    frames = np.concatenate([made.frames, made.frames[::-1]])
    recorded = reference.run(made.program, frames, record=True)
    counted = reference.run(made.program, frames)
    for engine in engines(made.program):
        engine._recording_batch_size = 3
        assert_same(engine.run(frames, record=True), recorded)
        assert_same(engine.run(frames), counted)
        empty = engine.run(frames[:0], record=True)
        arrays = (*empty.outputs.values(), *empty.messages.values())
        assert all(len(values) == 0 for values in arrays)


@FEW
@given(st.sampled_from(SCHEDULED), SEEDS, st.integers(1, 6))
def test_messages_in_place_of_frames(coding, seed, n_steps):
    """In ``sync``, a frame may come in any steps of its window, in pieces of both signs."""
    made = scheduled(coding, "branches", seed, n_steps)
    program, node = made.program, made.program.input
    n_steps = program.window.n_steps
    messages = reference.input_messages(program, made.frames)
    # The same at every step: its part of a frame.
    once = messages if n_steps == 1 else np.trunc(made.frames / n_steps).astype(int)[:, None]
    if coding == SYNC and n_steps > 1:
        random = np.random.default_rng(seed)
        moved = random.integers(0, 3, messages.shape)
        messages = messages + moved - np.roll(moved, 1, axis=1)
    expected = reference.run_messages(program, messages, record=True)
    held = reference.run_messages(program, once, record=True)
    names = set(reference.run(program, made.frames).activity)
    beyond = np.full((2, 1, *node.shape), node.high + 1)
    for engine in engines(program):
        found = engine.run_messages(messages, record=True)
        assert_same(found, expected)
        assert set(found.activity) == names
        assert_same(engine.run_messages(once, record=True), held)
        with pytest.raises(ValueError, match="range"):
            engine.run_messages(beyond)


def engines(program):
    """A network prepared for each build."""
    return [Engine(program, build=build) for build in native.builds()]
