"""Lava computes what the reference computes: every message, in both synapse forms."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import networks
from lava_examples import unshrunk
from snn_backends.lava import LavaBackend
from snn_backends.lava.plan import make_plan
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.quantized import IFNeurons, Readout
from snn_compile.ir.spiking import Reset
from snn_compile.sim import bounds
from snn_compile.sim.reference import run

pytestmark = pytest.mark.lava


def verify(program, frames, **options):
    backend = LavaBackend()
    assert backend.check(program) == []
    with TemporaryDirectory() as folder:
        backend.emit(program, Path(folder), options={})
        return backend.verify(program, Path(folder), frames, time_limit=600, **options)


def assert_equal(program, frames, **options):
    found = verify(program, frames, **options)
    assert found.equal, found.details
    assert found.first_divergence is None
    per_stimulus = sum(np.prod(p.shape) for p in program.populations) * program.window.n_steps
    assert found.compared >= len(frames) * per_stimulus
    return found


def test_structures_and_their_synapses_by_themselves(lava_environment):
    """What ``verify`` adds to the vectors of ``tests/conformance``: both forms, and probes."""
    program, frames = networks.structures(11, "graded", 1)
    recorded = run(program, frames, record=True).messages
    silent = [key for key, messages in recorded.items() if not messages.any()]
    assert not silent, "a network that says nothing proves nothing"
    found = assert_equal(program, frames)
    assert found.mode.startswith(lava_environment.mode)
    assert found.mode.endswith("synapses sparse and conv")
    assert any(line.startswith("synapses probed, conv") for line in found.details)


def test_poisson_input(lava_environment):
    program, frames = networks.structures(12, "subtract", 5, poisson=True)
    assert_equal(program, frames, conv_stimuli=0)


def random_branches(max_examples):
    """A test of so many networks."""

    @unshrunk(max_examples)
    @given(seed=st.integers(0, 1 << 30), n_steps=st.integers(1, 6), poisson=st.booleans())
    def test(lava_environment, seed, n_steps, poisson):
        program, frames = networks.branches(seed, n_steps, poisson=poisson and n_steps > 1)
        assert any(isinstance(node, Readout) for node in program.graph)
        assert_equal(program, frames, conv_stimuli=0)

    return test


test_random_branches = random_branches(1)
test_more_random_branches = pytest.mark.slow(random_branches(8))


def test_a_part_of_the_stimuli_and_progress(lava_environment):
    program, frames = networks.mlp(3, "subtract", 4)
    told = []
    found = verify(program, frames, stimuli=5, progress=told.append)
    assert found.equal
    assert found.stimuli == 5
    assert sum(told) == 5
    assert found.steps == 5 * 4 + 3


@pytest.mark.parametrize("form", ["sparse", "conv"])
def test_the_emitted_folder_runs_by_itself(lava_environment, tmp_path, form):
    program, frames = networks.structures(6, "zero", 3)
    folder = tmp_path / "lava"
    folder.mkdir()
    LavaBackend().emit(program, folder, options={"synapses": form})
    np.savez(tmp_path / "stimulus.npz", frames=frames)
    command = [*lava_environment.command(folder / "run.py"), "stimulus.npz", "-o", "traces"]
    done = subprocess.run(
        command, cwd=tmp_path, check=False, timeout=600, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "traces in traces" in done.stdout
    with np.load(tmp_path / "traces" / "outputs.npz", allow_pickle=False) as outputs:
        assert len(outputs.files) == len(program.readouts)
        for population in make_plan(program).populations:
            if isinstance(population.node, Readout):
                expected = run(program, frames).outputs[population.node.id]
                assert (outputs[population.name] == expected).all()


def test_the_edges_of_the_stock_neurons(lava_environment):
    """Integrate-and-fire just inside the box of LIF, leaky neurons far outside of it: u wraps."""
    net = networks.Builder(2, (40,), n_steps=1, low=-255, high=255)
    random = net.random
    four = net.dense(networks.INPUT, 200)
    weight = net[four].weight.values.copy()
    weight[:, 4:] = 0  # sums of up to 4 * 127 * 255 = 129540
    weight[:, :4] = random.choice([-127, 127], (200, 4))
    net.nodes[-1] = dataclasses.replace(net.nodes[-1], weight=QTensor(weight, QFormat(8)))
    net._add_population(
        IFNeurons,
        (four,),
        threshold=QTensor.of(random.integers(1 << 16, (1 << 17) + 1, 200)),
        bias=QTensor.of(random.integers(-1500, 1501, 200)),
        initial_potential=QTensor.of(np.zeros(200, np.int64)),
        reset=Reset.ZERO,
    )
    inside = net.nodes[-1].id
    net.neurons("leaky", net.dense(networks.INPUT, 50, exponent=3))
    wrapping = net.nodes[-1].id
    for source in (inside, wrapping):
        net.neurons("readout", net.dense(source, 3))
    program = net.build()
    plans = {p.node.id: p for p in make_plan(program).populations}
    assert plans[inside].process == plans[wrapping].process == "LIFReset"
    frames = random.choice([-255, -254, 254, 255], (60, 40))
    largest = bounds.current(program.graph, program.graph[wrapping]).magnitude
    assert largest << 6 > 1 << 24
    recorded = run(program, frames, record=True).messages
    assert recorded[inside].any()
    assert recorded[wrapping].any()
    assert_equal(program, frames)
