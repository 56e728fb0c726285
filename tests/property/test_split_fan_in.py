"""Split networks send what they sent before, later by as many steps as is said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from scheduled_networks import SCHEDULED, SMALL, scheduled
from small_targets import small
from snn_compile.fit.split_fan_in import SplitFanIn
from split_networks import assert_split


def _compare(kind, name, seed, n_steps, axons):
    target = small(input_axons_per_core=axons, payload_bits=None)
    if kind in SCHEDULED:
        made = scheduled(kind, name, seed, n_steps)
        program, frames = made.program, made.frames[:4]
    else:
        n_steps = 1 if kind in networks.SINGLE_STEP else n_steps
        if name == "branches":
            program, frames = networks.branches(seed, n_steps, 2, kinds=(kind,))
        else:
            program, frames = getattr(networks, name)(seed, kind, n_steps)
    if SplitFanIn(target).too_wide(program):
        assert_split(program, frames[:4], target)


CASES = {
    "kind": st.sampled_from((*networks.ALL_NEURONS, *SCHEDULED)),
    "name": st.sampled_from(SMALL),
    "seed": st.integers(0, 2**16),
    "n_steps": st.integers(1, 6),
    "axons": st.integers(3, 12),
}


@given(**CASES)
@settings(max_examples=12)
def test_a_split_network_sends_what_it_did(kind, name, seed, n_steps, axons):
    _compare(kind, name, seed, n_steps, axons)


@pytest.mark.slow
@given(**CASES)
@settings(max_examples=600)
def test_many_split_networks_send_what_they_did(kind, name, seed, n_steps, axons):
    _compare(kind, name, seed, n_steps, axons)
