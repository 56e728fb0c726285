"""Networks spread over time: the simulator against transcription and integer network, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scheduled_networks
from effort import examples
from scheduled_networks import SIGMA_DELTA, SYNC
from snn_compile.ir.quantized import Readout
from snn_compile.sim import reference
from transcription import assert_equal

SEEDS = st.integers(0, 2**32 - 1)
FEW = examples(40)
CODINGS = st.sampled_from(scheduled_networks.SCHEDULED)


@FEW
@given(CODINGS, st.sampled_from(scheduled_networks.SMALL), SEEDS, st.integers(1, 9))
def test_networks_spread_over_time(coding, name, seed, n_steps):
    made = scheduled_networks.scheduled(coding, name, seed, n_steps)
    frames = made.frames[:4]
    run = reference.run(made.program, frames, record=True)
    assert_equal(run, made.program, frames)


@FEW
@given(CODINGS, st.sampled_from(scheduled_networks.SMALL), SEEDS, st.integers(1, 9))
def test_they_add_up_to_the_integer_network(coding, name, seed, n_steps):
    """In every layer: a window's spikes to the count, all changes so far to the payload."""
    made = scheduled_networks.scheduled(coding, name, seed, n_steps)
    spread = reference.run(made.program, made.frames, record=True)
    whole = reference.run(made.single_step, made.frames, record=True)
    for node in made.program.populations:
        sent, values = spread.messages[node.id], whole.messages[node.id]
        if isinstance(node, Readout):
            np.testing.assert_array_equal(sent, np.broadcast_to(values, sent.shape), node.id)
            np.testing.assert_array_equal(spread.outputs[node.id], whole.outputs[node.id])
        elif coding != SIGMA_DELTA:
            np.testing.assert_array_equal(sent.sum(axis=1, keepdims=True), values, node.id)
            if coding == SYNC:
                np.testing.assert_array_equal(spread.activity[node.id], whole.activity[node.id])
        else:
            np.testing.assert_array_equal(sent.cumsum(axis=0), values, node.id)


@pytest.mark.parametrize("coding", scheduled_networks.SCHEDULED)
def test_networks_spread_over_time_are_alive(coding):
    made = scheduled_networks.scheduled(coding, "structures", 11, 7)
    run = reference.run(made.program, made.frames, record=True)
    for node in made.program.populations:
        if isinstance(node, Readout):
            continue
        sent = run.messages[node.id]
        counts = sent.sum(axis=1)
        assert 0.005 < (sent != 0).mean() < 0.995, node.id
        assert len(np.unique(counts)) > 4, node.id
        assert (sent.min() < 0) == (coding == SIGMA_DELTA), node.id


@FEW
@given(SEEDS, st.integers(1, 5))
def test_a_stream_goes_on_where_it_was(seed, split):
    made = scheduled_networks.scheduled(SIGMA_DELTA, "branches", seed, 1)
    frames = np.concatenate([made.frames, made.frames[::-1]])
    whole = reference.run(made.program, frames, record=True)
    start = reference.run(made.program, frames[:split], record=True)
    rest = reference.run(made.program, frames[split:], before=frames[split - 1], record=True)
    for name, messages in whole.messages.items():
        parts = [start.messages[name], rest.messages[name]]
        np.testing.assert_array_equal(messages, np.concatenate(parts), name)
    for name, activity in whole.activity.items():
        np.testing.assert_array_equal(activity, start.activity[name] + rest.activity[name], name)
