"""PilotNet, trained and measured by Intel: its spikes, and the energy that they take."""

from __future__ import annotations

import numpy as np
import pytest

from snn_compile.mapping import bill, map_program
from snn_compile.sim import engine
from snn_compile.targets import load_target

MEASURED = 1093.5e-6
"""Joules of dynamic energy an inference (lava-dl, executed notebook pilotnet_snn/benchmark)."""


@pytest.fixture(scope="module")
def lif(shared_data):
    pytest.importorskip("h5py")
    from pilotnet import folder, pilotnet

    if not (folder("lif") / "network.net").exists():
        pytest.skip(f"no PilotNet in {folder('lif')}")
    return pilotnet("lif")


def test_every_spike_is_the_stored_one(lif):
    run = engine.run(lif.program, lif.frames, record=True)
    assert len(lif.stored) == 8
    for name, stored in lif.stored.items():
        np.testing.assert_array_equal(run.messages[name][0], stored)


def test_the_output_follows_from_the_stored_spikes(lif):
    """The stored potential of the last layer does not: it is of a run with other spikes."""
    run = engine.run(lif.program, lif.frames)
    (last,) = lif.program.synapses_into(lif.program.readouts[0])
    spikes = lif.stored[last.inputs[0]].sum(axis=0).ravel()
    assert run.outputs["layer10"].ravel() == last.weight.values @ spikes


def test_the_energy_is_within_15_percent_of_the_measured(lif):
    counts = engine.run(lif.program, lif.frames).activity
    mapped = map_program(lif.program, load_target("loihi2")).graph
    found = bill(mapped, counts, host=False)
    assert found.dynamic.value == pytest.approx(MEASURED, rel=0.15)
