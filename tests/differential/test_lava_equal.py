"""Lava computes what the reference computes: every message, in both synapse forms."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import networks
from snn_backends.lava import LavaBackend
from snn_compile.ir.quantized import Readout
from snn_compile.sim.reference import run

pytestmark = pytest.mark.lava


def verify(program, frames, **options):
    backend = LavaBackend()
    assert backend.check(program) == []
    with TemporaryDirectory() as folder:
        backend.emit(program, Path(folder), options={})
        return backend.verify(program, Path(folder), frames, time_limit=120, **options)


def assert_equal(program, frames, **options):
    found = verify(program, frames, **options)
    assert found.equal, found.details
    assert found.first_divergence is None
    per_stimulus = sum(np.prod(p.shape) for p in program.populations) * program.window.n_steps
    assert found.compared >= len(frames) * per_stimulus
    return found


@pytest.mark.parametrize(
    ("kind", "n_steps"),
    [("graded", 1), ("subtract", 6), ("zero", 5), ("stock", 7), ("leaky", 4)],
)
def test_structures(lava_environment, kind, n_steps):
    program, frames = networks.structures(11, kind, n_steps)
    recorded = run(program, frames, record=True).messages
    silent = [key for key, messages in recorded.items() if not messages.any()]
    assert not silent, "a network that says nothing proves nothing"
    found = assert_equal(program, frames)
    assert found.mode.startswith(lava_environment.mode)
    assert found.mode.endswith("synapses sparse and conv")


def test_poisson_input(lava_environment):
    program, frames = networks.structures(12, "subtract", 5, poisson=True)
    assert_equal(program, frames, conv_stimuli=0)


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
)
@given(seed=st.integers(0, 1 << 30), n_steps=st.integers(1, 6), poisson=st.booleans())
def test_random_branches(lava_environment, seed, n_steps, poisson):
    program, frames = networks.branches(seed, n_steps, poisson=poisson and n_steps > 1)
    assert any(isinstance(node, Readout) for node in program.graph)
    assert_equal(program, frames)


def test_a_part_of_the_stimuli_and_progress(lava_environment):
    program, frames = networks.mlp(3, "subtract", 4)
    told = []
    found = verify(program, frames, stimuli=5, progress=told.append)
    assert found.equal
    assert found.stimuli == 5
    assert sum(told) == 5
    assert found.steps == 5 * 4 + 3
