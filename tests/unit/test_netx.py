"""What netx reads of a network, what it does not, and why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import networks
from snn_backends.netx import NetxBackend
from snn_compile import compile_model
from snn_compile.cli.verify import _show as show
from snn_compile.errors import CompileErrors, UsageError
from snn_compile.ir.fixedpoint import QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.pipeline.finish import require_writable

h5py = pytest.importorskip("h5py")


def chain(kind="stock", n_steps=9, **options):
    """Convolution, dense layers, readout."""
    given = {"coding": InputCoding.EVENTS, "high": 1, **options}
    net = networks.Builder(1, (2, 6, 5), n_steps=n_steps, **given)
    first = net.neurons(kind, net.conv(networks.INPUT, 3, (3, 2), geometry=Geometry(stride=(2, 1))))
    second = net.neurons(kind, net.dense(first, 6, bits=6))
    net.neurons("readout", net.dense(second, 4, bits=6))
    return net.build()


def with_exponent(program, exponent):
    nodes = [replace(n, exponent=exponent) if hasattr(n, "exponent") else n for n in program.graph]
    return QuantizedGraph(Graph(nodes), program.window)


def complaints(program):
    return [str(error) for error in NetxBackend().check(program)]


def emitted(program, folder):
    folder.mkdir(exist_ok=True)
    NetxBackend().emit(program, folder)
    return folder


def test_the_file_has_every_layer_in_its_order(tmp_path):
    program = chain()
    folder = emitted(program, tmp_path / "netx")
    with h5py.File(folder / "network.net") as file:
        kinds = [file[f"layer/{i}/type"][0].decode() for i in range(len(file["layer"]))]
        assert kinds == ["input", "conv", "flatten", "dense", "dense"]
        conv = file["layer/1"]
        assert conv["shape"][()].tolist() == [3, 2, 4]
        assert conv["stride"][()].tolist() == [2, 1]
        assert conv["kernelSize"][()].tolist() == [3, 2]
        assert conv["neuron/iDecay"][()] == 4096
        layer = program.populations[0]
        # netx compares with >: its threshold is one below ours.
        assert (conv["neuron/vThMant"][()] == layer.threshold.values - 1).all()
        assert conv["neuron/type"][()] == b"CUBA"
    how = json.loads((folder / "network.json").read_text())
    assert how["arguments"] == {
        "input_message_bits": 0,
        "reset_interval": 9,
        "reset_offset": 1,
    }
    outcome = NetxBackend().verify(program, folder, np.zeros((1, 9, 2, 6, 5)))
    assert outcome.equal
    assert outcome.compared > sum(
        n.weight.values.size for n in program.graph if hasattr(n, "weight")
    )


@pytest.mark.parametrize("path", ["layer/1/weight", "layer/3/neuron/vThMant", "layer/4/shape"])
def test_a_changed_number_is_found(path, tmp_path):
    program = chain()
    folder = emitted(program, tmp_path / "netx")
    with h5py.File(folder / "network.net", "r+") as file:
        file[path][...] = file[path][()] + 1
    outcome = NetxBackend().verify(program, folder, np.zeros((0,)))
    assert not outcome.equal
    assert outcome.details == (f"{path} differs",)


def test_a_strangers_file_takes_no_memory_and_reads_no_other(tmp_path):
    """What a file claims, and what it leads to, is looked at before it is read."""
    program = chain()
    folder = emitted(program, tmp_path / "netx")
    shutil.copy(folder / "network.net", tmp_path / "other.net")
    with h5py.File(folder / "network.net", "r+") as file:
        del file["layer/1/weight"]
        place = [(str(tmp_path / "other.net"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("layer/1/weight", (9, 12), "f4", external=place)
    (folder / "more.net").touch()
    outcome = NetxBackend().verify(program, folder, np.zeros((0,)))
    assert outcome.equal is False
    assert "lie in another file" in outcome.details[0]
    assert outcome.details[1] == "more.net is not an emitted file"
    with h5py.File(folder / "network.net", "r+") as file:
        del file["layer/1/weight"]
        file.create_dataset("layer/1/weight", (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10))
    assert "takes 4 TiB" in NetxBackend().verify(program, folder, np.zeros((0,))).details[0]


def test_missing_and_further_entries_are_found(tmp_path):
    program = chain()
    folder = emitted(program, tmp_path / "netx")
    with h5py.File(folder / "network.net", "r+") as file:
        del file["layer/1/groups"]
        file["layer/9/type"] = 1
    (folder / "network.json").write_text("{}")
    outcome = NetxBackend().verify(program, folder, np.zeros((0,)))
    assert outcome.details == (
        "layer/1/groups is missing",
        "layer/9/type is unexpected",
        "network.json differs",
    )


@pytest.mark.parametrize("kind", ["stock", "leaky"])
def test_stock_neurons_are_accepted(kind):
    assert complaints(chain(kind)) == []


def test_leaks_keep_their_decays(tmp_path):
    program = chain("leaky")
    with h5py.File(emitted(program, tmp_path / "netx") / "network.net") as file:
        layer = program.populations[0]
        assert file["layer/1/neuron/iDecay"][()] == layer.current_decay + 1
        assert file["layer/1/neuron/vDecay"][()] == layer.voltage_decay
        assert np.array_equal(file["layer/1/bias"][()], layer.bias.values >> 6)


def test_subtraction_and_initial_potentials_are_refused():
    (first, *_) = complaints(chain("subtract"))
    assert "without an initial potential" in first
    program = chain("subtract")
    zero = [
        replace(n, initial_potential=QTensor.of(0 * n.initial_potential.values))
        if hasattr(n, "initial_potential")
        else n
        for n in program.graph
    ]
    (first, *_) = complaints(QuantizedGraph(Graph(zero), program.window))
    assert "no reset by subtraction" in first
    assert "--reset zero" in first


def test_payload_neurons_are_refused():
    program, _ = networks.mlp(kind="graded")
    assert "netx has no neuron like Graded" in complaints(program)[0]


@pytest.mark.parametrize(
    ("coding", "said"),
    [("sigma-delta", "no multiplier"), ("sync", "SyncIF"), ("radix", "RadixIF")],
)
def test_codings_are_refused_with_the_reason(coding, said, examples):
    compiled = compile_model(examples / "digits_mlp.onnx", coding=coding, timesteps=4, emit=())
    assert said in complaints(compiled.program)[0]


def test_bursts_are_refused(examples):
    compiled = compile_model(examples / "digits_mlp.onnx", coding="rate", burst=3, emit=())
    found = complaints(compiled.program)
    assert all("netx has no neuron that sends several spikes at once" in text for text in found[:2])


def test_joins_are_refused():
    program, _ = networks.structures(0, "stock", 20)
    assert any("netx has only chains" in text for text in complaints(program))
    assert any("netx has one" in text for text in complaints(program))


def test_reasons_of_different_kinds_are_not_taken_for_one(examples):
    compiled = compile_model(examples / "digits_cnn.onnx", coding="rate", timesteps=4, emit=())
    with pytest.raises(CompileErrors) as caught:
        require_writable(compiled.program, ("netx",))
    neurons, *others = [error.message for error in caught.value.errors]
    assert neurons.endswith("without an initial potential; likewise 1 more: relu2")
    assert any("netx has only chains" in message for message in others)


def test_a_file_that_is_only_read_back_counts_no_stimuli(tmp_path, capsys):
    program = chain()
    outcome = NetxBackend().verify(program, emitted(program, tmp_path / "netx"), np.zeros(0, int))
    assert (outcome.equal, outcome.stimuli, outcome.steps) == (True, 0, 0)
    assert outcome.compared > 0
    assert "not run" in outcome.mode
    show([outcome], as_json=False)
    assert "equal, not run" in capsys.readouterr().out


def test_shifts_are_refused():
    assert any("drop low bits" in text for text in complaints(with_exponent(chain(), -1)))


def test_ranges_beyond_stock_neurons_are_refused_with_the_remedy():
    found = complaints(with_exponent(chain(n_steps=200), 7))
    assert any("18 bits" in text and "--state-bits 18" in text for text in found)


def test_windows_must_be_longer_than_the_chain():
    assert "at least 5 --timesteps" in complaints(chain(n_steps=4))[0]
    assert complaints(chain(n_steps=5)) == []


def test_weights_that_netx_would_round_go_as_convolutions(tmp_path):
    """Its choice of weight bits loses the last bit of odd weights above 127."""
    folder = emitted(with_exponent(chain(), 2), tmp_path / "netx")
    with h5py.File(folder / "network.net") as file:
        kinds = [file[f"layer/{i}/type"][0].decode() for i in range(len(file["layer"]))]
        assert kinds[:3] == ["input", "conv", "conv"]
        assert file["layer/2/weight"].shape == (6, 3, 2, 4)


def test_a_missing_library_is_said_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (error,) = NetxBackend().check(chain())
    assert error.code == "missing-package"


def test_folders_and_options(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        NetxBackend().emit(chain(), tmp_path)
    with pytest.raises(UsageError, match="no options"):
        NetxBackend().emit(chain(), tmp_path, options={"x": 1})
