"""The box in which Loihi's models agree: what is inside, what leaves it, and safe bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import lif_networks
from snn_compile.ir.quantized import FRACTION_BITS
from snn_compile.sim import portability as box
from snn_compile.sim.portability import LIMITS, portability


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 30), size=st.integers(0, 6))
def test_bounds_hold_on_what_is_measured(seed, size):
    program, frames = lif_networks.chain(seed, size)
    wanted = {node.id for node in program.populations}
    measured = dict(box._measured(program, frames, wanted))
    for node in program.populations:
        proven = box._bounded(program, node)
        for condition, largest in proven.items():
            assert measured[node.id][condition] <= min(largest, 1 << 24), (node.id, condition)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 30), size=st.integers(0, 6))
def test_what_leaves_is_beyond_its_limit_and_what_does_not_is_inside(seed, size):
    program, frames = lif_networks.chain(seed, size)
    found = portability(program, frames)
    assert not found.obstacle
    assert found.portable == (not found.leaves)
    measured = dict(box._measured(program, frames, {n.id for n in program.populations}))
    left = {(leaving.layer, leaving.condition): leaving for leaving in found.leaves}
    for leaving in found.leaves:
        assert leaving.largest > leaving.limit
    for layer, seen in measured.items():
        for condition, largest in seen.items():
            assert (largest > LIMITS[condition]) == ((layer, condition) in left)


def test_small_networks_are_inside_for_every_input():
    program, frames = lif_networks.chain(3, 0)
    found = portability(program, frames)
    assert found.portable
    assert found.n_stimuli == 0


def test_payloads_and_right_shifts_leave_the_box():
    program, frames = lif_networks.chain(3, 0, high=255, exponent=-2)
    found = portability(program, frames)
    conditions = {leaving.condition: leaving for leaving in found.leaves}
    assert conditions["message of the input"].largest == 255
    assert conditions["right shift of sums"].largest == 2
    assert not conditions["right shift of sums"].measured


def test_neurons_that_the_emulators_do_not_have_are_named():
    program, frames = lif_networks.subtracting()
    found = portability(program, frames)
    assert not found.portable
    assert "reset by subtraction" in found.obstacle
    assert found.leaves == ()


def test_limits_are_those_of_the_models():
    assert LIMITS["sum of a step"] << FRACTION_BITS < 1 << 21 <= (1 << 15) << FRACTION_BITS
    assert LIMITS["current"] == np.int64(1 << 23) - 1
