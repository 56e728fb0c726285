"""Random networks as C programs: every message equals the reference's."""

from __future__ import annotations

import shutil

import pytest

import networks
import scheduled_networks
from snn_backends.c import CBackend, machines

KINDS = (*networks.ALL_NEURONS,)
STEPS = {"graded": 1, "clip-floor": 1, "lines": 1}


def random_network(seed):
    """A network of one of all kinds of neuron, and its stimuli."""
    kind = KINDS[seed % len(KINDS)]
    make = seed // len(KINDS) % 5
    n_steps = STEPS.get(kind, 1 + seed % 7)
    if make == 0:
        return networks.structures(seed, kind, n_steps)
    if make == 1:
        return networks.branches(seed, n_steps, 2, kinds=(kind,))
    if make == 2:
        coding = scheduled_networks.SCHEDULED[seed % 3]
        made = scheduled_networks.scheduled(coding, "structures", seed, 1 + seed % 6)
        return made.program, made.frames
    if make == 3:
        return networks.structures(seed, "subtract", 1 + seed % 7, poisson=True)
    coding = scheduled_networks.SCHEDULED[seed % 3]
    made = scheduled_networks.scheduled(coding, "branches", seed, 1 + seed % 6)
    return made.program, made.frames


def assert_equal(seed, folder, *, emulators=False):
    program, frames = random_network(seed)
    folder.mkdir()
    backend = CBackend()
    assert backend.check(program) == []
    backend.emit(program, folder, options={})
    outcome = backend.verify(program, folder, frames[:3], emulators=emulators)
    assert outcome.equal, outcome.details
    assert outcome.compared
    shutil.rmtree(folder)


@pytest.mark.parametrize("seed", [4, 24])
def test_random_networks(seed, tmp_path):
    assert_equal(seed, tmp_path / "c")


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 200, 20))
def test_many_random_networks(start, tmp_path):
    for seed in range(start, start + 20):
        assert_equal(seed, tmp_path / "c")


@pytest.mark.slow
def test_random_networks_on_other_machines(tmp_path):
    """Among them one whose bytes go the other way."""
    names = [machine.name for machine in machines.others()]
    if not any(name.startswith("s390x") for name in names):
        pytest.skip("no compiler and emulator for s390x: apt install qemu-user gcc-s390x-linux-gnu")
    for seed in range(40):
        assert_equal(seed, tmp_path / "c", emulators=True)
