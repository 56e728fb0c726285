"""NIR files between this compiler and independent libraries, in both directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nir_exchange import NAMES, PRODUCERS, REFUSED, RUNTIMES, called, network, options_for
from snn_backends.lava import LavaBackend
from snn_backends.nir import NirBackend
from snn_compile import compile_model
from snn_compile.errors import UnsupportedError
from snn_compile.sim import reference
from snn_compile.sim import spiking as simulation
from snn_frontends.nir import NirFrontend

pytest.importorskip("nir")

FIXTURES = Path(__file__).parent.parent / "fixtures"


# ----------------------------------------------------------------------------------------- export


@pytest.mark.parametrize(
    ("runtime", "kind", "joined", "one_threshold"),
    [
        ("norse", "stock", False, False),  # it does not add up several edges
        ("spikingjelly", "stock", True, True),  # one threshold a layer is all it takes
        ("snntorch", "zero", True, False),
        ("snntorch", "subtract", True, False),
        ("sinabs", "zero", True, False),
        ("sinabs", "subtract", True, False),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_other_runtimes_compute_our_integers(
    runtime, kind, joined, one_threshold, seed, nir_python, tmp_path
):
    program, frames = network(kind, seed, joined=joined, one_threshold=one_threshold)
    folder = tmp_path / "nir"
    folder.mkdir()
    NirBackend().emit(program, folder)
    np.savez(tmp_path / "in.npz", messages=reference.input_messages(program, frames))
    paths = (folder / "network.nir", tmp_path / "in.npz", tmp_path / "out.npz")
    called(nir_python, RUNTIMES, runtime, *paths)
    run = reference.run(program, frames, record=True)
    assert all(run.messages[node.id].any() for node in program.populations)
    expected = run.messages[program.readouts[0].id]
    with np.load(tmp_path / "out.npz") as found:
        potentials = found["outputs"].cumsum(axis=1).reshape(expected.shape)
    assert np.array_equal(potentials, expected)


# ----------------------------------------------------------------------------------------- import


@pytest.fixture(scope="module")
def produced(nir_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("produced")
    called(nir_python, PRODUCERS, folder, *NAMES, *REFUSED)
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_recurrent_networks_of_theirs_are_refused(name, produced):
    with pytest.raises(UnsupportedError) as caught:
        NirFrontend().read_spiking(produced / f"{name}.nir", options_for(name, 20))
    assert caught.value.code == "recurrent"


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_other_libraries_keep_their_spikes(name, produced):
    """In floating point all of them; in fixed point, with rounded weights, nearly their number."""
    with np.load(produced / f"{name}.npz") as data:
        x, spikes = data["x"], data["spikes"]
    options = options_for(name, x.shape[1])
    path = produced / f"{name}.nir"
    imported = NirFrontend().read_spiking(path, options)
    frames = x.astype(np.int64).reshape(*x.shape[:2], *imported.network.input.shape)
    counts = x.shape[1] * simulation.evaluate(imported.network, frames)
    assert spikes.sum() > 25
    assert np.array_equal(counts.reshape(len(x), -1), spikes.sum(axis=1))
    compiled = compile_model(path, options=options, evaluate=(x, None))
    total = compiled.run(x).sum()
    assert abs(total - spikes.sum()) <= max(3, 0.05 * spikes.sum())


def test_a_trained_file_runs_on_lava_bit_for_bit(lava_environment, tmp_path):
    """snnTorch's default neuron: leaky, reset by subtraction, one step late."""
    assert lava_environment
    fixture = FIXTURES / "snntorch_tiny.nir"
    with np.load(fixture.with_suffix(".npz")) as data:
        x = data["x"]
    said = {"nir_producer": "snntorch", "nir_reset": "subtract", "timesteps": 24}
    compiled = compile_model(fixture, evaluate=(x, None), emit=(), **said)
    backend, folder = LavaBackend(), tmp_path / "lava"
    folder.mkdir()
    backend.emit(compiled.program, folder)
    outcome = backend.verify(compiled.program, folder, compiled.stimulus[:3])
    assert outcome.equal, outcome.details
