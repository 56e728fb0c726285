"""NIR files between this compiler and independent libraries, in both directions."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import networks
from snn_backends.lava import LavaBackend
from snn_backends.nir import NirBackend
from snn_compile import compile_model
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import IFNeurons, QuantizedGraph, along_channels
from snn_compile.ir.spiking import InputCoding
from snn_compile.options import CompileOptions
from snn_compile.sim import reference
from snn_compile.sim import spiking as simulation
from snn_frontends.nir import NirFrontend

pytest.importorskip("nir")

HERE = Path(__file__).parent.parent
RUNTIMES, PRODUCERS = HERE / "nir_runtimes.py", HERE / "nir_producers.py"


def called(python, script, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [str(part) for part in (python, script, *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


# ----------------------------------------------------------------------------------------- export


def network(kind, seed, *, joined, one_threshold):
    """Padding, strides, groups, a kernel that is not square, dense layers, biases."""
    net = networks.Builder(seed, (2, 8, 7), n_steps=8, coding=InputCoding.CURRENT, low=-9, high=20)
    same, across = Geometry(padding=(1, 1, 1, 1)), Geometry(padding=(0, 1, 0, 1))
    first = net.neurons(kind, net.conv(networks.INPUT, 4, geometry=same))
    second = net.neurons(
        kind, net.conv(first, 4, (2, 2), geometry=Geometry(stride=(2, 2), groups=4))
    )
    arms = [net.conv(second, 3, (1, 3), geometry=across)]
    if joined:
        arms.append(net.conv(second, 3, (1, 1)))
    third = net.neurons(kind, *arms)
    fourth = net.neurons(kind, net.dense(third, 9), per_element_bias=True)
    net.neurons("readout", net.dense(fourth, 5))
    program = net.build()
    nodes = [that_waits(node) if isinstance(node, IFNeurons) else node for node in program.graph]
    if one_threshold:
        nodes = [with_one_threshold(n) if isinstance(n, IFNeurons) else n for n in nodes]
    return QuantizedGraph(Graph(nodes), program.window), net.frames(4)


def that_waits(node):
    """Starts below its threshold: from above, snnTorch takes one off without having spiked."""
    most = along_channels(node.threshold.values, node.shape) - 1
    start = np.minimum(along_channels(node.initial_potential.values, node.shape), most)
    return replace(node, initial_potential=QTensor.of(start))


def with_one_threshold(node):
    values = node.threshold.values
    return replace(node, threshold=QTensor.of(np.full_like(values, int(np.median(values)))))


@pytest.mark.parametrize(
    ("runtime", "kind", "joined", "one_threshold"),
    [
        ("norse", "stock", False, False),  # it does not add up several edges
        ("spikingjelly", "stock", True, True),  # one threshold a layer is all it takes
        ("snntorch", "zero", True, False),
        ("snntorch", "subtract", True, False),
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

SUBTRACT = {
    *("snntorch_subtract", "snntorch_if", "snntorch_synaptic", "snntorch_conv"),
    *("sinabs_if", "sinabs_lif"),
}
DT = {"norse": 1e-3, "spikingjelly": 1e-4}
NAMES = (
    *("snntorch_subtract", "snntorch_zero", "snntorch_if", "snntorch_if_zero"),
    *("snntorch_synaptic", "snntorch_synaptic_zero", "snntorch_conv", "norse_if", "norse_box"),
    *("norse_current", "sinabs_if", "sinabs_lif"),
    *("spikingjelly_if", "spikingjelly_lif", "spikingjelly_lif_sum"),
)


@pytest.fixture(scope="module")
def produced(nir_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("produced")
    called(nir_python, PRODUCERS, folder, *NAMES)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_other_libraries_keep_their_spikes(name, produced):
    """In floating point all of them; in fixed point, with rounded weights, nearly their number."""
    with np.load(produced / f"{name}.npz") as data:
        x, spikes = data["x"], data["spikes"]
    n_steps, producer = x.shape[1], name.split("_")[0]
    options = CompileOptions(
        timesteps=n_steps,
        nir_producer=producer,
        nir_reset="subtract" if name in SUBTRACT else "zero",
        nir_reset_delay=name != "snntorch_synaptic_zero",
        nir_dt=DT.get(producer),
        emit=(),
    )
    path = produced / f"{name}.nir"
    imported = NirFrontend().read_spiking(path, options)
    frames = x.astype(np.int64).reshape(*x.shape[:2], *imported.network.input.shape)
    counts = n_steps * simulation.evaluate(imported.network, frames)
    assert spikes.sum() > 25
    assert np.array_equal(counts.reshape(len(x), -1), spikes.sum(axis=1))
    compiled = compile_model(path, options=options, evaluate=(x, None))
    total = compiled.run(x).sum()
    assert abs(total - spikes.sum()) <= max(3, 0.05 * spikes.sum())


def test_a_trained_file_runs_on_lava_bit_for_bit(lava_environment, tmp_path):
    """snnTorch's default neuron: leaky, reset by subtraction, one step late."""
    assert lava_environment
    fixture = HERE / "fixtures" / "snntorch_tiny.nir"
    with np.load(fixture.with_suffix(".npz")) as data:
        x = data["x"]
    said = {"nir_producer": "snntorch", "nir_reset": "subtract", "timesteps": 24}
    compiled = compile_model(fixture, evaluate=(x, None), emit=(), **said)
    backend, folder = LavaBackend(), tmp_path / "lava"
    folder.mkdir()
    backend.emit(compiled.program, folder)
    outcome = backend.verify(compiled.program, folder, compiled.stimulus[:3])
    assert outcome.equal, outcome.details
