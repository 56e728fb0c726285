"""PilotNet, trained and measured by Intel: the energy of its spikes, and its memory."""

from __future__ import annotations

import numpy as np
import pytest

from snn_compile.mapping import bill, map_program
from snn_compile.mapping.block import Block
from snn_compile.mapping.counts import counts_of
from snn_compile.mapping.memory import format_of
from snn_compile.sim import engine
from snn_compile.targets import load_target

MEASURED = 1093.5e-6
"""Joules of dynamic energy an inference (lava-dl, executed notebook pilotnet_snn/benchmark)."""
ALLOCATED = {
    "lif": [81, 864, 1620, 2160, 2880, 61440, 1300, 150, 10],
    "sdnn": [81, 864, 1620, 2592, 2880, 66560, 1500, 150, 10],
}
"""Words of synapse memory of each layer, in the logs of the same notebooks."""


def read(kind):
    pytest.importorskip("h5py")
    from pilotnet_network import folder, pilotnet

    if not (folder(kind) / "network.net").exists():
        pytest.skip(f"no PilotNet in {folder(kind)}")
    return pilotnet(kind)


@pytest.fixture(scope="module")
def lif(shared_data):
    return read("lif")


@pytest.fixture(scope="module")
def small(shared_data):
    return read("sdnn_small")


def test_the_energy_is_within_15_percent_of_the_measured(lif):
    counts = engine.run(lif.program, lif.frames).activity
    mapped = map_program(lif.program, load_target("loihi2")).graph
    found = bill(mapped, counts, host=False)
    assert found.dynamic.value == pytest.approx(MEASURED, rel=0.15)


def test_sums_of_the_sdnn_are_the_stored_ones_with_the_thresholds_of_lava_dl(small):
    from pilotnet_network import sums_with_thresholds

    sums = sums_with_thresholds(small, 20)
    for name, stored in small.stored.items():
        np.testing.assert_array_equal(sums[name], stored)
    np.testing.assert_array_equal(sums["layer9"][: len(small.potential)].ravel(), small.potential)


@pytest.mark.parametrize("kind", ["lif", "sdnn"])
def test_memory_in_words_is_that_of_intels_allocation_log(shared_data, kind):
    """Of each layer as a whole, of a sixth of a dense one, and of its twelfths on average."""
    program = read(kind).program
    form = format_of(load_target("loihi2-nxcore"))

    def words(synapses, block):
        shape = program.graph[synapses.inputs[0]].shape
        bits = form.taken(synapses, counts_of(synapses, shape), block, int(np.prod(shape)))
        return bits / 64

    groups = [program.synapses_into(population)[0] for population in program.populations]
    assert [words(group, Block.whole(group.shape)) for group in groups] == ALLOCATED[kind]
    sixth, twelfths = (
        Block((0, 17), (0, 1), (0, 1)),
        [(k, min(k + 9, 100)) for k in range(0, 100, 9)],
    )
    assert words(groups[5], sixth) == 12_800
    assert len(twelfths) == 12
    total = sum(words(groups[5], Block(each, (0, 1), (0, 1))) for each in twelfths)
    assert int(total / 12) == 7253
