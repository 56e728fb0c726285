"""Networks before and after the splitting of their neurons."""

from __future__ import annotations

import numpy as np

from snn_compile.fit.merge_partial_sums import merge_partial_sums
from snn_compile.fit.split_fan_in import SplitFanIn
from snn_compile.sim import bounds, engine, reference


def assert_split(program, frames, target):
    """Split a network, and compare all that its own populations send with what they did."""
    split = SplitFanIn(target).split(program)
    assert split is not None
    assert SplitFanIn(target).too_wide(split.program) == {}
    assert SplitFanIn(target).split(split.program) is None
    before, after, fast = (
        run(p, frames, record=True)
        for run, p in (
            (reference.run, program),
            (reference.run, split.program),
            (engine.run, split.program),
        )
    )
    for name, messages in before.messages.items():
        assert np.array_equal(messages, after.messages[name]), name
        assert np.array_equal(before.outputs.get(name, 0), after.outputs.get(name, 0))
    for name, messages in after.messages.items():
        assert np.array_equal(messages, fast.messages[name]), name
    for name, counts in after.activity.items():
        assert np.array_equal(counts, fast.activity[name]), name
    for population in program.populations:
        n_steps = program.window.n_steps
        one, other = (
            bounds.states(p.graph, p.graph[population.id], n_steps)
            for p in (program, split.program)
        )
        assert other.magnitude == one.magnitude, population.id
    whole = merge_partial_sums(split.program)
    own = {p.id for p in program.populations if not p.relay}
    assert {p.id for p in whole.populations if not p.relay} == own
    assert len(whole.populations) == len(program.populations)
    unsplit = reference.run(whole, frames, record=True)
    for name in own:
        assert np.array_equal(before.messages[name], unsplit.messages[name]), name
    return split
