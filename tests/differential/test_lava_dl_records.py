"""Networks of lava-dl beside what Intel's software and chip have recorded of them.

Layer d (from 1) gets the first message of a sample d steps after it. The chip resets layer by layer
with the sample, one step later for each: records of the spiking network are windows that begin in
row d. They are of 17 steps in all files but those of the last layer: these are of another run, of
16 steps, whose layers were reset one row before the sample arrives.
"""

from __future__ import annotations

import numpy as np
import pytest

from snn_compile.ir.quantized import CubaLIFNeurons, ThresholdDeltaNeurons
from snn_compile.options import CompileOptions
from snn_compile.sim import engine, reference
from snn_compile.sim.reference import Simulator

ROWS = 24
"""Steps in the records of the spiking network."""
WHERE_IT_FIRED = 128
"""What the chip's register of the potential holds in a step with a spike, whatever the bias."""
pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def records(shared_data):
    """Reads a record as (step, channel, row, column); axes are stored in the opposite order."""
    folder = shared_data / "lava_dl"

    def read(kind, name):
        if not (folder / kind).is_dir():
            pytest.skip(f"no records in {folder / kind}")
        return np.load(folder / kind / f"{name}.npy").T

    read.folder = folder
    return read


def imported(records, kind, n_steps):
    from snn_frontends.lava_dl import LavaDlFrontend

    file = records.folder / kind / "network.net"
    if not file.exists():
        pytest.skip(f"no {file}")
    return LavaDlFrontend().read_fixed(file, CompileOptions(timesteps=n_steps))


@pytest.fixture(scope="module")
def lif(records):
    """The network in windows of 17 steps, and the recorded input: one window and a part of one."""
    found = imported(records, "pilotnet_lif", 17)
    program = found.network(found.arrivals[0])
    spikes = records("pilotnet_lif", "input").astype(np.int64)
    frames = np.zeros((34, *spikes.shape[1:]), np.int64)
    frames[:ROWS] = spikes
    return program, frames.reshape(2, 17, *spikes.shape[1:])


@pytest.fixture(scope="module")
def lif_run(lif):
    program, frames = lif
    return engine.run(program, frames, record=True)


def layers(program):
    """Every layer but the last, with its depth and the name of its records."""
    for node in program.populations[:-1]:
        depth = program.depth[node.id]
        yield node, depth, f"conv-{depth - 1}" if depth <= 5 else f"fc-{depth - 6}"


def test_every_spike_of_the_lif_network(records, lif, lif_run):
    compared = 0
    for node, depth, name in layers(lif[0]):
        stored = records("pilotnet_lif", name).reshape(ROWS, *node.shape)[depth:]
        ours = lif_run.messages[node.id].reshape(34, *node.shape)[: len(stored)]
        np.testing.assert_array_equal(ours, stored, name)
        assert stored.any()
        compared += stored.size
    assert compared == 2_664_290


def test_every_current_and_potential_of_the_lif_network(records, lif, lif_run):
    """Of each layer but conv-0, of which none are stored; given the spikes of the layer before."""
    program, frames = lif
    simulator, compared = Simulator(program), 0
    sent = {program.input.id: frames, **lif_run.messages}
    for node, depth, name in layers(program):
        assert isinstance(node, CubaLIFNeurons)
        if name == "conv-0":
            continue
        (source,) = (group.inputs[0] for group in program.synapses_into(node))
        values = {source: np.moveaxis(sent[source], (0, 1), (-1, -2))}
        steps = node.steps(simulator.current(node, values), 17)
        states = [np.stack(each) for each in zip(*steps, strict=True)]
        u, v, fired = (np.moveaxis(each, -1, 0).reshape(34, *node.shape) for each in states)
        stored_u, stored_v = (
            records("pilotnet_lif", f"{name}-{which}").reshape(ROWS, *node.shape)[depth:]
            for which in "uv"
        )
        n = len(stored_u)
        np.testing.assert_array_equal(u[:n], stored_u, name)
        np.testing.assert_array_equal(np.where(fired, WHERE_IT_FIRED, v)[:n], stored_v, name)
        compared += 2 * stored_u.size
    assert compared == 1_831_108


def test_the_last_layer_of_the_lif_network(records):
    """Its first step of a window is the one before the sample arrives: nothing comes yet."""
    found = imported(records, "pilotnet_lif", 16)
    program = found.network(found.arrivals[0])
    spikes = records("pilotnet_lif", "input").astype(np.int64)
    rows = np.concatenate([0 * spikes[:1], spikes[:15], spikes[:15], 0 * spikes[:1]])
    run = engine.run(program, rows.reshape(2, 16, *spikes.shape[1:]), record=True)
    last = program.readouts[0]
    depth = program.depth[last.id]
    potential, current, spike = (
        records("pilotnet_lif", f"fc-3-{which}").ravel()[depth - 1 :] for which in "vus"
    )
    ours = run.messages[last.id].ravel()
    np.testing.assert_array_equal(ours[:17] << 6, potential)
    changes = np.diff(ours.reshape(2, 16), axis=1, prepend=0).ravel()
    np.testing.assert_array_equal(changes[:17] << 6, current)
    assert not spike.any()
    assert np.abs(potential).max() == 5376


@pytest.mark.parametrize("simulate", [engine.run, reference.run], ids=["engine", "reference"])
def test_the_sigma_delta_network_as_far_as_it_is_recorded(records, simulate):
    """What the input layer sends, the sums of the next two layers' input, and the output.

    All layers run from the first row on: the rows before a layer gets the frame are what the biases
    of the layers before it have caused.
    """
    found = imported(records, "pilotnet_sdnn", 20)
    constant = found.arrivals[1]
    program = found.network(constant)
    file_biases = {node.id: node.bias.values for node in _without_rest(found).populations}
    frame = records("pilotnet_sdnn", "input").astype(np.int64)
    run = simulate(program, frame, record=True)
    np.testing.assert_array_equal(run.messages["layer0"][0], records("pilotnet_sdnn", "act0"))
    simulator = Simulator(program)
    for name in ("layer1", "layer2"):
        node = program.graph[name]
        assert isinstance(node, ThresholdDeltaNeurons)
        (source,) = (group.inputs[0] for group in program.synapses_into(node))
        sent = np.moveaxis(run.messages[source].astype(np.int64), (0, 1), (-1, -2))
        arrived = np.moveaxis(simulator.current(node, {source: sent})[..., 0], -1, 0)
        before = node.bias.values - file_biases[name]
        sums = before + arrived.cumsum(axis=0, dtype=np.int64)
        stored = records("pilotnet_sdnn", name.replace("layer", "sigma"))
        late = program.depth[node.id] - 1
        np.testing.assert_array_equal(sums[: 20 - late], stored[late:])
        np.testing.assert_array_equal(np.broadcast_to(before, node.shape), stored[late - 1])
    (readout,) = program.readouts
    output = records("pilotnet_sdnn", "output").ravel()
    at_rest = readout.initial_potential.values.ravel()
    assert [*at_rest, run.messages[readout.id][0, 0].item()] == output[-2:].tolist()
    assert output[-1] == -31026


def _without_rest(found):
    from snn_frontends.lava_dl import rest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest, "started", lambda program, lead: program)
        return found.network(found.arrivals[1])


def test_the_image_layer_makes_the_recorded_spikes_from_constant_values(records):
    """The image itself is not stored; a value's spikes tell it apart from all others."""
    found = imported(records, "pilotnet_lif", 17)
    constant = next(a for a in found.arrivals if a.coding.value == "current")
    assert (constant.low, constant.high) == (-4, 76)
    program = found.network(constant)
    node = program.graph["layer0"]
    every = np.resize(np.arange(constant.low, constant.high + 1), node.shape)
    possible = node.respond(every[..., None, None], 17).reshape(-1, 17)
    spikes = records("pilotnet_lif", "input")[:17].reshape(17, -1).T.astype(np.int8)
    assert {each.tobytes() for each in spikes} <= {each.tobytes() for each in possible}
