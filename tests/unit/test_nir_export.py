"""Networks in fixed point as NIR files: read back, they compute the same spikes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import networks
from snn_backends.nir import NirBackend
from snn_compile import compile_model
from snn_compile.errors import CompileError, UnsupportedError, UsageError
from snn_compile.ir.fixedpoint import Overflow, QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Graph
from snn_compile.ir.quantized import IFNeurons, QuantizedGraph
from snn_compile.ir.spiking import InputCoding, Reset
from snn_compile.sim import bounds, reference

nir = pytest.importorskip("nir")
h5py = pytest.importorskip("h5py")


def without_shifts(program):
    """The same network with no right shift: NIR does not round."""
    nodes = [
        replace(node, exponent=max(node.exponent, 0)) if hasattr(node, "exponent") else node
        for node in program.graph
    ]
    return QuantizedGraph(Graph(nodes), program.window)


def emitted(program, folder):
    folder.mkdir(exist_ok=True)
    NirBackend().emit(program, folder)
    return folder / "network.nir"


@pytest.mark.parametrize("poisson", [False, True])
@pytest.mark.parametrize("kind", ["subtract", "zero", "stock"])
@pytest.mark.parametrize("seed", range(3))
def test_a_file_that_is_read_back_spikes_the_same(seed, kind, poisson, tmp_path):
    """Strides, groups, dilation, lopsided padding, joins, relays, sparse wiring, two outputs."""
    program, frames = networks.structures(seed, kind, 6, poisson=poisson)
    program = without_shifts(program)
    backend = NirBackend()
    assert backend.check(program) == []
    emitted(program, tmp_path / "nir")
    outcome = backend.verify(program, tmp_path / "nir", frames)
    assert outcome.equal, outcome.details
    assert outcome.compared == 6 * 6 * sum(np.prod(p.shape) for p in program.populations)


def test_events_are_messages_like_any(tmp_path):
    net = networks.Builder(2, (5,), n_steps=7, coding=InputCoding.EVENTS, low=-1, high=1)
    net.neurons("readout", net.dense(net.neurons("zero", net.dense(networks.INPUT, 6)), 3))
    program = net.build()
    emitted(program, tmp_path / "nir")
    trains = net.random.integers(-1, 2, (4, 7, 5))
    assert NirBackend().verify(program, tmp_path / "nir", trains).equal


def test_convolutions_stay_convolutions(tmp_path):
    net = networks.Builder(0, (2, 6, 6), n_steps=4, coding=InputCoding.CURRENT, high=3)
    same = Geometry(padding=(1, 1, 1, 1))
    first = net.neurons("zero", net.conv(networks.INPUT, 3, geometry=same))
    second = net.neurons("zero", net.conv(first, 3, geometry=Geometry(groups=3)))
    wide = net.neurons("zero", net.conv(second, 2, (1, 3), geometry=Geometry(padding=(0, 1, 0, 1))))
    net.neurons("readout", net.dense(wide, 5))
    program = net.build()
    graph = nir.read(str(emitted(program, tmp_path / "nir")))
    kinds = [type(node).__name__ for node in graph.nodes.values()]
    assert kinds.count("Conv2d") == 3
    assert kinds.count("Flatten") == 1
    convs = [node for node in graph.nodes.values() if isinstance(node, nir.Conv2d)]
    # What the library's own types can hold: square kernels without groups.
    assert {(c.weight.shape[2] == c.weight.shape[3], int(c.groups)) for c in convs} == {(True, 1)}


@pytest.mark.parametrize("kind", ["subtract", "zero"])
def test_what_nir_cannot_say_is_in_the_metadata(kind, tmp_path):
    program, _ = networks.mlp(kind=kind, n_steps=5)
    graph = nir.read(str(emitted(program, tmp_path / "nir")))
    said = {k: v.decode() if isinstance(v, bytes) else v for k, v in graph.metadata.items()}
    assert (said["producer"], said["reset"], said["n_steps"]) == ("snn-compile", kind, 5)
    assert said["dt"] == 1.0
    layer = next(n for n in program.populations if isinstance(n, IFNeurons))
    node = graph.nodes[layer.id]
    half = 0.5 if kind == "zero" else 0
    assert np.array_equal(node.v_threshold, layer.threshold.values - half)
    start = layer.initial_potential.values + 0.5 - half
    assert np.array_equal(node.metadata["initial_potential"], start)


def test_older_readers_find_no_field_that_they_do_not_know(tmp_path):
    program, _ = networks.mlp(kind="zero", n_steps=5)
    found = []
    with h5py.File(emitted(program, tmp_path / "nir")) as file:
        file.visit(found.append)
    assert any(name.endswith("v_threshold") for name in found)
    assert not any(name.endswith("v_reset") for name in found)


@pytest.mark.parametrize("what", ["weight", "v_threshold", "edges", "metadata/initial_potential"])
def test_a_changed_file_is_found(what, tmp_path):
    program, frames = networks.mlp(kind="subtract", n_steps=5)
    path = emitted(program, tmp_path / "nir")
    changed = []
    with h5py.File(path, "r+") as file:

        def change(name, item):
            if name.endswith(f"/{what}") and isinstance(item, h5py.Dataset) and not changed:
                changed.append(name)
                if what == "edges":
                    item[0] = item[1]
                else:
                    values = item[()]
                    values += 3 * np.abs(values).max() + 1
                    item[...] = values

        file.visititems(change)
    assert changed
    outcome = NirBackend().verify(program, tmp_path / "nir", frames)
    assert not outcome.equal
    assert outcome.details


# ------------------------------------------------------------------------------------- round trip


def test_a_strangers_file_takes_no_memory(tmp_path):
    program, frames = networks.mlp(0, "subtract", 3)
    program = without_shifts(program)
    emitted(program, tmp_path / "nir")
    with h5py.File(tmp_path / "nir" / "network.nir", "r+") as file:
        chunks = (1 << 10, 1 << 10)
        file.create_dataset("node/nodes/input/more", (1 << 20, 1 << 20), "f4", chunks=chunks)
    (tmp_path / "nir" / "more.nir").touch()
    outcome = NirBackend().verify(program, tmp_path / "nir", frames[:1])
    assert outcome.equal is False
    assert outcome.details[0] == "more.nir is not an emitted file"
    assert "takes 4 TiB" in outcome.details[1]


def symmetric(program):
    """The same network without the most negative weight, which the compiler never makes."""

    def one(node):
        if not hasattr(node, "exponent"):
            return node
        form = node.weight.format
        return replace(node, weight=QTensor(np.maximum(node.weight.values, form.min + 1), form))

    return QuantizedGraph(Graph([one(node) for node in program.graph]), program.window)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_a_compiled_network_comes_back_bit_for_bit(name, reset, examples, tmp_path):
    """From ONNX to NIR and back: integers only, a residual join and a relay on the way."""
    with np.load(examples / "digits_evaluate.npz") as data:
        x = data["x"][:40]
    options = {"coding": "rate", "timesteps": 8, "reset": reset}
    there = compile_model(examples / f"{name}.onnx", calibrate=x, emit=(), **options)
    path = emitted(there.program, tmp_path / "nir")
    frames = there.encoding(x)
    back = compile_model(path, calibrate=frames, input="current", emit=())
    expected = there.simulate(x, record=True)
    run = back.simulate(frames, record=True)
    layers = {nir_name(node.id): node.id for node in there.program.populations[:-1]}
    for node in back.program.populations:
        if node.id in layers:
            assert np.array_equal(
                run.messages[node.id].ravel(), expected.messages[layers.pop(node.id)].ravel()
            )
    assert not layers
    (key,) = expected.outputs
    assert np.array_equal(back.run(frames).ravel(), expected.outputs[key].ravel())


def nir_name(layer):
    """As the file calls it."""
    return re.sub(r"\W", "_", layer)


@pytest.mark.parametrize("kind", ["subtract", "zero"])
@pytest.mark.parametrize("seed", range(3))
def test_our_own_file_comes_back_bit_for_bit(seed, kind, tmp_path):
    """Import restores thresholds, initial potentials and the grid of the weights."""
    net = networks.Builder(seed, (2, 5, 5), n_steps=6, coding=InputCoding.EVENTS, high=1)
    first = net.neurons(kind, net.conv(networks.INPUT, 3, exponent=1))
    second = net.neurons(kind, net.dense(first, (4, 1, 1), bits=5), per_element_bias=True)
    net.neurons("readout", net.dense(second, (3, 1, 1), exponent=2))
    program = symmetric(net.build())
    path = emitted(program, tmp_path / "nir")
    trains = net.random.integers(0, 2, (9, 6, 2, 5, 5))
    expected = reference.run(program, trains, record=True)
    back = compile_model(path, evaluate=(trains, None), emit=())
    assert back.program.window.n_steps == 6
    run = back.simulate(trains, record=True)
    for node in program.populations[:-1]:
        assert np.array_equal(run.messages[node.id], expected.messages[node.id])
    (key,) = expected.outputs
    assert np.array_equal(back.run(trains).ravel(), expected.outputs[key].ravel())


# --------------------------------------------------------------------------------------- refusals


def codes(program):
    return sorted({error.code for error in NirBackend().check(program)})


def test_payloads_and_leaks_are_refused():
    for kind, n_steps in (("graded", 1), ("leaky", 4)):
        program, _ = networks.mlp(kind=kind, n_steps=n_steps)
        assert codes(program) == ["nir-neuron"]


@pytest.mark.parametrize("coding", ["graded", "signed", "sync", "radix", "sigma-delta"])
def test_every_other_coding_is_refused_with_the_reason(coding, examples):
    with pytest.raises(UnsupportedError) as caught:  # one error, not one for each layer
        compile_model(examples / "digits_mlp.onnx", coding=coding, emit=("nir",), timesteps=4)
    assert caught.value.code == "nir-neuron"


def test_bursts_are_refused_with_the_remedy(examples):
    with pytest.raises(CompileError) as caught:
        compile_model(examples / "digits_mlp.onnx", coding="rate", burst=3, emit=("nir",))
    errors = getattr(caught.value, "errors", [caught.value])
    (neurons,) = (error for error in errors if error.code == "nir-neuron")
    assert neurons.hint == "omit --burst"
    assert "likewise 1 more" in neurons.message


@pytest.mark.parametrize("overflow", list(Overflow))
def test_potentials_that_could_reach_their_ends_are_refused(overflow):
    """NIR's have none: such a file would be read back with other spikes."""
    program, _ = networks.mlp(kind="zero", n_steps=4)
    last = program.readouts[0]
    largest = bounds.potential(program.graph, last, 4).magnitude
    for bits, found in ((largest.bit_length() + 1, []), (largest.bit_length(), ["nir-state"])):
        kept = replace(last, state=QFormat(bits), overflow=overflow)
        nodes = [kept if node.id == last.id else node for node in program.graph]
        assert codes(QuantizedGraph(Graph(nodes), program.window)) == found


def test_shifts_and_large_sums_are_refused():
    program, _ = networks.mlp(kind="zero", n_steps=4)

    def changed(exponent):
        nodes = [
            replace(n, exponent=exponent) if hasattr(n, "exponent") else n for n in program.graph
        ]
        return QuantizedGraph(Graph(nodes), program.window)

    assert codes(changed(-1)) == ["nir-rounding"]
    assert codes(changed(7)) == ["nir-precision"]


def test_two_resets_are_refused():
    program, _ = networks.mlp(kind="zero", n_steps=4)
    first = next(n for n in program.populations if isinstance(n, IFNeurons))
    nodes = [replace(n, reset=Reset.SUBTRACT) if n.id == first.id else n for n in program.graph]
    assert codes(QuantizedGraph(Graph(nodes), program.window)) == ["nir-neuron"]


def test_matrices_have_a_limit(monkeypatch):
    program, _ = networks.structures(0, "zero", 3)
    monkeypatch.setattr("snn_backends.nir.export.MAX_MATRIX", 100)
    errors = NirBackend().check(without_shifts(program))
    assert [error.code for error in errors] == ["nir-matrix"]


def test_folders_and_options(tmp_path):
    program, _ = networks.mlp(kind="zero", n_steps=4)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        NirBackend().emit(program, tmp_path)
    with pytest.raises(UsageError, match="no options"):
        NirBackend().emit(program, tmp_path, options={"x": 1})


def test_a_missing_library_is_said_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    program, _ = networks.mlp(kind="zero", n_steps=4)
    (error,) = NirBackend().check(program)
    assert error.code == "missing-package"
    assert "snn-compile[nir]" in error.hint


def test_state_bits_bound_the_potential(examples):
    """What netx and other stock neurons need: fewer bits, never an overflow."""
    narrow = compile_model(
        examples / "digits_mlp.onnx", coding="rate", timesteps=4, state_bits=18, emit=()
    )
    wide = compile_model(examples / "digits_mlp.onnx", coding="rate", timesteps=4, emit=())
    largest = [
        max(layer["largest_potential"] for layer in net.report["layers"]) for net in (narrow, wide)
    ]
    assert largest[0] < 1 << 17 < largest[1]
    with pytest.raises(UsageError, match="state-bits"):
        compile_model(examples / "digits_mlp.onnx", state_bits=25)
