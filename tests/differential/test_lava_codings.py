"""Networks spread over time and signed ones: Lava sends what the reference sends."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lava_batch
import lif_networks
import networks
import spread_networks
from lava_examples import unshrunk
from snn_backends.lava import LavaBackend, emission
from snn_backends.lava.plan import make_plan
from snn_compile.hil.divergence import first_divergence
from snn_compile.ir.geometry import Geometry
from snn_compile.sim.reference import input_messages, run

pytestmark = pytest.mark.lava


def assert_equal(program, frames, *, conv_stimuli):
    backend = LavaBackend()
    assert backend.check(program) == []
    with TemporaryDirectory() as folder:
        backend.emit(program, Path(folder), options={})
        found = backend.verify(
            program, Path(folder), frames, time_limit=3000, conv_stimuli=conv_stimuli
        )
    assert found.equal, found.details
    per_stimulus = sum(np.prod(p.shape) for p in program.populations) * program.window.n_steps
    assert found.compared >= len(frames) * per_stimulus
    return found


def random_branches(max_examples):
    """A test of so many networks."""

    @unshrunk(max_examples)
    @given(
        seed=st.integers(0, 1 << 30),
        coding=st.sampled_from(["sync", "sync", "signed", "sigma-delta"]),
        n_steps=st.integers(1, 7),
    )
    def test(lava_environment, seed, coding, n_steps):
        steps = 1 if coding == "sigma-delta" else n_steps
        program, frames = spread_networks.branches(seed, coding, steps)
        assert_equal(program, frames, conv_stimuli=0)

    return test


test_random_branches = random_branches(1)
test_more_random_branches = pytest.mark.slow(random_branches(8))


@pytest.mark.parametrize(("coding", "n_steps"), spread_networks.CODINGS)
def test_the_emitted_folder_takes_messages(lava_environment, tmp_path, coding, n_steps):
    """The host may have made them of the frames; all other tests leave that to ``run.py``."""
    program, frames = spread_networks.structures(2, coding, n_steps)
    folder = tmp_path / "lava"
    folder.mkdir()
    LavaBackend().emit(program, folder, options={})
    np.savez(tmp_path / "stimulus.npz", messages=input_messages(program, frames))
    command = [*lava_environment.command(folder / "run.py"), "stimulus.npz", "-o", "traces"]
    done = subprocess.run(
        command, cwd=tmp_path, check=False, timeout=600, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = run(program, frames).outputs
    with np.load(tmp_path / "traces" / "outputs.npz", allow_pickle=False) as outputs:
        readouts = {p.name: p.node.id for p in make_plan(program).populations}
        assert {readouts[name] for name in outputs.files} == {n.id for n in program.readouts}
        for name in outputs.files:
            assert (outputs[name] == expected[readouts[name]]).all()


def test_what_stock_sigma_delta_cannot_do(lava_environment):
    """Why it is not used: what its shift cuts off is lost, more with every frame."""
    script = Path(__file__).parents[1] / "bench" / "lava_stock_sigma_delta.py"
    done = subprocess.run(
        [*lava_environment.command(script), "30"],
        check=False,
        timeout=600,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") :])
    every, unscaled, scaled = (list(setting["error"].values()) for setting in found.values())
    assert not any(every)
    assert 0 < max(unscaled) < 1
    assert scaled[0] < 1 < scaled[1] < scaled[2]


# Faults ------------------------------------------------------------------------------------------


@cache
def small(coding):
    """Small weights and thresholds, so that 1 more shows; the input feeds two depths."""
    n_steps = dict(spread_networks.CODINGS)[coding]
    net = spread_networks.Builder(1, (2, 5, 6), coding, n_steps, high=3)
    same = Geometry(padding=(1, 1, 1, 1))
    first = net.layer(net.conv(networks.INPUT, 3, bits=3, geometry=same))
    second = net.layer(
        net.conv(first, 3, bits=3, geometry=same),
        net.conv(networks.INPUT, 3, bits=2, geometry=same),
    )
    net.readout(net.dense(second, 4, bits=4))
    return net.build(), net.stream(10)


def array(layer, name):
    """One more in the middle of an array of a population, the first one being 0."""

    def change(folder, plan):
        with np.load(folder / emission.ARRAYS) as file:
            arrays = dict(file)
        values = arrays[f"{plan.populations[layer].name}.{name}"]
        values.reshape(-1)[values.size // 2] += 1
        np.savez_compressed(folder / emission.ARRAYS, **arrays)

    return change


def text(name, old, new):
    """Other text in a file; every place where it is."""

    def change(folder, plan):
        path = folder / name
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new))

    return change


def second_layer(key, old, new):
    """Another number for the second population's process, not for its trace."""

    def change(folder, plan):
        path = folder / emission.MANIFEST
        manifest = json.loads(path.read_text())
        name = plan.populations[1].name
        (entry,) = (layer for layer in manifest["layers"] if layer["name"] == name)
        assert entry["constants"][key] == old
        entry["constants"][key] = new
        path.write_text(json.dumps(manifest))

    return change


NEURONS = "processes/neurons.py"
DIFFERENCES = "        frames = np.diff(frames.astype(np.int64), axis=0, prepend=0)\n"
SILENT = "        if self.time_step - 1 < self.first_row:\n            return np.zeros_like(a)\n"
FAULTS = {
    "sync-threshold": ("sync", 1, array(1, "threshold")),
    "sync-bias": ("sync", 0, array(0, "bias")),
    "sync-output-bias": ("sync", 2, array(2, "bias")),
    "sync-depth-without-T": ("sync", 1, second_layer("first_row", 10, 2)),
    "sync-a-row-late": ("sync", 1, second_layer("first_row", 10, 11)),
    "sync-delay-without-T": ("sync", 1, text(emission.MANIFEST, '"delay": 5,', '"delay": 1,')),
    "sync-frame-held": ("sync", 0, text("network.py", ", once=once", "")),
    "sync-not-cleared": (
        *("sync", 0),
        text(NEURONS, "            self.collected = np.zeros_like(a)\n", ""),
    ),
    "sigma-delta-shift": ("sigma-delta", 1, array(1, "shift")),
    "sigma-delta-bias": ("sigma-delta", 0, array(0, "bias")),
    "sigma-delta-output-bias": ("sigma-delta", 2, array(2, "bias")),
    "sigma-delta-frames-sent": ("sigma-delta", 0, text("run.py", DIFFERENCES, "        pass\n")),
    "sigma-delta-bias-sent-early": ("sigma-delta", 0, text(NEURONS, SILENT, "")),
    "sigma-delta-nothing-subtracted": (
        *("sigma-delta", 0),
        text(NEURONS, "        self.sent = payload\n", ""),
    ),
    "signed-threshold": ("signed", 1, array(1, "threshold")),
    "signed-bias": ("signed", 0, array(0, "bias")),
    "signed-a-row-late": ("signed", 1, second_layer("first_row", 2, 3)),
    "signed-nothing-taken-back": (
        *("signed", 1),
        text(NEURONS, ".astype(np.int64) - taken_back", ".astype(np.int64)"),
    ),
    "signed-below-nothing": ("signed", 0, text(NEURONS, " & (self.total > 0)", "")),
}


@dataclass(frozen=True)
class Faulty:
    """A network whose emitted files are changed, as ``lava_batch`` takes it."""

    name: str

    @property
    def network(self):
        coding, _, _ = FAULTS[self.name]
        return small(coding)

    @property
    def program(self):
        return self.network[0]

    @property
    def frames(self):
        return self.network[1]


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_every_fault_is_found(lava_environment, tmp_path, every):
    """In the files; and in what Lava sends, layer by layer, all of them in one process."""
    faults = dict(list(FAULTS.items())[::every])
    assert {coding for coding, _, _ in faults.values()} == {c for c, _, _ in FAULTS.values()}
    faulty = [Faulty(name) for name in faults]
    plans = lava_batch.emitted(faulty, tmp_path)
    expected, in_files = {}, {}
    for name, (_, layer, change) in faults.items():
        assert emission.differences(plans[name], tmp_path / name) == []
        change(tmp_path / name, plans[name])
        in_files[name] = bool(emission.differences(plans[name], tmp_path / name))
        expected[name] = plans[name].populations[layer].node.id
    assert all(in_files.values()), in_files
    sent = lava_batch.run(lava_environment, faulty, plans, "sparse", tmp_path)
    found = {}
    for network in faulty:
        right = run(network.program, network.frames, record=True).messages
        order = [population.node.id for population in plans[network.name].populations]
        divergence = first_divergence({layer: right[layer] for layer in order}, sent[network.name])
        found[network.name] = divergence and divergence.layer
    assert found == expected


@pytest.mark.parametrize(
    ("seed", "size"),
    [
        pytest.param(1, 0, marks=pytest.mark.slow),
        pytest.param(2, 2, marks=pytest.mark.slow),
        (5, 4),
    ],
)
def test_stock_neurons_alone(lava_environment, seed, size):
    """Lava's own LIFReset throughout, a readout among them whose potential is read; and beyond the
    box in which other models of Loihi agree, too."""
    program, frames = lif_networks.chain(seed, size)
    assert all(population.stock for population in make_plan(program).populations)
    recorded = run(program, frames, record=True).messages
    assert all((messages != 0).any() for messages in recorded.values())
    assert_equal(program, frames, conv_stimuli=2)
