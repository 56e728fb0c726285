"""The commands on ``.net`` files, and our own netx files read back."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

import lava_batch
import net_files
import networks
from net_files import CUBA, SDNN, conv, dense, even
from snn_backends.netx import NetxBackend
from snn_compile import compile_model
from snn_compile.cli import main
from snn_compile.errors import CompileError
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import CubaLIFNeurons
from snn_compile.ir.spiking import InputCoding
from snn_compile.options import CompileOptions
from snn_compile.plugins import frontend_for
from snn_compile.sim import reference

pytest.importorskip("h5py")
QUIET = ("-q", "--no-progress")


@pytest.fixture
def spiking(tmp_path):
    """Maps and a dense layer, and the file's own steps; samples with labels."""
    rng = np.random.default_rng(0)
    path = net_files.write(
        tmp_path / "n.net",
        {"type": "input", "shape": (2, 4, 4)},
        conv(even(rng, 3, 2, 3, 3), (3, 2, 2)),
        {"type": "flatten", "shape": (12, 1, 1)},
        dense(even(rng, 4, 12)),
        n_steps=5,
    )
    x = rng.integers(0, 2, (6, 5, 2, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=rng.integers(0, 4, 6))
    return path


def sigma_delta(tmp_path):
    rng = np.random.default_rng(4)
    encoder = {"type": "input", "shape": (1, 3, 3), "neuron": SDNN | {"vThMant": 1}}
    return net_files.write(
        tmp_path / "s.net",
        encoder,
        conv(even(rng, 2, 1, 2, 2), (2, 2, 2), SDNN, bias=np.array([30, -8])),
        {"type": "flatten", "shape": (8, 1, 1)},
        dense(even(rng, 3, 8), SDNN, bias=np.array([2, 40, 0])),
        dense(even(rng, 2, 3), SDNN | {"sigma_output": True}),
    )


def test_compiled_checked_inspected_run_and_verified(spiking, tmp_path, capsys):
    data, out = str(tmp_path / "d.npz"), tmp_path / "n.snn"
    assert main(["check", str(spiking), "--evaluate", data]) == 0
    shown = capsys.readouterr().out
    assert "4 layers · all supported, in fixed point already" in shown
    assert "cores on 1 chip" in shown
    assert "synaptic operations" in shown
    assert main(["check", str(spiking), "--evaluate", data, "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert checked["cores"] == 1
    assert checked["cost"]["energy"]["value"] > 0
    assert main(["inspect", str(spiking)]) == 0
    assert "layer/3 (dense)" in capsys.readouterr().out
    assert main([str(spiking), "--evaluate", data, "-o", str(out), "--emit", "netx", *QUIET]) == 0
    report = json.loads((out / "report.json").read_text())
    assert [rung["stage"] for rung in report["ladder"]] == ["fixed", "mapped"]
    assert report["timesteps"] == 5
    assert report["model"]["weights"] == 54 + 48
    assert main(["run", str(out), "--data", data, "-o", str(tmp_path / "y.npz"), *QUIET]) == 0
    compiled = compile_model(spiking)
    with np.load(tmp_path / "y.npz") as file, np.load(data) as samples:
        run = reference.run(compiled.program, samples["x"].astype(np.int64))
        np.testing.assert_array_equal(file["outputs"], run.outputs["layer3.sum"][..., 0, 0])
    assert main(["verify", str(out), "--against", "engine,netx", *QUIET]) == 0


def test_values_that_are_not_whole_and_constant_frames(spiking, tmp_path):
    rng = np.random.default_rng(1)
    with pytest.raises(CompileError) as caught:
        compile_model(spiking, evaluate=(rng.random((2, 5, 2, 4, 4), np.float32), None))
    assert caught.value.code == "not-whole"
    frames = rng.integers(0, 4, (3, 2, 4, 4))
    compiled = compile_model(spiking, calibrate=frames, evaluate=(frames, None))
    assert (compiled.encoding.low, compiled.encoding.high) == (0, 3)
    assert not compiled.report["ladder"]
    compiled = compile_model(spiking, evaluate=(frames, None), weight_bits=4, rounding="nearest")
    warnings = {w["code"]: w["message"] for w in compiled.report["warnings"]}
    assert list(warnings) == ["option-ignored", "input-cut"]
    assert "weight-bits; the network is in fixed point" in warnings["option-ignored"]


def test_a_network_of_changes_takes_no_constant_frames_without_its_encoder(tmp_path):
    rng = np.random.default_rng(2)
    layers = dense(even(rng, 4, 6), SDNN), dense(even(rng, 2, 4), SDNN | {"sigma_output": True})
    path = net_files.write(tmp_path / "s.net", *layers)
    with pytest.raises(CompileError) as caught:
        compile_model(path, evaluate=(rng.integers(0, 9, (2, 6)), None))
    assert caught.value.code == "bad-option"
    compiled = compile_model(path, timesteps=3, evaluate=(rng.integers(-900, 900, (2, 3, 6)), None))
    assert compiled.report["cost"]["spikes_per_inference"] > 0


@pytest.mark.parametrize("kind", ["stock", "leaky"])
def test_a_file_of_our_own_has_the_same_messages_when_read_back(kind, tmp_path):
    given = {"coding": InputCoding.EVENTS, "high": 1}
    net = networks.Builder(1, (2, 6, 5), n_steps=9, **given)
    first = net.neurons(kind, net.conv(networks.INPUT, 3, (3, 2), geometry=Geometry(stride=(2, 1))))
    second = net.neurons(kind, net.dense(first, 6, bits=6))
    net.neurons("readout", net.dense(second, 4, bits=6))
    program = net.build()
    if kind == "leaky":  # biases of netx have no bits below the weight's unit
        nodes = [
            node.changed(bias=type(node.bias).of(node.bias.values >> 6 << 6))
            if isinstance(node, CubaLIFNeurons)
            else node
            for node in program.graph
        ]
        program = type(program)(type(program.graph)(nodes), program.window)
    NetxBackend().emit(program, tmp_path)
    path = tmp_path / "network.net"
    found = frontend_for(path).read_fixed(path, CompileOptions(timesteps=9))
    back = found.network(found.arrivals[0])
    x = np.random.default_rng(3).integers(0, 2, (4, 9, 2, 6, 5))
    ours, theirs = (reference.run(one, x, record=True) for one in (program, back))
    pairs = list(zip(ours.messages.values(), theirs.messages.values(), strict=True))
    assert len(pairs) == 3
    assert all(a.any() for a, _ in pairs)
    for a, b in pairs:
        np.testing.assert_array_equal(a.reshape(b.shape), b)


def test_a_compiled_network_is_emitted_and_read_back(spiking, tmp_path):
    """File, network, file, network: the last layer counts spikes, and is read as a sum."""
    compiled = compile_model(spiking, timesteps=8)
    (tmp_path / "netx").mkdir()
    NetxBackend().emit(compiled.program, tmp_path / "netx")
    again = compile_model(tmp_path / "netx" / "network.net", timesteps=8)
    x = np.random.default_rng(3).integers(0, 2, (4, 8, 2, 4, 4))
    first, second = (reference.run(one.program, x) for one in (compiled, again))
    np.testing.assert_array_equal(*(next(iter(r.outputs.values())) for r in (first, second)))
    assert first.outputs["layer3.sum"].any()


def test_sigma_delta_networks_are_no_netx_files(tmp_path):
    with pytest.raises(CompileError) as caught:
        compile_model(sigma_delta(tmp_path), timesteps=4, emit=("netx",))
    assert caught.value.code == "netx"


def test_in_lava(tmp_path, lava_environment):
    """A spiking network and one of changes, in one start."""
    rng = np.random.default_rng(0)
    spikes = net_files.write(
        tmp_path / "n.net",
        dense(even(rng, 6, 5, most=90), CUBA),
        dense(even(rng, 3, 6, most=127) + 1, CUBA, delay=np.array([0, 2, 1])),
        dense(even(rng, 2, 3), CUBA | {"vThMant": (1 << 18) - 1}, bias=np.array([7, -2])),
    )
    stimuli = rng.integers(0, 2, (2, 4, 5, 1, 1)), rng.integers(-60, 60, (3, 4, 1, 3, 3))
    cases = []
    for path, frames in zip((spikes, sigma_delta(tmp_path)), stimuli, strict=True):
        program = compile_model(path, timesteps=4).program
        cases.append(SimpleNamespace(name=path.stem, program=program, frames=frames))
    plans = lava_batch.emitted(cases, tmp_path / "lava")
    assert set(plans) == {"n", "s"}
    ran = lava_batch.run(lava_environment, cases, plans, "sparse", tmp_path / "lava")
    for case in cases:
        expected = reference.run(case.program, case.frames, record=True).messages
        assert sum(int(np.count_nonzero(each)) for each in expected.values()) > 30
        for name, messages in expected.items():
            np.testing.assert_array_equal(ran[case.name][name], messages, name)
